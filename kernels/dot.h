/* Dot products of two pixels by two channels: each load of four bytes serves eight products. */
#ifndef MG_DOT_H
#define MG_DOT_H

#include "simd.h"

/* Sums of pixels p, q by channels a, b. */
typedef struct {
    int32_t pa, pb, qa, qb;
} mg_tile;

#if MG_DSP

/* clang-format off */
#define MG_DOT_STEP                                            \
    "ldr    %[b], [%[w], %[n]]          \n\t"                  \
    "ldr    %[a], [%[w]], #4            \n\t"                  \
    "sxtb16 %[b02], %[b]                \n\t"                  \
    "sxtb16 %[b], %[b], ror #8          \n\t"                  \
    "sxtb16 %[a02], %[a]                \n\t"                  \
    "sxtb16 %[a], %[a], ror #8          \n\t"                  \
    "ldr    %[x13], [%[x], %[n]]        \n\t"                  \
    "sxtb16 %[x02], %[x13]              \n\t"                  \
    "sxtb16 %[x13], %[x13], ror #8      \n\t"                  \
    "smlad  %[qa], %[a02], %[x02], %[qa]\n\t"                  \
    "smlad  %[qb], %[b02], %[x02], %[qb]\n\t"                  \
    "smlad  %[qa], %[a], %[x13], %[qa]  \n\t"                  \
    "smlad  %[qb], %[b], %[x13], %[qb]  \n\t"                  \
    "ldr    %[x13], [%[x]], #4          \n\t"                  \
    "sxtb16 %[x02], %[x13]              \n\t"                  \
    "sxtb16 %[x13], %[x13], ror #8      \n\t"                  \
    "smlad  %[pa], %[a02], %[x02], %[pa]\n\t"                  \
    "smlad  %[pb], %[b02], %[x02], %[pb]\n\t"                  \
    "smlad  %[pa], %[a], %[x13], %[pa]  \n\t"                  \
    "smlad  %[pb], %[b], %[x13], %[pb]  \n\t"
/* clang-format on */

/* Add n products (n > 0, n % 4 == 0) to each sum; the second pixel and channel lie n bytes after the first.
 * The loop takes all fourteen registers, more than the compiler manages; it is entered in its middle if n
 * % 8. */
MG_INLINE mg_tile mg_dot2x2(mg_tile t, const int8_t *x, const int8_t *w, int32_t n) {
    uint32_t a, b, a02, b02, x02, x13;
    const int8_t *end = x + n;
    __asm__(
        "tst    %[n], #4 \n\t"
        "bne    2f       \n"
        "1:\n\t" MG_DOT_STEP "2:\n\t" MG_DOT_STEP "cmp %[x], %[end] \n\t"
        "bne    1b"
        : [pa] "+r"(t.pa), [pb] "+r"(t.pb), [qa] "+r"(t.qa), [qb] "+r"(t.qb), [x] "+r"(x), [w] "+r"(w),
          [a] "=&r"(a), [b] "=&r"(b), [a02] "=&r"(a02), [b02] "=&r"(b02), [x02] "=&r"(x02), [x13] "=&r"(x13)
        : [n] "r"(n), [end] "r"(end)
        : "cc", "memory");
    return t;
}

#else

static inline int32_t mg_dot4(const int8_t *x, const int8_t *w, int32_t sum) {
    uint32_t x4 = mg_load32(x), w4 = mg_load32(w);
    sum = mg_smlad(mg_sxtb16(w4), mg_sxtb16(x4), sum);
    return mg_smlad(mg_sxtb16_ror8(w4), mg_sxtb16_ror8(x4), sum);
}

MG_INLINE mg_tile mg_dot2x2(mg_tile t, const int8_t *x, const int8_t *w, int32_t n) {
    for (int32_t i = 0; i < n; i += 4) {
        t.pa = mg_dot4(x + i, w + i, t.pa), t.pb = mg_dot4(x + i, w + n + i, t.pb);
        t.qa = mg_dot4(x + n + i, w + i, t.qa), t.qb = mg_dot4(x + n + i, w + n + i, t.qb);
    }
    return t;
}

#endif

/* Sum of n bytes, n % 4 == 0. */
static inline int32_t mg_sum_s8(const int8_t *w, int32_t n) {
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i += 4) {
        uint32_t w4 = mg_load32(w + i);
        sum = mg_smlad(mg_sxtb16(w4), 0x00010001, sum);
        sum = mg_smlad(mg_sxtb16_ror8(w4), 0x00010001, sum);
    }
    return sum;
}

#endif
