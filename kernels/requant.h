/* Rounding, once for all kernels: int32 accumulator to int8 activation, int32 gradient sum to int16. */
#ifndef MG_REQUANT_H
#define MG_REQUANT_H

#include "simd.h"
#include "types.h"

enum { MG_GRAD_BITS = 12, MG_GRAD_MAX_BITS = 14, MG_SHIFT_MIN = 2, MG_SHIFT_MAX = 30 };

/* acc * 2^shift * m / 2^32 + zero, rounded half up, not yet saturated; exact where the result is within int8.
 * Shifted sums are clipped before they could overflow: with m >= 2^10 the result then saturates anyway. */
static inline int32_t mg_requant(int32_t acc, int32_t m, int32_t shift, int32_t zero) {
    if (shift) {
        int32_t most = INT32_C(1) << (30 - shift);
        acc = (acc > most ? most : acc < -most ? -most : acc) * (INT32_C(1) << shift);
    }
    return mg_smmlar(acc, m, zero);
}

/* q * m / 2^31 for a gradient, rounded half up. */
static inline int16_t mg_scale_by(int32_t q, int32_t m) {
    return (int16_t)mg_smmulr(q * 2, m);
}

/* Two of them in a word. */
static inline uint32_t mg_scale_two(uint32_t q, int32_t m_low, int32_t m_high) {
    return mg_middles(mg_smlawb(m_low, q, 1 << 14), mg_smlawt(m_high, q, 1 << 14));
}

/* What one tensor's renormalisation needs: the shift and its multiplier, and all magnitudes ORed together. */
typedef struct {
    int32_t shift, mult;
    uint32_t magnitude;
} mg_renorm;

/* `bits`: length of the largest magnitude among what the sums are made of, or MG_GRAD_BITS, to which it was
 * steered, where it is not known before the end. */
static inline mg_renorm mg_renorm_start(const mg_scale *scale, int32_t bits) {
    int32_t shift = bits + scale->growth - MG_GRAD_BITS;
    shift = shift < MG_SHIFT_MIN ? MG_SHIFT_MIN : shift > MG_SHIFT_MAX ? MG_SHIFT_MAX : shift;
    return (mg_renorm){shift, (int32_t)(UINT32_C(1) << (32 - shift)), 0};
}

/* Gradient sum -> q with |q| <= 2^14, which fits an int16. */
static inline int32_t mg_renorm_word(mg_renorm *r, int32_t acc) {
    int32_t t = mg_smmulr(acc, r->mult);
    r->magnitude |= (uint32_t)(t ^ (t >> 31));
    return mg_ssat15(t);
}

static inline int16_t mg_renorm_one(mg_renorm *r, int32_t acc) {
    return (int16_t)mg_renorm_word(r, acc);
}

/* Two sums to two elements. */
static inline void mg_renorm_two(int16_t *q, mg_renorm *r, int32_t first, int32_t second) {
    const uint32_t a = (uint32_t)mg_renorm_word(r, first), b = (uint32_t)mg_renorm_word(r, second);
    mg_store32(q, mg_pkhbt(a, b));
}

/* Enter the tensor's exponent (that of its sums is `exp`) and choose the growth that the next step expects:
 * up at once, down one bit a step. `bits`: of what the sums were made of. */
static inline void mg_renorm_end(const mg_renorm *r, mg_scale *scale, int32_t exp, int32_t bits) {
    int32_t found = r->magnitude ? 32 - __builtin_clz(r->magnitude) : 0, grown = found + r->shift - bits;
    scale->exp = (int16_t)(exp + r->shift);
    if (found)
        scale->growth = (int16_t)(grown < scale->growth ? scale->growth - 1 : grown);
    if (found > MG_GRAD_MAX_BITS && scale->saturated < INT16_MAX)
        scale->saturated++;
    scale->bits = (int16_t)(found < MG_GRAD_MAX_BITS ? found : MG_GRAD_MAX_BITS);
}

/* Masks: bit i & 7 of byte i >> 3 belongs to element i. */
static inline int mg_bit(const uint8_t *bits, int32_t i) {
    return bits[i >> 3] >> (i & 7) & 1;
}

static inline void mg_put_bit(uint8_t *bits, int32_t i, int set) {
    bits[i >> 3] = (uint8_t)(bits[i >> 3] | set << (i & 7));
}

/* Several bits at once, which must not pass a byte's end. */
static inline void mg_put_bits(uint8_t *bits, int32_t i, uint32_t set) {
    bits[i >> 3] = (uint8_t)(bits[i >> 3] | set << (i & 7));
}

static inline void mg_clear_bits(uint8_t *bits, int32_t n) {
    if (bits)
        memset(bits, 0, ((size_t)n + 7) / 8);
}

#endif
