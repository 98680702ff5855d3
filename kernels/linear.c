#include "linear.h"

#include "floats.h"
#include "simd.h"

/* Features at a time, in registers. */
enum { BLOCK = 16 };

static float feature(int8_t x, const mg_linear_params *p) {
    return (float)(x - p->zero) * p->scale;
}

static void features(float *f, const int8_t *x, int32_t n, const mg_linear_params *p) {
#pragma GCC unroll 1
    for (int32_t i = 0; i < n; i++)
        f[i] = feature(x[i], p);
}

MG_INLINE float add_products(float sum, const float *w, const float *f, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        sum += w[i] * f[i];
    return sum;
}

/* The same, not unrolled. */
static float add_some(float sum, const float *w, const float *f, int32_t n) {
#pragma GCC unroll 1
    for (int32_t i = 0; i < n; i++)
        sum += w[i] * f[i];
    return sum;
}

void mg_linear_f32(float *logits, const int8_t *x, const float *w, const float *b,
                   const mg_linear_params *p) {
    const int32_t all = p->features, classes = p->classes;
    memcpy(logits, b, (size_t)classes * sizeof *b);
    for (int32_t i = 0; i < all; i += BLOCK) {
        const int32_t n = all - i < BLOCK ? all - i : BLOCK;
        float f[BLOCK];
        features(f, x + i, n, p);
        for (int32_t c = 0; c < classes; c++) {
            const float *row = w + c * all + i;
            logits[c] = n == BLOCK ? add_products(logits[c], row, f, BLOCK) : add_some(logits[c], row, f, n);
        }
    }
}

/* dx of n features from w on; once for all n, as unrolling it takes 2 KB of flash. */
static void __attribute__((noinline))
linear_dx(float *dx, const float *dlogits, const float *w, int32_t n, const mg_linear_params *p) {
    float sums[BLOCK] = {0.0f};
    for (int32_t c = 0; c < p->classes; c++, w += p->features)
#pragma GCC unroll 1
        for (int32_t i = 0; i < n; i++)
            sums[i] += dlogits[c] * w[i];
#pragma GCC unroll 1
    for (int32_t i = 0; i < n; i++)
        dx[i] = sums[i] * p->scale;
}

void mg_linear_dx_f32(float *dx, const float *dlogits, const float *w, const mg_linear_params *p) {
    for (int32_t i = 0; i < p->features; i += BLOCK)
        linear_dx(dx + i, dlogits, w + i, p->features - i < BLOCK ? p->features - i : BLOCK, p);
}

/* Exponent of the largest magnitude; bits of floats without their sign order as integers, not-a-number on
 * top. */
static int32_t top_exponent(const float *d, int32_t n) {
    uint32_t top = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits = mg_float_bits(d[i]) & 0x7FFFFFFF;
        top = bits > top ? bits : top;
    }
    return (int32_t)(top >> 23) - 127;
}

void mg_quantise_dx_s16(int16_t *dx, const float *d, mg_scale *dx_scale, const mg_count_params *p) {
    int32_t top = top_exponent(d, p->n);
    int usable = top >= -96 && top < 128;
    float factor = usable ? mg_exp2i(12 - top) : 0.0f;
    for (int32_t i = 0; i < p->n; i++)
        dx[i] = usable ? (int16_t)mg_round_away(d[i] * factor) : 0;
    dx_scale->exp = (int16_t)(usable ? top - 12 : 0);
    dx_scale->bits = usable ? 13 : 0;
}

/* The weights of one class for n features. */
static void move(float *w, const float *f, float step, int32_t n) {
#pragma GCC unroll 4
    for (int32_t i = 0; i < n; i++)
        w[i] -= step * f[i];
}

void mg_linear_sgd_f32(float *w, float *b, const float *dlogits, const int8_t *x, const float *lr,
                       const mg_linear_params *p) {
    const int32_t all = p->features;
    for (int32_t i = 0; i < all; i += BLOCK) {
        const int32_t n = all - i < BLOCK ? all - i : BLOCK;
        float f[BLOCK];
        features(f, x + i, n, p);
        for (int32_t c = 0; c < p->classes; c++)
            move(w + c * all + i, f, *lr * dlogits[c], n);
    }
#pragma GCC unroll 1
    for (int32_t c = 0; c < p->classes; c++)
        b[c] -= *lr * dlogits[c];
}
