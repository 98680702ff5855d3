#include "update.h"

#include "rate.h"

static void sgd_rows(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, mg_rate r,
                     const mg_sgd_params *p) {
    const int32_t n = p->n;
    for (int32_t co = 0; co < p->co; co++) {
        const float f = mg_factor(r, coef[co]);
        for (int32_t i = 0; i < n; i++)
            mg_move8(w++, frac++, *dw++, f);
    }
}

static void sgd_columns(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, mg_rate r,
                        const mg_sgd_params *p) {
    const int32_t n = p->n, step = p->co;
    for (int32_t co = 0; co < step; co++) {
        const float f = mg_factor(r, coef[co]);
        for (int32_t i = 0, at = co; i < n; i++, at += step)
            mg_move8(w + at, frac + at, dw[at], f);
    }
}

void mg_sgd_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
               const float *lr, const mg_sgd_params *p) {
    (p->inner ? sgd_columns : sgd_rows)(w, frac, dw, coef, mg_rate_of(da_scale, lr, p->offset), p);
}

void mg_sgd_partial_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef,
                       const mg_scale *da_scale, const float *lr, const int32_t *index,
                       const mg_sgd_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    int32_t rows = p->co * p->n / p->last, rows_a_channel = p->inner ? rows : rows / p->co;
    for (int32_t row = 0; row < rows; row++, w += p->last) {
        float f = p->inner ? 0.0f : mg_factor(r, coef[row / rows_a_channel]);
        for (int32_t j = 0; j < p->trained; j++)
            mg_move8(w + index[j], frac++, *dw++, p->inner ? mg_factor(r, coef[index[j]]) : f);
    }
}

void mg_sgd_bias_s32(int32_t *b, int8_t *frac, const int32_t *db, const float *coef, const mg_scale *da_scale,
                     const float *lr, const mg_sgd_params *p) {
    const int32_t most = INT32_C(1) << 30;
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    for (int32_t c = 0; c < p->co; c++) {
        int32_t v = frac[c] - mg_round_away((float)db[c] * mg_factor(r, coef[c]));
        int32_t carry = (v + 128) >> 8, moved = b[c] + carry;
        b[c] = moved > most ? most : moved < -most ? -most : moved;
        frac[c] = (int8_t)(v - carry * 256);
    }
}
