/* Depthwise convolution, four channels at a time: the rows that the window meets are kept as planes of int16
 * with the zero point taken off and zeros beside them; four outputs of a channel then share what they load.
 */
#include "conv.h"
#include "geometry.h"
#include "move.h"
#include "planes.h"
#include "requant.h"

/* Stack: 2.8 KB. A map 32 wide fits at once with a 7x7 kernel, a wider one goes by parts. */
enum { SPACE = 1064, MAX_TAPS = 7 * 6, BITS = 64 };

/* Rows base to next - 1 of the map, each `columns` of four planes; column 0 is the map's column `from`,
 * columns first to end - 1 lie inside the map, the others are zero. */
typedef struct {
    int16_t rows[SPACE] __attribute__((aligned(8)));
    uint32_t taps[MG_CHANNELS][MAX_TAPS];
    int32_t columns, capacity, base, next, from, first, end;
} window;

static inline int16_t *row_at(window *v, int32_t row) {
    return v->rows + (row - v->base) * MG_CHANNELS * v->columns;
}

/* Words of taps of four channels. */
static void widen_taps(window *v, const int8_t *w, const mg_conv_params *p) {
    const int32_t words = mg_tap_words(p->kernel_w, p->stride), c = p->in_c;
    uint32_t *to = v->taps[0];
    for (int32_t ky = 0; ky < p->kernel_h; ky++, w += p->kernel_w * c)
        for (int32_t i = 0; i < words; i++, to++) {
            const int8_t *k = w + mg_first_tap(i, p->kernel_w, p->stride) * c;
            const uint32_t a = mg_load32(k), b = mg_load32(k + c);
            const uint32_t a02 = mg_sxtb16(a), a13 = mg_sxtb16_ror8(a);
            const uint32_t b02 = mg_sxtb16(b), b13 = mg_sxtb16_ror8(b);
            to[0] = mg_pkhbt(a02, b02), to[2 * MAX_TAPS] = mg_pkhtb(b02, a02);
            to[MAX_TAPS] = mg_pkhbt(a13, b13), to[3 * MAX_TAPS] = mg_pkhtb(b13, a13);
        }
}

/* One pixel. */
static inline void put_pixel(int16_t *to, int32_t plane, const int8_t *x, int32_t zero) {
    for (int k = 0; k < MG_CHANNELS; k++)
        to[k * plane] = (int16_t)(x[k] - zero);
}

/* Pairs of pixels, c bytes apart, up to `end` of the first plane. */
static inline void put_pairs(int16_t *to, const int16_t *end, int32_t plane, const int8_t *x, int32_t c,
                             uint32_t minus_zero) {
#if MG_DSP
    int32_t bytes = 2 * plane, three = 6 * plane;
    uint32_t a, b, u, v, r;
    if (to < end)
        __asm__ volatile(
            "1:                                  \n\t"
            "ldr     %[a], [%[x]]                \n\t"
            "ldr     %[b], [%[x], %[c]]          \n\t"
            "add     %[x], %[x], %[c], lsl #1    \n\t"
            "sxtab16 %[u], %[zero], %[a]         \n\t"
            "sxtab16 %[v], %[zero], %[b]         \n\t"
            "sxtab16 %[a], %[zero], %[a], ror #8 \n\t"
            "sxtab16 %[b], %[zero], %[b], ror #8 \n\t"
            "pkhtb   %[r], %[v], %[u], asr #16   \n\t"
            "pkhbt   %[u], %[u], %[v], lsl #16   \n\t"
            "str     %[r], [%[to], %[bytes], lsl #1] \n\t"
            "pkhbt   %[v], %[a], %[b], lsl #16   \n\t"
            "pkhtb   %[r], %[b], %[a], asr #16   \n\t"
            "str     %[v], [%[to], %[bytes]]     \n\t"
            "str     %[r], [%[to], %[three]]     \n\t"
            "str     %[u], [%[to]], #4           \n\t"
            "cmp     %[to], %[end]               \n\t"
            "bne     1b"
            : [x] "+r"(x), [to] "+r"(to), [a] "=&r"(a), [b] "=&r"(b), [u] "=&r"(u), [v] "=&r"(v), [r] "=&r"(r)
            : [c] "r"(c), [zero] "r"(minus_zero), [end] "r"(end), [bytes] "r"(bytes), [three] "r"(three)
            : "cc", "memory");
#else
    for (; to < end; to += 2, x += 2 * c) {
        const uint32_t a = mg_load32(x), b = mg_load32(x + c);
        mg_put_words(to, plane, mg_sxtab16(minus_zero, a), mg_sxtab16_ror8(minus_zero, a),
                     mg_sxtab16(minus_zero, b), mg_sxtab16_ror8(minus_zero, b));
    }
#endif
}

/* One row; x at its column 0. */
static void fill(window *v, const int8_t *x, const mg_conv_params *p) {
    const int32_t c = p->in_c, plane = v->columns;
    int32_t i = v->first;
    int16_t *to = row_at(v, v->next);
    x += (v->from + i) * c;
    if (i & 1)
        put_pixel(to + i++, plane, x, p->zero_in), x += c;
    put_pairs(to + i, to + (v->end & ~1), plane, x, c, mg_both(-p->zero_in));
    if (v->end & 1 && i < v->end)
        put_pixel(to + v->end - 1, plane, x + (v->end - 1 - i) * c, p->zero_in);
}

/* Hold row `first` and as many after it as fit. */
static void advance(window *v, const int8_t *x, int32_t first, const mg_conv_params *p) {
    if (first > v->base) {
        const int32_t row = MG_CHANNELS * v->columns * (int32_t)sizeof *v->rows;
        mg_move_down((int8_t *)v->rows, (int8_t *)row_at(v, first), (v->next - first) * row);
        v->base = first;
    }
    for (; v->next < mg_min(v->base + v->capacity, p->in_h); v->next++)
        fill(v, x + v->next * p->in_w * p->in_c, p);
}

/* Some rows of one channel: the window's first row of the first of them is row `at` of the map. */
typedef struct {
    const int16_t *x; /* row 0 of the map would be here */
    int32_t at, rows, runs, pitch, height;
    int32_t beyond; /* bytes from behind the outputs of a row to the next row's */
} span;

MG_INLINE void rows_of(mg_run r, const span *s, const int kernel, const int stride, const mg_kind kind) {
    const uint32_t *taps = r.taps;
    const int32_t height = s->height, pitch = s->pitch, end = s->at + s->rows * stride, runs = s->runs;
    for (int32_t at = s->at; at < end; at += stride) {
        const mg_taps rows = mg_taps_at(at, kernel, height);
        r.taps = taps, r.left.runs = runs;
        mg_runs(&r, s->x + (at + rows.first) * pitch, rows, 2 * pitch, kernel, stride, kind);
        r.to.first += s->beyond;
    }
}

typedef void rows_function(const mg_run *r, const span *s);

#define ROWS_OF(kernel, stride)                                                                              \
    static void rows_##kernel##_##stride(const mg_run *r, const span *s) {                                   \
        if (r->bits)                                                                                         \
            rows_of(*r, s, kernel, stride, MG_TO_S8_AND_BITS);                                               \
        else                                                                                                 \
            rows_of(*r, s, kernel, stride, MG_TO_S8);                                                        \
    }
ROWS_OF(3, 1)
ROWS_OF(3, 2)
ROWS_OF(5, 1)
ROWS_OF(5, 2)
ROWS_OF(7, 1)
ROWS_OF(7, 2)

static rows_function *const ROWS[3][2] = {{rows_3_1, rows_3_2}, {rows_5_1, rows_5_2}, {rows_7_1, rows_7_2}};

/* Where the columns of outputs ox to ox + n - 1 lie. */
static void place(window *v, int32_t ox, int32_t n, const mg_conv_params *p) {
    v->columns = ((((n + 3) & ~3) - 1) * p->stride + p->kernel_w + 1) & ~1;
    v->capacity = mg_min(SPACE / MG_CHANNELS / v->columns, p->in_h);
    v->from = ox * p->stride - p->pad;
    v->first = v->from < 0 ? -v->from : 0, v->end = mg_min(p->in_w - v->from, v->columns);
    for (int32_t i = 0; i < MG_CHANNELS * v->capacity; i++) {
        int16_t *row = v->rows + i * v->columns;
        for (int32_t k = 0; k < v->first; k++)
            row[k] = 0;
        for (int32_t k = v->end; k < v->columns; k++)
            row[k] = 0;
    }
}

/* The masks of four channels, i: index of the first element of `rows` rows. */
static void put_bits(uint8_t *mask, int32_t i, const uint32_t *bits, int32_t rows, int32_t n,
                     const mg_conv_params *p) {
    for (; rows > 0; rows--, i += (p->out_w - n) * p->out_c)
        for (int32_t left = n; left > 0; left -= MG_RUN, bits++)
            for (int32_t k = 0; k < mg_min(left, MG_RUN); k++, i += p->out_c)
                mg_put_bits(mask, i, *bits >> 8 * k & 15);
}

/* Four channels of `rows` rows and of n columns (a multiple of four, or less) from column `from` of the
 * window on. i: index of the first element. */
static void block(int8_t *y, uint8_t *mask, int32_t i, const window *v, int32_t first, int32_t rows,
                  int32_t from, int32_t n, const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    rows_function *run = ROWS[(p->kernel_w - 3) / 2][p->stride - 1];
    uint32_t bits[BITS];
    int8_t some[MG_RUN * BITS];
    const int32_t c = p->out_c, part = n < MG_RUN;
    span s = {.at = first * p->stride - p->pad_top, .rows = rows, .runs = part ? 1 : n / MG_RUN};
    s.pitch = MG_CHANNELS * v->columns, s.height = p->in_h, s.beyond = part ? 0 : (p->out_w - n) * c;
    for (int32_t j = 0; mask && j < rows * s.runs; j++)
        bits[j] = 0;
    for (int32_t k = 0; k < MG_CHANNELS; k++) {
        const mg_run r = {.start = {b[k], b[k]},
                          .scale = {p->zero_out, m[k]},
                          .taps = v->taps[k],
                          .to = {part ? some : y + i + k, part ? 1 : c},
                          .bits = mask ? bits : 0};
        s.x = v->rows + k * v->columns - v->base * s.pitch + from * p->stride;
        run(&r, &s);
        for (int32_t j = 0; part && j < rows * n; j++)
            y[i + k + (j / n * p->out_w + j % n) * c] = some[j / n * MG_RUN + j % n];
    }
    if (mask)
        put_bits(mask, i, bits, rows, n, p);
}

/* Four channels of n columns; x, b, m at the first of them, i: index of the first element. */
static void group(int8_t *y, uint8_t *mask, const int8_t *x, const int32_t *b, const int32_t *m, window *v,
                  int32_t i, int32_t n, const mg_conv_params *p) {
    const int32_t whole = n & ~(MG_RUN - 1), most = BITS * MG_RUN / (n + MG_RUN - 1);
    v->base = v->next = 0;
    for (int32_t first = 0, end; first < p->out_h; first = end) {
        advance(v, x, mg_max(first * p->stride - p->pad_top, 0), p);
        end = v->next == p->in_h ? p->out_h : (v->next + p->pad_top - p->kernel_h) / p->stride + 1;
        end = mg_min(end, first + most);
        if (whole)
            block(y, mask, i, v, first, end - first, 0, whole, b, m, p);
        if (whole < n)
            block(y, mask, i + whole * p->out_c, v, first, end - first, whole, n - whole, b, m, p);
        i += (end - first) * p->out_w * p->out_c;
    }
}

void mg_depthwise_conv2d_s8__4(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                               const int32_t *m, const mg_conv_params *p) {
    window v;
    const int32_t widest = (((SPACE / MG_CHANNELS / p->kernel_h & ~1) - p->kernel_w) / p->stride + 1) & ~3;
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t ox = 0; ox < p->out_w; ox += widest) {
        const int32_t n = mg_min(p->out_w - ox, widest);
        place(&v, ox, n, p);
        for (int32_t c = 0; c < p->out_c; c += MG_CHANNELS) {
            widen_taps(&v, w + c, p);
            group(y, mask, x + c, b + c, m + c, &v, ox * p->out_c + c, n, p);
        }
    }
}
