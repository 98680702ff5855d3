/* Some neighbouring channels of a node at a time, so that a wide gradient never exists whole.
 *
 * A tile's tensors are dense: [pixels][channels of the tile], and the params count just those channels. Of
 * what lies whole the caller passes the place of the tile's first channel, and `pitch`, the channels of the
 * whole. The caller begins each gradient with mg_tile_begin and ends it with mg_renorm_end, once for all
 * tiles. */
#ifndef MG_TILE_H
#define MG_TILE_H

#include "conv_dw_sgd.h"
#include "conv_part.h"
#include "requant.h"

/* mg_renorm_start; the gradient's exponent (that of its sums is `exp`) is entered at once, for its readers.
 */
static inline mg_renorm mg_tile_begin(mg_scale *scale, int32_t exp, int32_t bits) {
    const mg_renorm r = mg_renorm_start(scale, bits);
    scale->exp = (int16_t)(exp + r.shift);
    return r;
}

/* conv.h's mg_conv2d_dx_s16 and mg_depthwise_conv2d_dx_s16 for a tile of dx. */
void mg_conv2d_dx_tile_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w, int32_t pitch,
                           mg_renorm *r, const mg_conv_params *p);
void mg_depthwise_conv2d_dx_tile_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                     int32_t pitch, mg_renorm *r, const mg_conv_params *p);

/* conv.h's mg_clamp_dx_s16; the mask is whole, `first` the tile's first channel. */
void mg_clamp_dx_tile_s16(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                          int32_t first, int32_t pitch, const mg_clamp_params *p);

/* For kernel 1, stride 1, pad 0, out_c % 4 == 0. */
void mg_conv2d_dx_tile_s16__1x1(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w, int32_t pitch,
                                mg_renorm *r, const mg_conv_params *p);

/* For in_c % 4 == 0, kernel 3x3, 5x5 or 7x7, stride 1 or 2, pad half the kernel, at least two columns of each
 * phase, a shift of at most MG_LANES_SHIFT. */
enum { MG_LANES_SHIFT = 10 };
void mg_depthwise_conv2d_dx_tile_s16__lanes(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                            int32_t pitch, mg_renorm *r, const mg_conv_params *p);

/* The sum of input pixel (y, x) of one channel; da: pixels `step` apart, rows `row`; w: taps `pitch` apart.
 */
int32_t mg_depthwise_dx_sum(const int16_t *da, int32_t row, int32_t step, const int8_t *w, int32_t pitch,
                            int32_t y, int32_t x, const mg_conv_params *p);

/* Pointwise, in_c % 4 == 0, out_c % 8 == 0: what a tile of da adds to the sums of dx, [pixels][in_c].
 * work: 2 * out_c words. */
void mg_conv2d_dx_sums_s32(int32_t *sums, int32_t *work, const int16_t *da, const int8_t *w,
                           const mg_conv_params *p);
void mg_conv2d_dx_part_sums_s32(int32_t *sums, int32_t *work, const int16_t *da, const int8_t *w,
                                const int8_t *part, const int32_t *index, const mg_conv_part_params *p);

/* The gradient from its sums, which it may overwrite from their first byte on; n: elements, n % 2 == 0. */
void mg_sums_dx_s16(int16_t *dx, const int32_t *sums, const mg_scale *da_scale, mg_scale *dx_scale,
                    int32_t offset, int32_t n);

/* update.h's mg_sgd_bias_int8_s16 and conv_dw_sgd.h's mg_conv2d_dw_sgd_int8_s8; `first`: the tile's first
 * channel, by which its random numbers are those of the whole. */
void mg_sgd_bias_int8_tile_s16(int16_t *delta, const int32_t *steps, const int32_t *db, const float *coef,
                               const mg_scale *da_scale, const float *lr, int32_t first,
                               const mg_sgd_int8_params *p);
void mg_conv2d_dw_sgd_int8_tile_s8(int32_t *work, int8_t *w, const int32_t *steps, const int16_t *da,
                                   const float *coef, const mg_scale *da_scale, const float *lr,
                                   const int8_t *x, int32_t first, const mg_conv_sgd_int8_params *p);

#endif
