/* Pixels of a pointwise convolution one by one: each is widened once and meets the weights of two channels at
 * a time. */
#include "conv.h"
#include "requant.h"

#if MG_DSP

/* Four products of each sum; rounds of eight, entered in the middle where there is an odd number of fours. */
#define FOUR(sum, row)                                                                                       \
    "ldr %[u], [%[" #row "]], #4 \n\t sxtb16 %[v], %[u] \n\t sxtb16 %[u], %[u], ror #8 \n\t"                 \
    "smlad %[" #sum "], %[p], %[v], %[" #sum "] \n\t smlad %[" #sum "], %[q], %[u], %[" #sum "] \n\t"
#define STEP "ldrd %[p], %[q], [%[x]], #8 \n\t" FOUR(a, first) FOUR(b, second)

/* n products of each of two sums; rows of weights are n apart. */
static __attribute__((noinline)) void products(int32_t sums[2], const uint32_t *x, const int8_t *w,
                                               int32_t n) {
    const int8_t *first = w, *second = w + n, *const end = second;
    int32_t a = sums[0], b = sums[1];
    uint32_t p, q, u, v;
    __asm__ volatile("tst %[n], #4 \n\t bne 2f \n\t 1: \n\t" STEP "2: \n\t" STEP
                     "cmp %[first], %[end] \n\t bne 1b"
                     : [a] "+&r"(a), [b] "+&r"(b), [x] "+&r"(x), [first] "+&r"(first), [second] "+&r"(second),
                       [p] "=&r"(p), [q] "=&r"(q), [u] "=&r"(u), [v] "=&r"(v)
                     : [n] "r"(n), [end] "r"(end)
                     : "cc", "memory");
    sums[0] = a, sums[1] = b;
}

#else

static __attribute__((noinline)) void products(int32_t sums[2], const uint32_t *x, const int8_t *w,
                                               int32_t n) {
    for (int32_t k = 0; k < 2; k++)
        for (int32_t i = 0; i < n; i += 4, w += 4) {
            const uint32_t w4 = mg_load32(w);
            sums[k] = mg_smlad(x[i / 2], mg_sxtb16(w4), sums[k]);
            sums[k] = mg_smlad(x[i / 2 + 1], mg_sxtb16_ror8(w4), sums[k]);
        }
}

#endif

void mg_conv2d_s8__pixel(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, int32_t from, const mg_conv_params *p) {
    const int32_t n = p->in_c, out_c = p->out_c, pixels = p->out_h * p->out_w;
    const uint32_t zero = mg_both(-p->zero_in);
    uint32_t *const wide = (uint32_t *)work;
    if (mask)
        mask[(pixels * out_c - 1) / 8] = 0; /* spare bits */
    x += from * n;
    for (; from < pixels; from++) {
        uint32_t *to = wide;
        do {
            const uint32_t v = mg_load32(x);
            *to++ = mg_sxtab16(zero, v), *to++ = mg_sxtab16_ror8(zero, v), x += 4;
        } while (to != wide + n / 2);
        for (int32_t c = 0; c < out_c; c += 2) {
            int32_t sums[] = {b[c], b[c + 1]};
            products(sums, wide, w + c * n, n);
#pragma GCC unroll 1
            for (int32_t k = 0; k < 2; k++)
                mg_put_s8(y, mask, from * out_c + c + k, sums[k], m[c + k], p);
        }
    }
}
