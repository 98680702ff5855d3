/* float32 parts whose bits every execution shares: powers of two and rounding to integers. */
#ifndef MG_FLOATS_H
#define MG_FLOATS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t mg_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float mg_float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* 2^e, e clipped to the normal range. */
static inline float mg_exp2i(int32_t e) {
    e = e < -126 ? -126 : e > 127 ? 127 : e;
    return mg_float_of((uint32_t)(e + 127) << 23);
}

/* Clipped to +-2^30; not-a-number gives 0. */
static inline float mg_bounded(float u) {
    const float most = 1073741824.0f;
    if (!(__builtin_fabsf(u) < most))
        return u != u ? 0.0f : u > 0.0f ? most : -most;
    return u;
}

/* Nearest integer, half away from zero, clipped to +-2^30; not-a-number gives 0. */
static inline int32_t mg_round_away(float u) {
    const float most = 1073741824.0f;
    if (!(__builtin_fabsf(u) < most))
        return u != u ? 0 : u > 0.0f ? 1 << 30 : -(1 << 30);
    return (int32_t)(u + (u >= 0.0f ? 0.5f : -0.5f));
}

#endif
