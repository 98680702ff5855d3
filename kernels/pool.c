#include "pool.h"

#include "requant.h"

void mg_avgpool_s8(int8_t *y, const int8_t *x, const mg_avgpool_params *p) {
    for (int32_t c = 0; c < p->c; c++) {
        int32_t sum = -p->n * p->zero_in;
        for (int32_t i = 0; i < p->n; i++)
            sum += x[i * p->c + c];
        y[c] = (int8_t)mg_ssat8(mg_requant(sum, p->mult, p->shift, p->zero_out));
    }
}

void mg_avgpool_dx_s16(int16_t *dx, const int16_t *dy, const mg_avgpool_dx_params *p) {
    for (int32_t c = 0; c < p->c; c++) {
        int16_t d = mg_scale_by(dy[c], p->m);
        for (int32_t i = 0; i < p->n; i++)
            dx[i * p->c + c] = d;
    }
}
