/* Weight gradients of a standard convolution that move the weights at once, block by block, so that they
 * never exist whole: conv.h's mg_conv2d_dw_s32, then update.h's mg_sgd_s8 with inner 0. */
#ifndef MG_CONV_DW_SGD_H
#define MG_CONV_DW_SGD_H

#include "conv.h"
#include "update.h"

enum { MG_DW_WORK = 128 }; /* sums in a block, at most */

/* planes: x lies channel by channel, for pixels % 4 == 0, out_c % 4 == 0, at most 256 pixels. */
typedef struct {
    mg_conv_params conv;
    mg_sgd_params sgd;
    int32_t planes;
} mg_conv_sgd_params;

typedef struct {
    mg_conv_params conv;
    mg_sgd_int8_params sgd;
    int32_t planes;
} mg_conv_sgd_int8_params;

/* They need work in any case. w: not read by any other node of the backward pass after this one. */
void mg_conv2d_dw_sgd_s8(int32_t *work, int8_t *w, int8_t *frac, const int16_t *da, const float *coef,
                         const mg_scale *da_scale, const float *lr, const int8_t *x,
                         const mg_conv_sgd_params *p);
void mg_conv2d_dw_sgd_fp32_s8(int32_t *work, int8_t *w, float *frac, const int16_t *da, const float *coef,
                              const mg_scale *da_scale, const float *lr, const int8_t *x,
                              const mg_conv_sgd_params *p);
void mg_conv2d_dw_sgd_int8_s8(int32_t *work, int8_t *w, const int32_t *steps, const int16_t *da,
                              const float *coef, const mg_scale *da_scale, const float *lr, const int8_t *x,
                              const mg_conv_sgd_int8_params *p);

/* Of dynamic.h's active output channels; da is packed. */
void mg_conv2d_dw_sgd_dynamic_s8(int32_t *work, int8_t *w, int8_t *frac, const int16_t *da, const float *coef,
                                 const mg_scale *da_scale, const float *lr, const int8_t *x,
                                 const int32_t *active, const mg_conv_sgd_params *p);

/* Gradients of output channels `channel` on, of each the weights `at` on, n of them: of a channel they lie
 * `step` from each other, from a channel to the next it is `apart`. */
typedef struct {
    int32_t channel, channels, at, n, step, apart;
} mg_dw_block;

/* Who takes blocks; embedded in what its `take` knows besides. */
typedef struct mg_dw_sink {
    void (*take)(const struct mg_dw_sink *sink, const int32_t *dw, mg_dw_block b);
} mg_dw_sink;

/* The weight gradient, every element once. */
void mg_conv2d_dw_blocks(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                         int32_t planes, const mg_conv_params *p);

/* For what the variants of conv.h's mg_conv2d_dw_s32 take. */
void mg_conv2d_dw_blocks__1x1(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                              const mg_conv_params *p);
void mg_conv2d_dw_blocks__planes(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                                 const mg_conv_params *p);
void mg_conv2d_dw_blocks__4(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                            const mg_conv_params *p);

#endif
