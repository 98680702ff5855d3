/* Updates with a float32 fraction: no step is too small to count. */
#include "conv_dw_sgd.h"
#include "rate.h"
#include "simd.h"
#include "update.h"

/* *frac - step: whole units, which it returns, and what is left, which goes back; |u| <= 2^30. */
MG_INLINE int32_t carried(float *frac, float step) {
    const float v = *frac - mg_bounded(step), units = v * (1.0f / 256);
    const int32_t carry = (int32_t)(units + (units >= 0.0f ? 0.5f : -0.5f));
    *frac = v - (float)carry * 256.0f;
    return carry;
}

MG_INLINE void move8(int8_t *w, float *frac, float step) {
    const int32_t moved = *w + carried(frac, step), plane = mg_ssat8(moved);
    if (moved != plane || (plane == 127 && *frac > 0.0f) || (plane == -128 && *frac < 0.0f))
        *frac = 0.0f;
    *w = (int8_t)plane;
}

/* Along the last axis, all entries or those that index names. */
MG_INLINE void move(int8_t *w, float *frac, const int32_t *dw, const float *coef, mg_rate r,
                    const int32_t *index, int32_t inner, const mg_sgd_params *p) {
    const int32_t last = p->last, count = index ? p->trained : last, rows = p->co * p->n / last;
    const int32_t rows_a_channel = inner ? rows : rows / p->co;
    for (int32_t row = 0; row < rows; row++, w += last) {
        float f = inner ? 0.0f : mg_factor(r, coef[row / rows_a_channel]);
        for (int32_t j = 0; j < count; j++) {
            const int32_t at = index ? index[j] : j;
            if (inner)
                f = mg_factor(r, coef[at]);
            move8(w + at, frac++, (float)*dw++ * f);
        }
    }
}

void mg_sgd_fp32_s8(int8_t *w, float *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
                    const float *lr, const mg_sgd_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    if (p->inner)
        move(w, frac, dw, coef, r, 0, 1, p);
    else
        move(w, frac, dw, coef, r, 0, 0, p);
}

void mg_sgd_partial_fp32_s8(int8_t *w, float *frac, const int32_t *dw, const float *coef,
                            const mg_scale *da_scale, const float *lr, const int32_t *index,
                            const mg_sgd_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    if (p->inner)
        move(w, frac, dw, coef, r, index, 1, p);
    else
        move(w, frac, dw, coef, r, index, 0, p);
}

void mg_sgd_bias_fp32_s16(int16_t *delta, float *frac, const int32_t *db, const float *coef,
                          const mg_scale *da_scale, const float *lr, const mg_sgd_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    for (int32_t c = 0; c < p->co; c++) {
        const float step = (float)db[c] * mg_factor(r, coef[c]);
        delta[c] = (int16_t)mg_ssat16(delta[c] + carried(frac + c, step));
    }
}

/* What blocks of gradients move: n weights a channel. */
typedef struct {
    mg_dw_sink sink;
    int8_t *w;
    float *frac;
    const float *coef;
    mg_rate rate;
    int32_t n;
} moving;

static void take(const mg_dw_sink *sink, const int32_t *dw, mg_dw_block b) {
    const moving m = *(const moving *)sink;
    for (int32_t c = b.channel; c < b.channel + b.channels; c++, dw += b.apart) {
        const int32_t at = c * m.n + b.at;
        const float f = mg_factor(m.rate, m.coef[c]);
        for (int32_t i = 0; i < b.n; i++)
            move8(m.w + at + i, m.frac + at + i, (float)dw[i * b.step] * f);
    }
}

void mg_conv2d_dw_sgd_fp32_s8(int32_t *work, int8_t *w, float *frac, const int16_t *da, const float *coef,
                              const mg_scale *da_scale, const float *lr, const int8_t *x,
                              const mg_conv_sgd_params *p) {
    const moving m = {{take}, w, frac, coef, mg_rate_of(da_scale, lr, p->sgd.offset), p->sgd.n};
    mg_conv2d_dw_blocks(&m.sink, work, da, x, p->planes, &p->conv);
}
