/* Updates of trained integers, in three modes. The plane is what the other kernels read.
 *
 * 8.8:  value = plane + frac / 256, frac int8, steps rounded to nearest.
 * fp32: the same with a float32 frac, -128..128, and steps that are not rounded.
 * int8: no frac; a step goes to the integer below or above, at random, right on average.
 *
 * The step is lr * coef[channel] * 2^e * gradient in 1/256 of the plane's unit, e = da_scale->exp + offset,
 * computed in float32 in that order and clipped to +-2^30; not-a-number moves nothing. Rounding is half away
 * from zero. int8 counts the steps of weights in 1/65536, with a factor of 256 after 2^e. */
#ifndef MG_UPDATE_H
#define MG_UPDATE_H

#include "types.h"

/* co channels of n values each. inner 1: the channel is the last axis, value i belongs to channel i % co;
 * inner 0: the first, i / n. Only for a part: the last axis has `last` entries, of which `trained` are listed
 * in index. */
typedef struct {
    int32_t co, n, inner, offset, trained, last;
} mg_sgd_params;

/* The same, and what tells this tensor's random numbers from another's. */
typedef struct {
    int32_t co, n, inner, offset, trained, last;
    uint32_t key;
} mg_sgd_int8_params;

/* Whole tensor; values saturate at -128 and 127. dw has the layout of w. */
void mg_sgd_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
               const float *lr, const mg_sgd_params *p);
void mg_sgd_fp32_s8(int8_t *w, float *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
                    const float *lr, const mg_sgd_params *p);

/* Only w[...][index[j]] moves; frac and dw hold just those entries, [...][trained]. */
void mg_sgd_partial_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef,
                       const mg_scale *da_scale, const float *lr, const int32_t *index,
                       const mg_sgd_params *p);
void mg_sgd_partial_fp32_s8(int8_t *w, float *frac, const int32_t *dw, const float *coef,
                            const mg_scale *da_scale, const float *lr, const int32_t *index,
                            const mg_sgd_params *p);

/* How far the bias of each channel has moved; saturates. */
void mg_sgd_bias_s16(int16_t *delta, int8_t *frac, const int32_t *db, const float *coef,
                     const mg_scale *da_scale, const float *lr, const mg_sgd_params *p);
void mg_sgd_bias_fp32_s16(int16_t *delta, float *frac, const int32_t *db, const float *coef,
                          const mg_scale *da_scale, const float *lr, const mg_sgd_params *p);

/* The random numbers depend on p->key, on *steps and on the place in dw alone. */
void mg_sgd_int8_s8(int8_t *w, const int32_t *steps, const int32_t *dw, const float *coef,
                    const mg_scale *da_scale, const float *lr, const mg_sgd_int8_params *p);
void mg_sgd_partial_int8_s8(int8_t *w, const int32_t *steps, const int32_t *dw, const float *coef,
                            const mg_scale *da_scale, const float *lr, const int32_t *index,
                            const mg_sgd_int8_params *p);
void mg_sgd_bias_int8_s16(int16_t *delta, const int32_t *steps, const int32_t *db, const float *coef,
                          const mg_scale *da_scale, const float *lr, const mg_sgd_int8_params *p);

/* Where biases are now: b = start + delta. */
void mg_bias_s32(int32_t *b, const int32_t *start, const int16_t *delta, const mg_count_params *p);

/* One more; after 2^32 steps it begins again. */
void mg_count_steps_s32(int32_t *steps, const mg_count_params *p);

#endif
