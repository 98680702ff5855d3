/* Updates of integers without a fraction: a step is rounded up or down at random, right on average. */
#include "conv_dw_sgd.h"
#include "rate.h"
#include "simd.h"
#include "tile.h"

#define STEP 0x9E3779B1u
#define INDEX 0x85EBCA77u

/* MurmurHash3's finaliser. */
MG_INLINE uint32_t mix(uint32_t h) {
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

/* What the numbers of one tensor in one step are made of: number i is mix(it ^ i * INDEX). */
static uint32_t seed_of(const int32_t *steps, const mg_sgd_int8_params *p) {
    return mix(p->key ^ (uint32_t)*steps * STEP);
}

/* -u / 2^bits to the integer below or, the more often the nearer it is, above. */
MG_INLINE int32_t whole(float u, uint32_t drawn, int32_t bits) {
    return ((int32_t)(drawn >> (32 - bits)) - mg_round_away(u)) >> bits;
}

/* Along the last axis, all entries or those that index names; a weight's step counts in 1/65536. */
MG_INLINE void move(int8_t *w, uint32_t seed, const int32_t *dw, const float *coef, mg_rate r,
                    const int32_t *index, int32_t inner, const mg_sgd_int8_params *p) {
    const int32_t last = p->last, count = index ? p->trained : last, rows = p->co * p->n / last;
    const int32_t rows_a_channel = inner ? rows : rows / p->co;
    uint32_t i = 0;
    for (int32_t row = 0; row < rows; row++, w += last) {
        float f = inner ? 0.0f : mg_factor(r, coef[row / rows_a_channel]) * 256.0f;
        for (int32_t j = 0; j < count; j++, i += INDEX) {
            const int32_t at = index ? index[j] : j;
            if (inner)
                f = mg_factor(r, coef[at]) * 256.0f;
            w[at] = (int8_t)mg_ssat8(w[at] + whole((float)*dw++ * f, mix(seed ^ i), 16));
        }
    }
}

void mg_sgd_int8_s8(int8_t *w, const int32_t *steps, const int32_t *dw, const float *coef,
                    const mg_scale *da_scale, const float *lr, const mg_sgd_int8_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    if (p->inner)
        move(w, seed_of(steps, p), dw, coef, r, 0, 1, p);
    else
        move(w, seed_of(steps, p), dw, coef, r, 0, 0, p);
}

void mg_sgd_partial_int8_s8(int8_t *w, const int32_t *steps, const int32_t *dw, const float *coef,
                            const mg_scale *da_scale, const float *lr, const int32_t *index,
                            const mg_sgd_int8_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    if (p->inner)
        move(w, seed_of(steps, p), dw, coef, r, index, 1, p);
    else
        move(w, seed_of(steps, p), dw, coef, r, index, 0, p);
}

void mg_sgd_bias_int8_s16(int16_t *delta, const int32_t *steps, const int32_t *db, const float *coef,
                          const mg_scale *da_scale, const float *lr, const mg_sgd_int8_params *p) {
    mg_sgd_bias_int8_tile_s16(delta, steps, db, coef, da_scale, lr, 0, p);
}

void mg_sgd_bias_int8_tile_s16(int16_t *delta, const int32_t *steps, const int32_t *db, const float *coef,
                               const mg_scale *da_scale, const float *lr, int32_t first,
                               const mg_sgd_int8_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    const uint32_t seed = seed_of(steps, p);
    for (int32_t c = 0; c < p->co; c++) {
        const uint32_t drawn = mix(seed ^ (uint32_t)(first + c) * INDEX);
        delta[c] = (int16_t)mg_ssat16(delta[c] + whole((float)db[c] * mg_factor(r, coef[c]), drawn, 8));
    }
}

void mg_count_steps_s32(int32_t *steps, const mg_count_params *p) {
    for (int32_t i = 0; i < p->n; i++)
        steps[i] = (int32_t)((uint32_t)steps[i] + 1);
}

/* What blocks of gradients move: n weights a channel; first: the number of the first weight. */
typedef struct {
    mg_dw_sink sink;
    int8_t *w;
    uint32_t seed;
    const float *coef;
    mg_rate rate;
    int32_t n, first;
} moving;

static void take(const mg_dw_sink *sink, const int32_t *dw, mg_dw_block b) {
    const moving m = *(const moving *)sink;
    for (int32_t c = b.channel; c < b.channel + b.channels; c++, dw += b.apart) {
        const float f = mg_factor(m.rate, m.coef[c]) * 256.0f;
        const int32_t from = c * m.n + b.at, *d = dw;
        for (int32_t at = from; at < from + b.n; at++, d += b.step) {
            const uint32_t drawn = mix(m.seed ^ (uint32_t)(m.first + at) * INDEX);
            m.w[at] = (int8_t)mg_ssat8(m.w[at] + whole((float)*d * f, drawn, 16));
        }
    }
}

void mg_conv2d_dw_sgd_int8_s8(int32_t *work, int8_t *w, const int32_t *steps, const int16_t *da,
                              const float *coef, const mg_scale *da_scale, const float *lr, const int8_t *x,
                              const mg_conv_sgd_int8_params *p) {
    mg_conv2d_dw_sgd_int8_tile_s8(work, w, steps, da, coef, da_scale, lr, x, 0, p);
}

void mg_conv2d_dw_sgd_int8_tile_s8(int32_t *work, int8_t *w, const int32_t *steps, const int16_t *da,
                                   const float *coef, const mg_scale *da_scale, const float *lr,
                                   const int8_t *x, int32_t first, const mg_conv_sgd_int8_params *p) {
    const mg_rate r = mg_rate_of(da_scale, lr, p->sgd.offset);
    const moving m = {{take}, w, seed_of(steps, &p->sgd), coef, r, p->sgd.n, first * p->sgd.n};
    mg_conv2d_dw_blocks(&m.sink, work, da, x, p->planes, &p->conv);
}
