/* Depthwise convolution, four channels at a time: the rows that the window meets are kept as planes of int16
 * with the zero point taken off and zeros beside them; four outputs of a channel then share what they load.
 */
#include "conv.h"
#include "planes.h"

enum { MAX_STRIPS = 32 }; /* of lines, at once */

/* One pixel. */
static inline void put_pixel(int16_t *to, int32_t plane, const int8_t *x, uint32_t minus_zero) {
    const uint32_t x4 = mg_load32(x);
    const uint32_t x02 = mg_sxtab16(minus_zero, x4), x13 = mg_sxtab16_ror8(minus_zero, x4);
    to[0] = (int16_t)x02, to[plane] = (int16_t)x13;
    to[2 * plane] = (int16_t)(x02 >> 16), to[3 * plane] = (int16_t)(x13 >> 16);
}

/* Pairs of pixels, c bytes apart, up to `end` of the first plane. */
static inline void put_pairs(int16_t *to, const int16_t *end, int32_t plane, const int8_t *x, int32_t c,
                             uint32_t minus_zero) {
#if MG_DSP
#define PUT(r, how, at) "sxtab16 %[" #r "], %[zero], %[" how " \n\t str %[" #r "], [%[to]" at " \n\t"
#define PAIR                                                                                                 \
    "ldr     %[a], [%[x]]                \n\t"                                                               \
    "ldr     %[b], [%[x], %[c]]          \n\t"                                                               \
    "add     %[x], %[x], %[c], lsl #1    \n\t"                                                               \
    "pkhbt   %[u], %[a], %[b], lsl #16   \n\t"                                                               \
    "pkhtb   %[v], %[b], %[a], asr #16   \n\t" PUT(a, "u], ror #8", ", %[bytes]]")                           \
        PUT(b, "v]", ", %[bytes], lsl #1]") PUT(v, "v], ror #8", ", %[three]]") PUT(u, "u]", "], #4")
    int32_t bytes = 2 * plane, three = 6 * plane;
    uint32_t a, b, u, v;
    if (to < end) /* entered in its middle if the pairs are odd */
        __asm__ volatile(
            "sub %[a], %[end], %[to] \n\t lsls %[a], %[a], #29 \n\t bmi 2f \n\t"
            "1: \n\t" PAIR "2: \n\t" PAIR "cmp %[to], %[end] \n\t bne 1b"
            : [x] "+&r"(x), [to] "+&r"(to), [a] "=&r"(a), [b] "=&r"(b), [u] "=&r"(u), [v] "=&r"(v)
            : [c] "r"(c), [zero] "r"(minus_zero), [end] "r"(end), [bytes] "r"(bytes), [three] "r"(three)
            : "cc", "memory");
#undef PAIR
#undef PUT
#else
    for (; to < end; to += 2, x += 2 * c) {
        const uint32_t a = mg_load32(x), b = mg_load32(x + c), ab01 = mg_pkhbt(a, b), ab23 = mg_pkhtb(b, a);
        mg_store32(to, mg_sxtab16(minus_zero, ab01));
        mg_store32(to + plane, mg_sxtab16_ror8(minus_zero, ab01));
        mg_store32(to + 2 * plane, mg_sxtab16(minus_zero, ab23));
        mg_store32(to + 3 * plane, mg_sxtab16_ror8(minus_zero, ab23));
    }
#endif
}

/* Rows v->next to end - 1; x at pixel (0, 0) of the map. */
static __attribute__((noinline)) void fill(mg_planes *v, const int8_t *x, int32_t end,
                                           const mg_conv_params *p) {
    const int32_t c = p->in_c, plane = v->columns, line = p->in_w * c, odd = v->first & 1;
    const int32_t pairs = (v->end - v->first - odd) >> 1, last = v->end - v->first - odd - 2 * pairs;
    const uint32_t minus_zero = mg_both(-p->zero_in);
    x += v->next * line + (v->from + v->first) * c;
    for (; v->next < end; v->next++, x += line) {
        int16_t *to = mg_row_at(v, v->next) + v->first;
        const int8_t *at = x;
        if (!mg_row_inside(v, p->in_h))
            continue;
        if (odd)
            put_pixel(to++, plane, at, minus_zero), at += c;
        put_pairs(to, to + 2 * pairs, plane, at, c, minus_zero);
        if (last)
            put_pixel(to + 2 * pairs, plane, at + 2 * pairs * c, minus_zero);
    }
}

typedef void lines_function(const mg_lines *s);

#define KIND(s) ((s)->bits ? MG_TO_S8_AND_BITS : MG_TO_S8)
#define LINES(kernel, stride)                                                                                \
    static void lines_##kernel##_##stride(const mg_lines *s) {                                               \
        if (kernel == 3)                                                                                     \
            mg_lines_of_3x3(s, stride, KIND(s));                                                             \
        else                                                                                                 \
            mg_lines_of(s, kernel, stride, KIND(s));                                                         \
    }
LINES(3, 1)
LINES(3, 2)
LINES(5, 1)
LINES(5, 2)
LINES(7, 1)
LINES(7, 2)

static lines_function *const RUNS[3][2] = {
    {lines_3_1, lines_3_2}, {lines_5_1, lines_5_2}, {lines_7_1, lines_7_2}};

/* The masks of four channels, i: index of the first element of `rows` rows. */
static void put_bits(uint8_t *mask, int32_t i, const uint32_t *bits, int32_t rows, int32_t n,
                     const mg_conv_params *p) {
    const int32_t c = p->out_c;
    for (; rows > 0; rows--, i += (p->out_w - n) * c)
        for (int32_t left = n; left > 0; left -= MG_RUN) {
            uint32_t four = *bits++;
#pragma GCC unroll 1
            for (int32_t k = mg_min(left, MG_RUN); k > 0; k--, i += c, four >>= 8)
                mg_put_bits(mask, i, four & 15);
        }
}

/* The same where pixels are whole bytes, of which the first four channels write all. */
static void put_halves(uint8_t *mask, int32_t i, const uint32_t *bits, int32_t rows, int32_t n,
                       const mg_conv_params *p) {
    const uint32_t shift = i & 4, keep = shift ? 15 : 0;
    const int32_t apart = p->out_c >> 3, beyond = (p->out_w - n) * apart;
    uint8_t *to = mask + (i >> 3);
    if (!beyond && n % MG_RUN == 0)
        n *= rows, rows = 1;
    for (; rows > 0; rows--, to += beyond)
        for (int32_t left = n; left > 0; left -= MG_RUN) {
            uint32_t four = (*bits++ & 0x0F0F0F0F) << shift;
#pragma GCC unroll 4
            for (int32_t k = 0; k < MG_RUN && k < left; k++, to += apart, four >>= 8)
                *to = (uint8_t)((*to & keep) | four);
        }
}

typedef int8_t part[MG_LINES][MG_RUN][MG_CHANNELS];

/* Some lines, n columns (a multiple of four, or less) from column `from` of the planes on. i: index of the
 * first element. */
static void block(int8_t *y, uint8_t *mask, int32_t i, mg_lines *s, int32_t n, const mg_conv_params *p) {
    uint32_t bits[MAX_STRIPS];
    const int32_t c = p->out_c, few = n < MG_RUN;
    s->runs = few ? 1 : n / MG_RUN, s->beyond = few ? 0 : (p->out_w - n) * c;
    s->to = few ? s->some : y + i, s->apart = few ? MG_CHANNELS : c, s->step = 1;
    s->bits = mask ? bits : 0;
    for (int32_t j = 0; mask && j < s->layout->count * s->runs; j++)
        bits[j] = 0;
    RUNS[(p->kernel_w - 3) / 2][p->stride - 1](s);
    int8_t(*const some)[MG_RUN][MG_CHANNELS] = *(part *)s->some;
    for (int32_t j = 0; few && j < s->layout->count; j++)
#pragma GCC unroll 1
        for (int32_t k = 0; k < n; k++)
            mg_store32(y + i + (j * p->out_w + k) * c, mg_load32(some[j][k]));
    if (mask && c % 8 == 0)
        put_halves(mask, i, bits, s->layout->count, n, p);
    else if (mask)
        put_bits(mask, i, bits, s->layout->count, n, p);
}

/* Four channels of n columns; x at the first of them, i: index of the first element. */
static void group(int8_t *y, uint8_t *mask, const int8_t *x, mg_planes *v, mg_lines *s, mg_layout *l,
                  int32_t i, int32_t n, const mg_conv_params *p) {
    const int32_t whole = n & ~(MG_RUN - 1), strips = (n + MG_RUN - 1) / MG_RUN;
    const int32_t most = mask ? mg_min(MG_LINES, MAX_STRIPS / strips) : MG_LINES, three = p->kernel_h == 3;
    const int32_t row = mg_tap_words(p->kernel_w, p->stride) * (int32_t)sizeof *s->taps;
    /* The last columns: some of those before once more, if they begin with a word. */
    const int32_t again = whole && (n - MG_RUN) * p->stride % 2 == 0, rest = again ? n - MG_RUN : whole;
    v->base = v->next = v->top;
    for (int32_t first = 0, end; first < p->out_h; first = end) {
        const int32_t at = first * p->stride - p->pad_top;
        mg_planes_from(v, at);
        fill(v, x, mg_min(v->base + v->capacity, v->bottom), p);
        end = v->next == v->bottom ? p->out_h : (v->next + p->pad_top - p->kernel_h) / p->stride + 1;
        if (end - first > most)
            end = v->next == v->bottom && end - first <= 2 * most ? (first + end + 1) / 2 : first + most;
        const int32_t from = three ? v->base : at;
        if (l->count != end - first || l->from != from - v->base || (!three && l->count != p->out_h))
            mg_lay(l, v, end - first, from, p->stride, p->kernel_h, row, p->stride);
        const int16_t *const rows = mg_row_at(v, v->base + at - from);
        s->x = rows;
        if (whole)
            block(y, mask, i, s, whole, p);
        s->x = rows + rest * p->stride;
        if (whole < n)
            block(y, mask, i + rest * p->out_c, s, n - rest, p);
        i += (end - first) * p->out_w * p->out_c;
    }
}

/* The taps of four channels. */
static void widen(mg_planes *v, const int8_t *w, const mg_conv_params *p) {
    const int32_t kernel = p->kernel_w, stride = p->stride, c = p->in_c;
    uint32_t *to = v->taps;
    for (int32_t y = 0; y < kernel; y++, w += kernel * c) {
        const int8_t *const last = w + (kernel - 2) * c;
        for (const int8_t *at = w; at < last; at += stride * c)
            mg_put_taps(to++, v->words, mg_load32(at), mg_load32(at + c));
        mg_put_taps(to++, v->words, mg_load32(last), mg_load32(last + c));
    }
}

void mg_depthwise_conv2d_s8__4(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                               const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    mg_planes v = {.words = p->kernel_h * mg_tap_words(p->kernel_w, p->stride)};
    mg_lines s;
    mg_layout l;
    const int32_t before = p->out_w % MG_RUN ? sizeof(part) / sizeof *work : 0;
    mg_planes_in(&v, work + before, p->work - before);
    s.some = work;
    const int32_t most = (mg_most_columns(&v, p->kernel_h) - p->kernel_w) / p->stride + 1,
                  widest = most & ~(MG_RUN - 1);
    /* Of a window of 3 x 3 all rows are met; those outside the map are zero. */
    const int three = p->kernel_h == 3;
    const int32_t top = three ? -p->pad_top : 0,
                  bottom = three ? (p->out_h - 1) * p->stride + 3 + top : p->in_h;
    if (p->out_c % 8)
        mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t ox = 0; ox < p->out_w; ox += widest) {
        const int32_t n = mg_min(p->out_w - ox, widest), whole = (n + MG_RUN - 1) & ~(MG_RUN - 1);
        mg_planes_at(&v, (whole - 1) * p->stride + p->kernel_w, ox * p->stride - p->pad, p->in_w, top,
                     bottom);
        s.taps = v.taps, s.words = v.words, s.plane = v.columns, s.pitch = mg_pitch(&v);
        s.zero = p->zero_out, l.count = 0, s.layout = &l, s.down = p->stride;
        for (int32_t c = 0; c < p->out_c; c += MG_CHANNELS) {
            s.bias = b + c, s.mult = m + c;
            widen(&v, w + c, p);
            group(y, mask, x + c, &v, &s, &l, ox * p->out_c + c, n, p);
        }
    }
}
