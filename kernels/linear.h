/* The float32 head: logits, the gradient of its input, its update; and where float gradients become integers.
 * Sums run in ascending order with each product and sum rounded to float32 (compile with -ffp-contract=off).
 */
#ifndef MG_LINEAR_H
#define MG_LINEAR_H

#include "types.h"

/* Feature i is worth (x[i] - zero) * scale. */
typedef struct {
    int32_t features, classes, zero;
    float scale;
} mg_linear_params;

/* logits[c] = b[c] + sum over i of w[c][i] * (x[i] - zero) * scale */
void mg_linear_f32(float *logits, const int8_t *x, const float *w, const float *b, const mg_linear_params *p);

/* dx[i] = (sum over c of dlogits[c] * w[c][i]) * scale, in units of one step of x[i] */
void mg_linear_dx_f32(float *dx, const float *dlogits, const float *w, const mg_linear_params *p);

/* Block floating point: the largest magnitude lands in [2^12, 2^13]; enters dx_scale->exp. All zero with
 * exponent 0 if the largest magnitude is below 2^-96 or not finite. */
void mg_quantise_dx_s16(int16_t *dx, const float *d, mg_scale *dx_scale, const mg_count_params *p);

/* w[c][i] -= lr * dlogits[c] * feature[i]; b[c] -= lr * dlogits[c] */
void mg_linear_sgd_f32(float *w, float *b, const float *dlogits, const int8_t *x, const float *lr,
                       const mg_linear_params *p);

#endif
