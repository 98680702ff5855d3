#include "dynamic.h"

#include "rate.h"
#include "simd.h"

enum { ONE = 4096, GROUP = 4 };

void mg_active_share_s32(int32_t *share, const float *loss, float *worst, const mg_share_params *p) {
    if (*loss > *worst)
        *worst = *loss;
    const float part = *worst > 0.0f ? *loss / *worst : 0.0f;
    *share = p->least + mg_round_away((float)(p->most - p->least) * part);
}

/* Four channels of n pixels, c elements apart. */
static void four_norms(int32_t *norms, const int16_t *da, int32_t n, int32_t c) {
    uint32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int32_t i = 0; i < n; i++, da += c) {
        const uint32_t a = mg_abs16(mg_load32(da)), b = mg_abs16(mg_load32(da + 2));
        s0 += a & 0xFFFF, s1 += a >> 16;
        s2 += b & 0xFFFF, s3 += b >> 16;
    }
    norms[0] = (int32_t)s0, norms[1] = (int32_t)s1, norms[2] = (int32_t)s2, norms[3] = (int32_t)s3;
}

void mg_channel_norms_s32(int32_t *norms, const int16_t *da, const mg_clamp_params *p) {
    const int32_t n = p->n, channels = p->c, fours = MG_FAST ? channels & ~3 : 0;
    for (int32_t c = 0; c < fours; c += 4)
        four_norms(norms + c, da + c, n, channels);
    for (int32_t c = fours; c < channels; c++)
        norms[c] = 0;
    for (int32_t i = 0; i < n; i++, da += channels)
        for (int32_t c = fours; c < channels; c++)
            norms[c] += __builtin_abs(da[c]);
}

static int32_t count_of(int32_t share, int32_t channels) {
    int32_t count = (share * channels + ONE * GROUP - 1) / (ONE * GROUP) * GROUP;
    return count < channels ? count : channels;
}

static int32_t at_least(const int32_t *norms, int32_t bound, int32_t n) {
    int32_t found = 0;
    for (int32_t i = 0; i < n; i++)
        found += norms[i] >= bound;
    return found;
}

/* A bound that exactly `count` norms reach, or where norms are equal the largest that at least as many do. */
static int32_t bound_of(const int32_t *norms, int32_t count, int32_t n) {
    uint32_t all = 0;
    int32_t bound = 0, found = n;
    for (int32_t i = 0; i < n; i++)
        all |= (uint32_t)norms[i];
    for (int32_t bit = all ? INT32_C(1) << (31 - __builtin_clz(all)) : 0; bit && found != count; bit >>= 1) {
        const int32_t reach = at_least(norms, bound | bit, n);
        if (reach >= count)
            bound |= bit, found = reach;
    }
    return bound;
}

void mg_top_channels_s32(int32_t *active, const int32_t *norms, const int32_t *share,
                         const mg_count_params *p) {
    const int32_t n = p->n, count = count_of(*share, n), bound = bound_of(norms, count, n);
    int32_t ties = count - at_least(norms, bound + 1, n);
    *active++ = count;
    for (int32_t i = 0; i < n; i++)
        if (norms[i] > bound || (norms[i] == bound && ties-- > 0))
            *active++ = i;
}

/* The active channels of n pixels, four at a time. */
#define GATHER(kernel, type)                                                                                 \
    void kernel(type *part, const type *x, const int32_t *active, const mg_clamp_params *p) {                \
        const int32_t count = *active++, n = p->n, c = p->c;                                                 \
        for (int32_t i = 0; i < n; i++, x += c) {                                                            \
            int32_t j = 0;                                                                                   \
            for (; j + 4 <= count; j += 4, part += 4) {                                                      \
                part[0] = x[active[j]], part[1] = x[active[j + 1]];                                          \
                part[2] = x[active[j + 2]], part[3] = x[active[j + 3]];                                      \
            }                                                                                                \
            for (; j < count; j++)                                                                           \
                *part++ = x[active[j]];                                                                      \
        }                                                                                                    \
    }

GATHER(mg_gather_active_s8, int8_t)
GATHER(mg_gather_active_dx_s16, int16_t)
#undef GATHER

void mg_conv2d_dw_dynamic_s32(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                              const int32_t *active, const mg_conv_params *p) {
    mg_conv_params some = *p;
    some.out_c = *active;
    mg_conv2d_dw_s32(dw, work, da, x, &some);
}

void mg_depthwise_conv2d_dw_dynamic_s32(int32_t *dw, const int16_t *da, const int8_t *x,
                                        const int32_t *active, const mg_conv_params *p) {
    mg_conv_params some = *p;
    some.in_c = some.out_c = *active;
    mg_depthwise_conv2d_dw_s32(dw, da, x, &some);
}

/* Channels are rows: each is an update of its own. */
static void rows(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
                 const float *lr, const int32_t *active, const int32_t *index, const mg_sgd_params *p) {
    const int32_t count = *active++, size = p->n / p->last * p->trained;
    mg_sgd_params one = *p;
    one.co = 1;
    for (int32_t j = 0; j < count; j++, dw += size) {
        const int32_t c = active[j];
        if (index)
            mg_sgd_partial_s8(w + c * p->n, frac + c * size, dw, coef + c, da_scale, lr, index, &one);
        else
            mg_sgd_s8(w + c * p->n, frac + c * size, dw, coef + c, da_scale, lr, &one);
    }
}

/* Channels are columns, p->n positions each. */
static void columns(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef, const mg_scale *da_scale,
                    const float *lr, const int32_t *active, const int32_t *index, const mg_sgd_params *p) {
    const int32_t count = *active++, n = p->n, last = p->last, trained = p->trained;
    const mg_rate r = mg_rate_of(da_scale, lr, p->offset);
    for (int32_t j = 0; j < count; j++, dw++) {
        const int32_t c = active[j], at = index ? index[c] : c;
        const float f = mg_factor(r, coef[at]);
        for (int32_t i = 0; i < n; i++)
            mg_move8(w + i * last + at, frac + i * trained + c, dw[i * count], f);
    }
}

void mg_sgd_dynamic_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef,
                       const mg_scale *da_scale, const float *lr, const int32_t *active, const int32_t *index,
                       const mg_sgd_params *p) {
    (p->inner ? columns : rows)(w, frac, dw, coef, da_scale, lr, active, index, p);
}
