/* 1x1 convolution by tiles of two channels and two pixels. */
#include "conv.h"

#include "dot.h"
#include "requant.h"

/* Two channels: their sums' start, with the input's zero point folded in, and their multipliers. */
typedef struct {
    int32_t a, b, ma, mb, zero;
} pair;

static pair pair_of(const int8_t *w, const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    int32_t n = p->in_c;
    int32_t sum_a = mg_sum_s8(w, n), sum_b = mg_sum_s8(w + n, n);
    return (pair){b[0] - p->zero_in * sum_a, b[1] - p->zero_in * sum_b, m[0], m[1], p->zero_out};
}

/* Two channels of one pixel, and the bits of those that were not clamped. */
static inline uint32_t put2(int8_t *y, int32_t a, int32_t b, const pair *k) {
    int32_t ta = mg_smmlar(a, k->ma, k->zero), tb = mg_smmlar(b, k->mb, k->zero);
    int32_t qa = mg_ssat8(ta), qb = mg_ssat8(tb);
    y[0] = (int8_t)qa, y[1] = (int8_t)qb;
    return mg_flag_equal(mg_flag_equal(0, ta, qa, 1), tb, qb, 2);
}

/* Two channels of two pixels; i: index of the first of the four. */
static inline void square(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, int32_t i,
                          const pair *k, int32_t in_c, int32_t out_c) {
    mg_tile t = mg_dot2x2((mg_tile){k->a, k->b, k->a, k->b}, x, w, in_c);
    uint32_t p = put2(y + i, t.pa, t.pb, k), q = put2(y + i + out_c, t.qa, t.qb, k);
    if (mask) {
        mg_put_bits(mask, i, p);
        mg_put_bits(mask, i + out_c, q);
    }
}

void mg_conv2d_s8__1x1(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                       const int32_t *m, const mg_conv_params *p) {
    const int32_t n = p->in_c, out_c = p->out_c, pixels = p->out_h * p->out_w;
    mg_clear_bits(mask, pixels * out_c);
    for (int32_t c = 0; c < out_c; c += 2, w += 2 * n) {
        const pair k = pair_of(w, b + c, m + c, p);
        for (int32_t i = 0; i + 1 < pixels; i += 2)
            square(y, mask, x + i * n, w, i * out_c + c, &k, n, out_c);
        if (pixels % 2) /* the last one together with its predecessor */
            square(y, mask, x + (pixels - 2) * n, w, (pixels - 2) * out_c + c, &k, n, out_c);
    }
}
