/* Dot products of two pixels by two channels, the channels' weights widened to int16 beforehand. */
#ifndef MG_TILE_H
#define MG_TILE_H

#include "simd.h"

enum { MG_TILE_MAX = 640 }; /* products a sum; the weights then take 2.5 KB of stack */

/* Sums of pixels p, q by channels a, b. */
typedef struct {
    int32_t pa, pb, qa, qb;
} mg_tile;

/* Two weights of channel a, two of channel b. */
typedef struct {
    uint32_t a, b;
} mg_words;

/* Add n products (n > 0, n % 4 == 0) to each sum; q lies `apart` bytes after p. Bytes 4i and 4i + 2 meet word
 * 2i of the weights, the other two word 2i + 1. The loop is entered in its middle if n % 8.
 * Inputs are listed as written too, as such operands never share a register. */
MG_INLINE mg_tile mg_tile_s8(mg_tile t, const int8_t *x, const mg_words *w, int32_t n, int32_t apart) {
#if MG_DSP
#define MG_STEP                                                                                              \
    "ldrd   %[a], %[b], [%[w]], #16   \n\t"                                                                  \
    "ldr    %[q], [%[x], %[apart]]    \n\t"                                                                  \
    "ldr    %[p], [%[x]], #4          \n\t"                                                                  \
    "sxtb16 %[even], %[q]             \n\t"                                                                  \
    "sxtb16 %[q], %[q], ror #8        \n\t"                                                                  \
    "smlad  %[qa], %[a], %[even], %[qa] \n\t"                                                                \
    "smlad  %[qb], %[b], %[even], %[qb] \n\t"                                                                \
    "sxtb16 %[even], %[p]             \n\t"                                                                  \
    "sxtb16 %[p], %[p], ror #8        \n\t"                                                                  \
    "smlad  %[pa], %[a], %[even], %[pa] \n\t"                                                                \
    "smlad  %[pb], %[b], %[even], %[pb] \n\t"                                                                \
    "ldrd   %[a], %[b], [%[w], #-8]   \n\t"                                                                  \
    "smlad  %[qa], %[a], %[q], %[qa]  \n\t"                                                                  \
    "smlad  %[qb], %[b], %[q], %[qb]  \n\t"                                                                  \
    "smlad  %[pa], %[a], %[p], %[pa]  \n\t"                                                                  \
    "smlad  %[pb], %[b], %[p], %[pb]  \n\t"
    uint32_t a, b, p, q, even;
    const int8_t *end = x + n;
    __asm__("sub    %[even], %[end], %[x] \n\t"
            "lsls   %[even], %[even], #29 \n\t"
            "bmi    2f                    \n"
            "1:\n\t" MG_STEP "2:\n\t" MG_STEP "cmp    %[x], %[end] \n\t"
            "bne    1b"
            : [pa] "+r"(t.pa), [pb] "+r"(t.pb), [qa] "+r"(t.qa), [qb] "+r"(t.qb), [x] "+r"(x), [w] "+r"(w),
              [apart] "+r"(apart), [end] "+r"(end), [a] "=&r"(a), [b] "=&r"(b), [p] "=&r"(p), [q] "=&r"(q),
              [even] "=&r"(even)
            :
            : "cc", "memory");
#undef MG_STEP
#else
    for (int32_t i = 0; i < n; i += 4, w += 2) {
        uint32_t p = mg_load32(x + i), q = mg_load32(x + apart + i);
        t.pa = mg_smlad(w[0].a, mg_sxtb16(p), mg_smlad(w[1].a, mg_sxtb16_ror8(p), t.pa));
        t.pb = mg_smlad(w[0].b, mg_sxtb16(p), mg_smlad(w[1].b, mg_sxtb16_ror8(p), t.pb));
        t.qa = mg_smlad(w[0].a, mg_sxtb16(q), mg_smlad(w[1].a, mg_sxtb16_ror8(q), t.qa));
        t.qb = mg_smlad(w[0].b, mg_sxtb16(q), mg_smlad(w[1].b, mg_sxtb16_ror8(q), t.qb));
    }
#endif
    return t;
}

/* Add n products of int16 (n > 0, n % 4 == 0) to each sum; the second pixel lies n elements after the first.
 */
MG_INLINE mg_tile mg_tile_s16(mg_tile t, const int16_t *x, const mg_words *w, int32_t n, int32_t apart) {
#if MG_DSP
    uint32_t a, b, x2;
    apart *= 2;
    const int16_t *end = x + n;
    __asm__("1:                              \n\t"
            "ldrd  %[a], %[b], [%[w]], #16   \n\t"
            "ldr   %[x2], [%[x], %[apart]]       \n\t"
            "smlad %[qa], %[a], %[x2], %[qa] \n\t"
            "smlad %[qb], %[b], %[x2], %[qb] \n\t"
            "ldr   %[x2], [%[x]], #4         \n\t"
            "smlad %[pa], %[a], %[x2], %[pa] \n\t"
            "smlad %[pb], %[b], %[x2], %[pb] \n\t"
            "ldrd  %[a], %[b], [%[w], #-8]   \n\t"
            "ldr   %[x2], [%[x], %[apart]]       \n\t"
            "smlad %[qa], %[a], %[x2], %[qa] \n\t"
            "smlad %[qb], %[b], %[x2], %[qb] \n\t"
            "ldr   %[x2], [%[x]], #4         \n\t"
            "smlad %[pa], %[a], %[x2], %[pa] \n\t"
            "smlad %[pb], %[b], %[x2], %[pb] \n\t"
            "cmp   %[x], %[end]              \n\t"
            "bne   1b"
            : [pa] "+r"(t.pa), [pb] "+r"(t.pb), [qa] "+r"(t.qa), [qb] "+r"(t.qb), [x] "+r"(x), [w] "+r"(w),
              [apart] "+r"(apart), [end] "+r"(end), [a] "=&r"(a), [b] "=&r"(b), [x2] "=&r"(x2)
            :
            : "cc", "memory");
#else
    for (int32_t i = 0; i < n / 2; i++) {
        uint32_t p = mg_load32(x + 2 * i), q = mg_load32(x + apart + 2 * i);
        t.pa = mg_smlad(w[i].a, p, t.pa), t.pb = mg_smlad(w[i].b, p, t.pb);
        t.qa = mg_smlad(w[i].a, q, t.qa), t.qb = mg_smlad(w[i].b, q, t.qb);
    }
#endif
    return t;
}

#endif
