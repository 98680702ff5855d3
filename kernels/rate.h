/* How far an update goes for one unit of gradient: lr * coef * 2^e, multiplied in that order; and one step.
 */
#ifndef MG_RATE_H
#define MG_RATE_H

#include "floats.h"
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

/* One weight of mode 8.8. */
static inline void mg_move8(int8_t *w, int8_t *frac, int32_t dw, float f) {
    int32_t v = *w * 256 + *frac - mg_round_away((float)dw * f);
    v = v < -32768 ? -32768 : v > 32512 ? 32512 : v;
    *w = (int8_t)((v + 128) >> 8);
    *frac = (int8_t)(v - *w * 256);
}

#endif
