/* How far an update goes for one unit of gradient: lr * coef * 2^e, multiplied in that order; and one step.
 */
#ifndef MG_RATE_H
#define MG_RATE_H

#include "floats.h"
#include "simd.h"
#include "types.h"

/* lr and 2^e of one tensor. */
typedef struct {
    float lr, p2;
} mg_rate;

static inline mg_rate mg_rate_of(const mg_scale *da_scale, const float *lr, int32_t offset) {
    return (mg_rate){*lr, mg_exp2i(da_scale->exp + offset)};
}

static inline float mg_factor(mg_rate r, float coef) {
    return r.lr * coef * r.p2;
}

/* v less u rounded as mg_round_away rounds it, within int16; |v| < 2^16. */
static inline int32_t mg_stepped(int32_t v, float u) {
#if MG_DSP
    float t = u + (u >= 0.0f ? 0.5f : -0.5f);
    int32_t r;
    __asm__("vcvt.s32.f32 %0, %0" : "+t"(t)); /* saturates; not-a-number gives 0 */
    memcpy(&r, &t, 4);
    __asm__("qsub %0, %0, %1 \n\t ssat %0, #16, %0" : "+r"(v) : "r"(r));
    return v;
#else
    v -= mg_round_away(u);
    return v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v;
#endif
}

/* One weight of mode 8.8; frac is the sum's low byte. */
static inline void mg_move8(int8_t *w, int8_t *frac, int32_t dw, float f) {
    int32_t v = mg_stepped(*w * 256 + *frac, (float)dw * f);
    v = v > 32512 ? 32512 : v;
    *w = (int8_t)((v + 128) >> 8);
    *frac = (int8_t)(v & 0xFF);
}

#endif
