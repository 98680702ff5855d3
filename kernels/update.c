#include "update.h"

#include "conv_dw_sgd.h"
#include "rate.h"
#include "simd.h"

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

void mg_bias_s32(int32_t *b, const int32_t *start, const int16_t *delta, const mg_count_params *p) {
    for (int32_t c = 0; c < p->n; c++)
        b[c] = start[c] + delta[c];
}

void mg_sgd_bias_s16(int16_t *delta, int8_t *frac, const int32_t *db, const float *coef,
                     const mg_scale *da_scale, const float *lr, const mg_sgd_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    for (int32_t c = 0; c < p->co; c++) {
        int32_t v = frac[c] - mg_round_away((float)db[c] * mg_factor(r, coef[c]));
        int32_t carry = (v + 128) >> 8;
        delta[c] = (int16_t)mg_ssat16(delta[c] + carry);
        frac[c] = (int8_t)(v - carry * 256);
    }
}

/* What blocks of gradients move: n weights a channel; channels: which ones, or NULL for the first ones. */
typedef struct {
    mg_dw_sink sink;
    int8_t *w, *frac;
    const float *coef;
    mg_rate rate;
    const int32_t *channels;
    int32_t n;
} moving;

/* What the sink says by value, as a store through an int8_t pointer might change what lies behind another. */
static void take(const mg_dw_sink *sink, const int32_t *dw, mg_dw_block b) {
    const moving m = *(const moving *)sink;
    for (int32_t c = b.channel; c < b.channel + b.channels; c++, dw += b.apart) {
        const int32_t channel = m.channels ? m.channels[c] : c, *d = dw;
        int8_t *w = m.w + channel * m.n + b.at, *frac = m.frac + channel * m.n + b.at;
        const float f = mg_factor(m.rate, m.coef[channel]);
        for (int32_t i = 0; i < b.n; i++, d += b.step)
            mg_move8(w + i, frac + i, *d, f);
    }
}

void mg_conv2d_dw_sgd_s8(int32_t *work, int8_t *w, int8_t *frac, const int16_t *da, const float *coef,
                         const mg_scale *da_scale, const float *lr, const int8_t *x,
                         const mg_conv_sgd_params *p) {
    const moving m = {{take}, w, frac, coef, mg_rate_of(da_scale, lr, p->sgd.offset), 0, p->sgd.n};
    mg_conv2d_dw_blocks(&m.sink, work, da, x, p->planes, &p->conv);
}

void mg_conv2d_dw_sgd_dynamic_s8(int32_t *work, int8_t *w, int8_t *frac, const int16_t *da, const float *coef,
                                 const mg_scale *da_scale, const float *lr, const int8_t *x,
                                 const int32_t *active, const mg_conv_sgd_params *p) {
    const moving m = {{take}, w, frac, coef, mg_rate_of(da_scale, lr, p->sgd.offset), active + 1, p->sgd.n};
    mg_conv_params some = p->conv;
    some.out_c = *active;
    mg_conv2d_dw_blocks(&m.sink, work, da, x, 0, &some);
}
