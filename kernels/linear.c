#include "linear.h"

#include "floats.h"

static float feature(int8_t x, const mg_linear_params *p) {
    return (float)(x - p->zero) * p->scale;
}

void mg_linear_f32(float *logits, const int8_t *x, const float *w, const float *b,
                   const mg_linear_params *p) {
    for (int32_t c = 0; c < p->classes; c++, w += p->features) {
        float sum = b[c];
        for (int32_t i = 0; i < p->features; i++)
            sum += w[i] * feature(x[i], p);
        logits[c] = sum;
    }
}

void mg_linear_dx_f32(float *dx, const float *dlogits, const float *w, const mg_linear_params *p) {
    for (int32_t i = 0; i < p->features; i++) {
        float sum = 0.0f;
        for (int32_t c = 0; c < p->classes; c++)
            sum += dlogits[c] * w[c * p->features + i];
        dx[i] = sum * p->scale;
    }
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
    dx_scale->exp = usable ? top - 12 : 0;
    dx_scale->bits = usable ? 13 : 0;
}

void mg_linear_sgd_f32(float *w, float *b, const float *dlogits, const int8_t *x, const float *lr,
                       const mg_linear_params *p) {
    for (int32_t c = 0; c < p->classes; c++, w += p->features) {
        float step = *lr * dlogits[c];
        for (int32_t i = 0; i < p->features; i++)
            w[i] -= step * feature(x[i], p);
        b[c] -= step;
    }
}
