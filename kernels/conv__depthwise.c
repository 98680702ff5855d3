/* Depthwise convolution, four channels at a time: the rows that the window meets are kept as planes of int16
 * with the zero point taken off and zeros beside them; four outputs of a channel then share what they load.
 */
#include "conv.h"
#include "planes.h"

enum { MAX_STRIPS = 32 }; /* of lines, at once */

/* One pixel. */
static inline void put_pixel(int16_t *to, int32_t plane, const int8_t *x, int32_t zero) {
    for (int k = 0; k < MG_CHANNELS; k++)
        to[k * plane] = (int16_t)(x[k] - zero);
}

/* Pairs of pixels, c bytes apart, up to `end` of the first plane. */
static inline void put_pairs(int16_t *to, const int16_t *end, int32_t plane, const int8_t *x, int32_t c,
                             uint32_t minus_zero) {
#if MG_DSP
#define PAIR                                                                                                 \
    "ldr     %[a], [%[x]]                \n\t"                                                               \
    "ldr     %[b], [%[x], %[c]]          \n\t"                                                               \
    "add     %[x], %[x], %[c], lsl #1    \n\t"                                                               \
    "sxtab16 %[u], %[zero], %[a]         \n\t"                                                               \
    "sxtab16 %[v], %[zero], %[b]         \n\t"                                                               \
    "sxtab16 %[a], %[zero], %[a], ror #8 \n\t"                                                               \
    "sxtab16 %[b], %[zero], %[b], ror #8 \n\t"                                                               \
    "pkhtb   %[r], %[v], %[u], asr #16   \n\t"                                                               \
    "pkhbt   %[u], %[u], %[v], lsl #16   \n\t"                                                               \
    "str     %[r], [%[to], %[bytes], lsl #1] \n\t"                                                           \
    "pkhbt   %[v], %[a], %[b], lsl #16   \n\t"                                                               \
    "pkhtb   %[r], %[b], %[a], asr #16   \n\t"                                                               \
    "str     %[v], [%[to], %[bytes]]     \n\t"                                                               \
    "str     %[r], [%[to], %[three]]     \n\t"                                                               \
    "str     %[u], [%[to]], #4           \n\t"
    int32_t bytes = 2 * plane, three = 6 * plane;
    uint32_t a, b, u, v, r;
    if (to < end) /* entered in its middle if the pairs are odd */
        __asm__ volatile(
            "sub %[r], %[end], %[to] \n\t lsls %[r], %[r], #29 \n\t bmi 2f \n\t"
            "1: \n\t" PAIR "2: \n\t" PAIR "cmp %[to], %[end] \n\t bne 1b"
            :
            [x] "+&r"(x), [to] "+&r"(to), [a] "=&r"(a), [b] "=&r"(b), [u] "=&r"(u), [v] "=&r"(v), [r] "=&r"(r)
            : [c] "r"(c), [zero] "r"(minus_zero), [end] "r"(end), [bytes] "r"(bytes), [three] "r"(three)
            : "cc", "memory");
#undef PAIR
#else
    for (; to < end; to += 2, x += 2 * c) {
        const uint32_t a = mg_load32(x), b = mg_load32(x + c);
        const uint32_t a02 = mg_sxtab16(minus_zero, a), a13 = mg_sxtab16_ror8(minus_zero, a);
        const uint32_t b02 = mg_sxtab16(minus_zero, b), b13 = mg_sxtab16_ror8(minus_zero, b);
        mg_store32(to, mg_pkhbt(a02, b02)), mg_store32(to + plane, mg_pkhbt(a13, b13));
        mg_store32(to + 2 * plane, mg_pkhtb(b02, a02)), mg_store32(to + 3 * plane, mg_pkhtb(b13, a13));
    }
#endif
}

/* Row v->next; x at column 0 of it. */
static void fill(mg_planes *v, const int8_t *x, const mg_conv_params *p) {
    const int32_t c = p->in_c, plane = v->columns;
    int32_t i = v->first;
    int16_t *to = mg_row_at(v, v->next);
    x += (v->from + i) * c;
    if (i & 1)
        put_pixel(to + i++, plane, x, p->zero_in), x += c;
    put_pairs(to + i, to + (v->end & ~1), plane, x, c, mg_both(-p->zero_in));
    if (v->end & 1 && i < v->end)
        put_pixel(to + v->end - 1, plane, x + (v->end - 1 - i) * c, p->zero_in);
}

typedef int32_t lines_function(const mg_lines *s);

#define LINES(kernel, stride)                                                                                \
    static int32_t lines_##kernel##_##stride(const mg_lines *s) {                                            \
        return s->bits ? mg_lines_of(s, kernel, stride, kernel == 3, MG_TO_S8_AND_BITS)                      \
                       : mg_lines_of(s, kernel, stride, kernel == 3, MG_TO_S8);                              \
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
            if (c % 8 == 0) { /* all in the same half of a byte */
                uint8_t *to = mask + (i >> 3);
                const uint32_t half = i & 4 ? 0xF0 : 0x0F;
                four <<= i & 4;
                for (int32_t k = mg_min(left, MG_RUN); k > 0; k--, i += c, to += c >> 3, four >>= 8)
                    *to = (uint8_t)(*to | (four & half));
            } else {
#pragma GCC unroll 1
                for (int32_t k = mg_min(left, MG_RUN); k > 0; k--, i += c, four >>= 8)
                    mg_put_bits(mask, i, four & 15);
            }
        }
}

/* Some lines, n columns (a multiple of four, or less) from column `from` of the planes on. i: index of the
 * first element. */
static void block(int8_t *y, uint8_t *mask, int32_t i, mg_lines *s, int32_t n, const mg_conv_params *p) {
    uint32_t bits[MAX_STRIPS];
    int8_t some[MG_CHANNELS][MG_LINES][MG_RUN];
    const int32_t c = p->out_c, part = n < MG_RUN;
    s->runs = part ? 1 : n / MG_RUN, s->beyond = part ? 0 : (p->out_w - n) * c;
    s->to = part ? some[0][0] : y + i, s->apart = part ? 1 : c, s->step = part ? sizeof some[0] : 1;
    s->bits = mask ? bits : 0;
    for (int32_t j = 0; mask && j < s->count * s->runs; j++)
        bits[j] = 0;
    RUNS[(p->kernel_w - 3) / 2][p->stride - 1](s);
    for (int32_t j = 0; part && j < s->count * n; j++)
#pragma GCC unroll 1
        for (int k = 0; k < MG_CHANNELS; k++)
            y[i + (j / n * p->out_w + j % n) * c + k] = some[k][j / n][j % n];
    if (mask)
        put_bits(mask, i, bits, s->count, n, p);
}

/* Four channels of n columns; x at the first of them, i: index of the first element. */
static void group(int8_t *y, uint8_t *mask, const int8_t *x, mg_planes *v, mg_lines *s, int32_t i, int32_t n,
                  const mg_conv_params *p) {
    const int32_t whole = n & ~(MG_RUN - 1), strips = (n + MG_RUN - 1) / MG_RUN;
    const int32_t most = mask ? mg_min(MG_LINES, MAX_STRIPS / strips) : MG_LINES;
    const int32_t row = mg_tap_words(p->kernel_w, p->stride) * (int32_t)sizeof *s->taps;
    v->base = v->next = v->top;
    for (int32_t first = 0, end; first < p->out_h; first = end) {
        const int32_t at = first * p->stride - p->pad_top;
        mg_planes_from(v, at);
        for (; v->next < mg_min(v->base + v->capacity, v->bottom); v->next++)
            if (mg_row_inside(v, p->in_h))
                fill(v, x + v->next * p->in_w * p->in_c, p);
        end = v->next == v->bottom ? p->out_h : (v->next + p->pad_top - p->kernel_h) / p->stride + 1;
        end = mg_min(end, first + most);
        if (s->count != p->out_h)
            mg_lay(s, v, end - first, at, p->kernel_h, row, p->stride);
        s->x = mg_row_at(v, 0);
        if (whole)
            block(y, mask, i, s, whole, p);
        s->x += whole * p->stride;
        if (whole < n)
            block(y, mask, i + whole * p->out_c, s, n - whole, p);
        i += (end - first) * p->out_w * p->out_c;
    }
}

MG_SMALL void number_taps(mg_planes *v, const mg_conv_params *p) {
    const int32_t kernel = p->kernel_w, words = mg_tap_words(kernel, p->stride);
    v->words = kernel * words;
    for (int32_t i = 0; i < v->words; i++) {
        const int32_t tap = i / words * kernel + mg_first_tap(i % words, kernel, p->stride);
        v->pairs[i][0] = (uint8_t)tap, v->pairs[i][1] = (uint8_t)(tap + 1);
    }
}

void mg_depthwise_conv2d_s8__4(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                               const int32_t *m, const mg_conv_params *p) {
    mg_planes v;
    mg_lines s;
    const int32_t widest = ((mg_most_columns(p->kernel_h) - p->kernel_w) / p->stride + 1) & ~(MG_RUN - 1);
    /* Of a window of 3 x 3 all rows are met; those outside the map are zero. */
    const int three = p->kernel_h == 3;
    const int32_t top = three ? -p->pad_top : 0,
                  bottom = three ? (p->out_h - 1) * p->stride + 3 + top : p->in_h;
    number_taps(&v, p);
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t ox = 0; ox < p->out_w; ox += widest) {
        const int32_t n = mg_min(p->out_w - ox, widest), whole = (n + MG_RUN - 1) & ~(MG_RUN - 1);
        mg_planes_at(&v, (whole - 1) * p->stride + p->kernel_w, ox * p->stride - p->pad, p->in_w, top,
                     bottom);
        s.taps = v.taps[0], s.plane = v.columns, s.pitch = mg_pitch(&v), s.zero = p->zero_out, s.count = 0;
        s.down = p->stride;
        for (int32_t c = 0; c < p->out_c; c += MG_CHANNELS) {
            s.bias = b + c, s.mult = m + c;
            mg_widen_taps(&v, w + c, p->in_c);
            group(y, mask, x + c, &v, &s, ox * p->out_c + c, n, p);
        }
    }
}
