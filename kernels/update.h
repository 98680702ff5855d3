/* Updates of trained integers: value = plane + frac / 256, the plane is what the kernels read.
 *
 * The step is lr * coef[channel] * 2^e * gradient in 1/256 of the plane's unit, e = da_scale->exp + offset,
 * computed in float32 in that order, clipped to +-2^30 and rounded half away from zero; not-a-number moves
 * nothing. */
#ifndef MG_UPDATE_H
#define MG_UPDATE_H

#include "types.h"

/* co channels of n values each. inner 1: the channel is the last axis, value i belongs to channel i % co;
 * inner 0: the first, i / n. Only for a part: the last axis has `last` entries, of which `trained` are listed
 * in index. */
typedef struct {
    int32_t co, n, inner, offset, trained, last;
} mg_sgd_params;

/* Whole tensor; values saturate at -128 and 127. dw has the layout of w. */
void mg_sgd_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
               const float *lr, const mg_sgd_params *p);

/* Only w[...][index[j]] moves; frac and dw hold just those entries, [...][trained]. */
void mg_sgd_partial_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef,
                       const mg_scale *da_scale, const float *lr, const int32_t *index,
                       const mg_sgd_params *p);

/* A bias per channel; saturates at +-2^30. */
void mg_sgd_bias_s32(int32_t *b, int8_t *frac, const int32_t *db, const float *coef, const mg_scale *da_scale,
                     const float *lr, const mg_sgd_params *p);

#endif
