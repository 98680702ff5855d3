#include "pool.h"

#include "requant.h"

enum { MOST = 255 }; /* int8 of which an int16 holds the sum */

static __attribute__((noinline)) int8_t mean(int32_t sum, const mg_avgpool_params *p) {
    return (int8_t)mg_ssat8(mg_requant(sum - p->n * p->zero_in, p->mult, p->shift, p->zero_out));
}

/* Four channels. */
static inline void mean4(int8_t *y, const int8_t *x, const mg_avgpool_params *p) {
    uint32_t sum02 = 0, sum13 = 0;
    for (int32_t i = p->n; i > 0; i--, x += p->c) {
        const uint32_t x4 = mg_load32(x);
        sum02 = mg_sxtab16(sum02, x4), sum13 = mg_sxtab16_ror8(sum13, x4);
    }
    y[0] = mean((int16_t)sum02, p), y[1] = mean((int16_t)sum13, p);
    y[2] = mean((int16_t)(sum02 >> 16), p), y[3] = mean((int16_t)(sum13 >> 16), p);
}

void mg_avgpool_s8(int8_t *y, const int8_t *x, const mg_avgpool_params *p) {
    int32_t c = 0;
    for (; MG_FAST && p->n <= MOST && c + 4 <= p->c; c += 4)
        mean4(y + c, x + c, p);
    for (; c < p->c; c++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < p->n; i++)
            sum += x[i * p->c + c];
        y[c] = mean(sum, p);
    }
}

void mg_avgpool_dx_s16(int16_t *dx, const int16_t *dy, const mg_avgpool_dx_params *p) {
    for (int32_t c = 0; c < p->c; c++) {
        int16_t d = mg_scale_by(dy[c], p->m);
        for (int32_t i = 0; i < p->n; i++)
            dx[i * p->c + c] = d;
    }
}
