/* Global average pool and its gradient. */
#ifndef MG_POOL_H
#define MG_POOL_H

#include "types.h"

/* n pixels of c channels, n <= 65536; the sum is requantised as in conv.h. */
typedef struct {
    int32_t n, c, mult, shift, zero_in, zero_out;
} mg_avgpool_params;

typedef struct {
    int32_t n, c, m;
} mg_avgpool_dx_params;

/* y[c] = mean over pixels of x[n][c]. */
void mg_avgpool_s8(int8_t *y, const int8_t *x, const mg_avgpool_params *p);

/* dx[n][c] = dy[c] * m / 2^31, the same for each pixel. */
void mg_avgpool_dx_s16(int16_t *dx, const int16_t *dy, const mg_avgpool_dx_params *p);

#endif
