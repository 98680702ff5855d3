/* Convolutions and their gradients.
 *
 * Maps are HWC, weights [CO][KH][KW][CI] or, depthwise, [KH][KW][C]; any alignment. Padding is `pad` on the
 * left, in forward kernels `pad_top` on the top, in gradients `pad` too, and whatever the output needs on the
 * bottom and right; padded taps contribute nothing. |bias|
 * <= 2^30 and the sum of any output's products stays below 2^30 (proved for each graph), so int32 never
 * overflows. Gradients are int16 with |q| <= 2^14, aligned to 4. Outputs must not overlap inputs unless said.
 *
 * work: scratch memory, aligned to 4, undefined afterwards, of p->work words: as many as ops/work.py says,
 * or none, which means the portable loops, and nothing in place. */
#ifndef MG_CONV_H
#define MG_CONV_H

#include "types.h"

/* in_*, out_*: maps of the forward convolution, in its gradients too. shift: left shift of the sum before it
 * is requantised. offset: exponent of da relative to da_scale. work: words. */
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, kernel_h, kernel_w, stride, pad, pad_top;
    int32_t zero_in, zero_out, shift, offset, work;
} mg_conv_params;

/* n pixels of c channels. */
typedef struct {
    int32_t n, c;
} mg_clamp_params;

/* y = ssat8(((b + sum (x - zero_in) * w) << shift) * m / 2^32 + zero_out), rounded half up.
 * mask (or NULL): one bit an element, 1 where y was not clamped; spare bits of the last byte are 0.
 * Depthwise with at most 1024 pixels of x, 16 columns of y and no more rows and columns than x: y may begin
 * where x does; with as many words as depthwise_rows of ops/work.py says, no more pixels of x than four a
 * word, and y as wide as x: pad_top rows before it; so must the variants. */
void mg_conv2d_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w, const int32_t *b,
                  const int32_t *m, const mg_conv_params *p);
void mg_depthwise_conv2d_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                            const int32_t *b, const int32_t *m, const mg_conv_params *p);

/* For what mg_quads (geometry.h) takes. */
void mg_conv2d_s8__quads(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, const mg_conv_params *p);

/* One sum to element i of y, and its bit of the mask. */
void mg_put_s8(int8_t *y, uint8_t *mask, int32_t i, int32_t acc, int32_t m, const mg_conv_params *p);

/* Pixels `from` on, one by one, for kernel 1, stride 1, pad 0, in_c % 4 == 0, out_c % 2 == 0; in_c / 2 words
 * of work. */
void mg_conv2d_s8__pixel(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, int32_t from, const mg_conv_params *p);

/* For in_c % 4 == 0, kernel 3x3, 5x5 or 7x7, stride 1 or 2, pad at most half the kernel, shift 0. */
void mg_depthwise_conv2d_s8__4(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                               const int32_t *b, const int32_t *m, const mg_conv_params *p);

/* Gradient through the clamp and the scale: da = mask ? dy * m[channel] / 2^31 : 0. da may be dy. */
void mg_clamp_dx_s16(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                     const mg_clamp_params *p);

/* Input gradient: sum of da * w, renormalised by what dx_scale expects, which then learns from this step.
 * At most 1022 products a sum. The depthwise one expects da to have MG_GRAD_BITS bits, so that its exponent
 * does not wait for all of da. Depthwise with at most 256 pixels of da, and columns that fit in a row of
 * work (ops/work.py): dx may lie over da so that both end at one address, if each row of da is one that dx
 * has needed when dx comes to it (ops/conv.py); so must the variants. */
void mg_conv2d_dx_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                      const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p);
void mg_depthwise_conv2d_dx_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p);

/* Weight gradient: sum over output pixels of da * (x - zero_in), no rounding; saturates to int32 (possible
 * only above 256 pixels). Writes every element of dw. */
void mg_conv2d_dw_s32(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                      const mg_conv_params *p);
void mg_depthwise_conv2d_dw_s32(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p);

/* For kernel 1, stride 1, pad 0, at most 256 pixels, out_c % 2 == 0. */
void mg_conv2d_dw_s32__1x1(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                           const mg_conv_params *p);

/* For out_c % 4 == 0, at most 256 output pixels. */
void mg_conv2d_dw_s32__4(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p);
void mg_depthwise_conv2d_dw_s32__4(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p);

/* Bias gradient: sum of da over at most 65536 pixels. */
void mg_conv2d_db_s32(int32_t *db, const int16_t *da, const mg_clamp_params *p);

/* For what mg_wide_matrix or mg_wide_depthwise (geometry.h) takes. */
void mg_conv2d_s8__wide(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                        const int32_t *m, const mg_conv_params *p);
void mg_depthwise_conv2d_s8__wide(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w,
                                  const int32_t *b, const int32_t *m, const mg_conv_params *p);
void mg_conv2d_dx_s16__wide(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                            mg_scale *dx_scale, const mg_conv_params *p);
void mg_depthwise_conv2d_dx_s16__wide(int16_t *dx, const int16_t *da, const int8_t *w,
                                      const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p);
void mg_conv2d_dw_s32__wide(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p);
void mg_depthwise_conv2d_dw_s32__wide(int32_t *dw, const int16_t *da, const int8_t *x,
                                      const mg_conv_params *p);

/* For c <= 4096. */
void mg_clamp_dx_s16__wide(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                           const mg_clamp_params *p);

#endif
