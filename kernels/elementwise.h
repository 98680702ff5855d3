/* Element by element: the residual add, its gradient, the sum of gradients that meet, channel gathers. */
#ifndef MG_ELEMENTWISE_H
#define MG_ELEMENTWISE_H

#include "types.h"

/* n elements; m1, m2 in [-2^15, 2^15); c holds the zero points and half a unit of the result; sh 1..15. */
typedef struct {
    int32_t n, m1, m2, c, sh;
} mg_add_params;

typedef struct {
    int32_t n, m;
} mg_scale_dx_params;

typedef struct {
    int32_t n, offset_a, offset_b;
} mg_sum_dx_params;

/* n pixels of c channels, of which k are taken. */
typedef struct {
    int32_t n, c, k;
} mg_gather_params;

/* y = ssat8((a * m1 + b * m2 + c) >> sh); y may be a or b. */
void mg_add_s8(int8_t *y, const int8_t *a, const int8_t *b, const mg_add_params *p);

/* dx = dy * m / 2^31, rounded half up; dx may be dy. */
void mg_scale_dx_s16(int16_t *dx, const int16_t *dy, const mg_scale_dx_params *p);

/* dx = a + b, aligned to the larger exponent with 8 bits below it, then renormalised as in conv.h; dx may be
 * a. */
void mg_sum_dx_s16(int16_t *dx, const int16_t *a, const int16_t *b, const mg_scale *a_scale,
                   const mg_scale *b_scale, mg_scale *dx_scale, const mg_sum_dx_params *p);

/* y[pixel][i] = x[pixel][index[i]] */
void mg_gather_s8(int8_t *y, const int8_t *x, const int32_t *index, const mg_gather_params *p);
/* y[i][pixel] */
void mg_gather_planes_s8(int8_t *y, const int8_t *x, const int32_t *index, const mg_gather_params *p);

void mg_gather_dx_s16(int16_t *y, const int16_t *x, const int32_t *index, const mg_gather_params *p);

#endif
