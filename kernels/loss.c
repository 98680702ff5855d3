#include "loss.h"

#include "floats.h"

/* ln 2 in two parts: n * LN2_HIGH is exact for |n| < 2^11. */
static const float LN2_HIGH = 0.693145751953125f, LN2_LOW = 1.42860677e-6f;

static float horner(const float *coefficients, int count, float x) {
    float p = coefficients[0];
    for (int i = 1; i < count; i++)
        p = p * x + coefficients[i];
    return p;
}

float mg_expf(float x) {
    static const float taylor[] = {
        (float)(1 / 720.0), (float)(1 / 120.0), (float)(1 / 24.0), (float)(1 / 6.0), 0.5f, 1.0f, 1.0f};
    if (!(x > -87.0f))
        return x != x ? x : 0.0f;
    int32_t n = (int32_t)(x * 1.44269504f - 0.5f);
    float r = x - (float)n * LN2_HIGH;
    r = r - (float)n * LN2_LOW;
    return horner(taylor, 7, r) * mg_exp2i(n);
}

float mg_logf(float x) {
    static const float odd[] = {(float)(1 / 9.0), (float)(1 / 7.0), 0.2f, (float)(1 / 3.0), 1.0f};
    if (!(x >= 1.17549435e-38f) || x > 3.40282347e38f)
        return x;
    int32_t e = (int32_t)(mg_float_bits(x) >> 23) - 127;
    float m = mg_float_of((mg_float_bits(x) & 0x7FFFFF) | 0x3F800000);
    if (m > 1.41421354f) {
        m *= 0.5f;
        e++;
    }
    /* log m = 2 artanh s, s = (m - 1) / (m + 1) */
    float f = m - 1.0f, s = f / (2.0f + f);
    return (float)e * LN2_HIGH + ((float)e * LN2_LOW + (s + s) * horner(odd, 5, s * s));
}

static int32_t first_largest(const float *z, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = z[i] > z[best] ? i : best;
    return best;
}

void mg_softmax_xent_f32(float *loss, int32_t *predicted, float *dlogits, const float *logits,
                         const int32_t *label, const mg_count_params *p) {
    float sum = 0.0f, top;
    *predicted = first_largest(logits, p->n);
    top = logits[*predicted];
    for (int32_t c = 0; c < p->n; c++)
        sum += dlogits[c] = mg_expf(logits[c] - top);
    for (int32_t c = 0; c < p->n; c++)
        dlogits[c] = dlogits[c] / sum;
    dlogits[*label] -= 1.0f;
    *loss = mg_logf(sum) - (logits[*label] - top);
}
