/* Weight gradient of a 1x1 convolution whose input lies channel by channel: each channel's pixels are a row
 * as they are, by four output channels as quads. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "quad.h"

/* sum + both halves of a word. */
static inline int32_t add_both(int32_t sum, uint32_t word) {
    return mg_smlad(word, 0x00010001, sum);
}

/* Two pixels of four output channels. */
static inline void take_apart(uint32_t *to, int32_t *sums, const int16_t *a, const int16_t *b) {
    const uint32_t a01 = mg_load32(a), a23 = mg_load32(a + 2), b01 = mg_load32(b), b23 = mg_load32(b + 2);
    to[0] = mg_pkhbt(a01, b01), to[1] = mg_pkhtb(b01, a01);
    to[2] = mg_pkhbt(a23, b23), to[3] = mg_pkhtb(b23, a23);
    for (int k = 0; k < 4; k++)
        sums[k] = add_both(sums[k], to[k]);
}

/* Four output channels, in the order for rows of int8; start: what the zero point adds to each sum. */
static void transpose(uint32_t *quads, int32_t *start, const int16_t *da, const mg_conv_params *p) {
    const int32_t c = p->out_c;
    int32_t sums[4] = {0};
    for (int32_t left = p->in_h * p->in_w; left > 0; left -= 4, quads += 8, da += 4 * c) {
        take_apart(quads, sums, da, da + 2 * c);
        take_apart(quads + 4, sums, da + c, da + 3 * c);
    }
    for (int k = 0; k < 4; k++)
        start[k] = -p->zero_in * sums[k];
}

/* sums[j][k] of n input channels, whose rows are at x. */
static void products(int32_t (*sums)[4], const uint32_t *quads, const int32_t *start, const int8_t *x,
                     int32_t n, int32_t pixels) {
    for (int32_t j = 0; j < n; j++)
        for (int k = 0; k < 4; k++)
            sums[j][k] = start[k];
    mg_quads_s8(*sums, x, quads, (mg_rows_of){pixels, n, pixels, 4});
}

void mg_conv2d_dw_blocks__planes(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                                 const mg_conv_params *p) {
    const int32_t pixels = p->in_h * p->in_w, most = (p->work - 2 * pixels) / 4;
    uint32_t *const quads = (uint32_t *)work;
    int32_t(*const sums)[4] = (int32_t(*)[4])(work + 2 * pixels);
    for (int32_t c = 0; c < p->out_c; c += 4) {
        int32_t start[4];
        transpose(quads, start, da + c, p);
        for (int32_t at = 0, n; at < p->in_c; at += n) {
            n = mg_min(most, p->in_c - at);
            products(sums, quads, start, x + at * pixels, n, pixels);
            sink->take(sink, *sums, (mg_dw_block){c, 4, at, n, 4, 1});
        }
    }
}
