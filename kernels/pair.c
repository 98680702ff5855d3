/* In the assembly: r1 the pixels' pairs, r12 the weights', r4-r7 sums, of both channels of a pixel after the
 * other; four words of each pair: of pixels r0, r2, r3 and lr, of weights r8-r11. On the stack: end of the
 * weights, b, m, y, out_c, zero, where the loop is entered, the pixels' pairs and their end, what r0 pointed
 * to, bits of both pixels. */
#include "pair.h"

#if MG_DSP

/* clang-format off */
#define LOAD                                                                                              \
    "ldmia  r1!, {r0, r2, r3, lr}\n\t"                                                                    \
    "ldmia  r12!, {r8-r11}\n\t"
#define LAST_WORDS                                                                                        \
    "smlad  r4, r3, r10, r4\n\t"                                                                          \
    "smlad  r5, r3, r11, r5\n\t"                                                                          \
    "smlad  r6, lr, r10, r6\n\t"                                                                          \
    "smlad  r7, lr, r11, r7\n\t"
#define STEP(label)                                                                                       \
    label ":\n\t" LOAD                                                                                    \
    "smlad  r4, r0, r8, r4\n\t"                                                                           \
    "smlad  r5, r0, r9, r5\n\t"                                                                           \
    "smlad  r6, r2, r8, r6\n\t"                                                                           \
    "smlad  r7, r2, r9, r7\n\t"                                                                           \
    LAST_WORDS

/* Of r0: as the fields of mg_pairs stand. */
#define TO_PIXELS(put, bits, next)                                                                        \
    "ldrd   r2, r3, [r0]\n\t"                                                                             \
    "strd   r2, r2, [sp, #-48]!\n\t"                                                                      \
    "adr.w  r2, 4f\n\t"                                                                                   \
    "ldrb   r3, [r2, r3]\n\t"                                                                             \
    "add    r2, r2, r3, lsl #1\n\t"                                                                       \
    "add    r2, r2, #1\n\t"                                                                               \
    "ldrd   r10, r11, [r0, #8]\n\t"                                                                       \
    "mov    r3, #1\n\t"                                                                                   \
    "strd   r10, r11, [sp, #16]\n\t"                                                                      \
    "strd   r0, r3, [sp, #36]\n\t"                                                                        \
    "strd   r2, r3, [sp, #24]\n\t"                                                                        \
    "str    r3, [sp, #44]\n\t"                                                                            \
    "0:\n\t"                                                                                              \
    "ldr    r1, [sp]\n\t"                                                                                 \
    "ldr    r2, [r0, #32]\n\t"                                                                            \
    "ldr    r3, [r0, #28]\n\t"                                                                            \
    "add    r3, r3, r2\n\t"                                                                               \
    "strd   r2, r3, [sp, #28]\n\t"                                                                        \
    "str    r3, [r0, #32]\n\t"                                                                            \
    "ldrd   r3, r8, [r0, #16]\n\t"                                                                        \
    "ldr    r12, [r0, #24]\n\t"                                                                           \
    "ldr    r9, [r0, #36]\n\t"                                                                            \
    "1:\n\t"                                                                                              \
    "ldrd   r4, r5, [r3], #8\n\t"                                                                         \
    "stm    sp, {r1, r3, r8, r9}\n\t"                                                                     \
    "ldr    r1, [sp, #28]\n\t"                                                                            \
    LOAD                                                                                                  \
    "smlad  r6, r2, r8, r4\n\t"                                                                           \
    "smlad  r7, r2, r9, r5\n\t"                                                                           \
    "smlad  r4, r0, r8, r4\n\t"                                                                           \
    "smlad  r5, r0, r9, r5\n\t"                                                                           \
    LAST_WORDS                                                                                            \
    "ldr    pc, [sp, #24]\n\t"                                                                            \
    "4:\n\t"                                                                                              \
    ".byte  (50f - 4b) / 2, (51f - 4b) / 2, (52f - 4b) / 2, (53f - 4b) / 2, (54f - 4b) / 2\n\t"           \
    ".byte  (55f - 4b) / 2, (56f - 4b) / 2, (57f - 4b) / 2, (58f - 4b) / 2, 0\n\t"                        \
    STEP("50") STEP("51") STEP("52") STEP("53") STEP("54") STEP("55") STEP("56") STEP("57")               \
    "ldr    r0, [sp, #32]\n\t"                                                                            \
    "cmp    r1, r0\n\t"                                                                                   \
    "bne    50b\n\t"                                                                                      \
    "58:\n\t"                                                                                             \
    "ldm    sp, {r1, r3, r8-r11}\n\t"                                                                     \
    "ldrd   r2, lr, [r8], #8\n\t"                                                                         \
    "smmlar r4, r4, r2, r11\n\t"                                                                          \
    "smmlar r5, r5, lr, r11\n\t"                                                                          \
    "smmlar r6, r6, r2, r11\n\t"                                                                          \
    "smmlar r7, r7, lr, r11\n\t"                                                                          \
    put("r6", "r7", "[r9, r10]")                                                                          \
    put("r4", "r5", "[r9], #2")                                                                           \
    bits                                                                                                  \
    "cmp    r12, r1\n\t"                                                                                  \
    "bne    1b\n\t"                                                                                       \
    "ldr    r0, [sp, #36]\n\t"                                                                            \
    "ldr    r2, [r0, #44]\n\t"                                                                            \
    "add    r9, r9, r2\n\t"                                                                               \
    "str    r9, [r0, #36]\n\t"                                                                            \
    next                                                                                                  \
    "ldr    r2, [r0, #40]\n\t"                                                                            \
    "subs   r2, r2, #1\n\t"                                                                               \
    "str    r2, [r0, #40]\n\t"                                                                            \
    "bne    0b\n\t"                                                                                       \
    "add    sp, sp, #48\n\t"

#define PUT(t, u, place)                                                                                  \
    "ssat   r2, #8, " t "\n\t"                                                                            \
    "ssat   lr, #8, " u "\n\t"                                                                            \
    "bfi    r2, lr, #8, #8\n\t"                                                                           \
    "strh   r2, " place "\n\t"

/* Beside it, zero where nothing was clamped. */
#define PUT_AND_KEEP(t, u, place)                                                                         \
    "ssat   r2, #8, " t "\n\t"                                                                            \
    "ssat   lr, #8, " u "\n\t"                                                                            \
    "eor    " t ", " t ", r2\n\t"                                                                         \
    "eor    " u ", " u ", lr\n\t"                                                                         \
    "bfi    r2, lr, #8, #8\n\t"                                                                           \
    "strh   r2, " place "\n\t"

/* Carry: the sum was not clamped. Below a one that they hold before, eight bits gather, the first on top. */
#define GATHER(t, bits)                                                                                   \
    "rsbs   " t ", " t ", #0\n\t"                                                                         \
    "adc    " bits ", " bits ", " bits "\n\t"
#define TO_BYTE(bits)                                                                                     \
    "rbit   " bits ", " bits "\n\t"                                                                       \
    "lsr    " bits ", " bits ", #24\n\t"
#define BITS                                                                                              \
    "ldrd   r2, lr, [sp, #40]\n\t"                                                                        \
    GATHER("r4", "r2")                                                                                    \
    GATHER("r5", "r2")                                                                                    \
    GATHER("r6", "lr")                                                                                    \
    GATHER("r7", "lr")                                                                                    \
    "tst    r2, #256\n\t"                                                                                 \
    "beq    2f\n\t"                                                                                       \
    TO_BYTE("r2")                                                                                         \
    TO_BYTE("lr")                                                                                         \
    "ldr    r0, [sp, #36]\n\t"                                                                            \
    "ldrd   r4, r5, [r0, #48]\n\t"                                                                        \
    "strb   lr, [r4, r5]\n\t"                                                                             \
    "strb   r2, [r4], #1\n\t"                                                                             \
    "str    r4, [r0, #48]\n\t"                                                                            \
    "mov    r2, #1\n\t"                                                                                   \
    "mov    lr, #1\n\t"                                                                                   \
    "2:\n\t"                                                                                              \
    "strd   r2, lr, [sp, #40]\n\t"
#define NEXT_BITS                                                                                         \
    "ldr    r2, [r0, #48]\n\t"                                                                            \
    "ldr    r3, [r0, #56]\n\t"                                                                            \
    "add    r2, r2, r3\n\t"                                                                               \
    "str    r2, [r0, #48]\n\t"
/* clang-format on */

#define PIXELS(name, put, bits, next)                                                                        \
    void name(mg_pairs *out) {                                                                               \
        register mg_pairs *r0 __asm__("r0") = out;                                                           \
        __asm__ volatile(TO_PIXELS(put, bits, next)                                                          \
                         : "+r"(r0)                                                                          \
                         :                                                                                   \
                         : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",  \
                           "cc", "memory");                                                                  \
    }

void mg_widen_pairs(void *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero, int32_t count) {
    const uint32_t less = mg_both(-zero);
    for (; count > 0; count--, x += 2 * pitch - n)
        __asm__ volatile("ldr     r12, %[n]             \n\t"
                         "add     r12, %[x], r12        \n\t"
                         "1:                            \n\t"
                         "ldr     r5, [%[x], %[pitch]]  \n\t"
                         "ldr     r4, [%[x]], #4        \n\t"
                         "sxtab16 r8, %[less], r4       \n\t"
                         "sxtab16 r9, %[less], r5       \n\t"
                         "sxtab16 r10, %[less], r4, ror #8 \n\t"
                         "sxtab16 r11, %[less], r5, ror #8 \n\t"
                         "stmia   %[to]!, {r8-r11}      \n\t"
                         "cmp     %[x], r12             \n\t"
                         "bne     1b"
                         : [to] "+r"(pairs), [x] "+r"(x)
                         : [pitch] "r"(pitch), [less] "r"(less), [n] "m"(n)
                         : "r4", "r5", "r8", "r9", "r10", "r11", "r12", "cc", "memory");
}

void mg_widen_pixels(uint32_t *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero) {
    register uint32_t *r0 __asm__("r0") = pairs, *r7 __asm__("r7") = pairs + n;
    register const int8_t *r1 __asm__("r1") = x, *r3 __asm__("r3") = x + 3 * pitch;
    register int32_t r2 __asm__("r2") = pitch;
    register uint32_t r12 __asm__("r12") = mg_both(-zero);
    register const int8_t *lr __asm__("lr") = x + n;
    __asm__ volatile("1:                           \n\t"
                     "ldr     r5, [r1, r2]         \n\t"
                     "ldr     r6, [r1, r2, lsl #1] \n\t"
                     "ldr     r4, [r1], #4         \n\t"
                     "sxtab16 r8, r12, r4          \n\t"
                     "sxtab16 r9, r12, r5          \n\t"
                     "sxtab16 r10, r12, r4, ror #8 \n\t"
                     "sxtab16 r11, r12, r5, ror #8 \n\t"
                     "ldr     r4, [r3], #4         \n\t"
                     "stmia   r0!, {r8-r11}        \n\t"
                     "sxtab16 r8, r12, r6          \n\t"
                     "sxtab16 r9, r12, r4          \n\t"
                     "sxtab16 r10, r12, r6, ror #8 \n\t"
                     "sxtab16 r11, r12, r4, ror #8 \n\t"
                     "stmia   r7!, {r8-r11}        \n\t"
                     "cmp     r1, lr               \n\t"
                     "bne     1b"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r7), "+r"(r12), "+r"(lr)
                     :
                     : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc", "memory");
}

PIXELS(mg_pixels_pairs, PUT, "", "")
PIXELS(mg_pixels_masked_pairs, PUT_AND_KEEP, BITS, NEXT_BITS)

#else

static int32_t product(const uint32_t *x, const uint32_t *w, int32_t n, int32_t sum) {
    for (int32_t i = 0; i < n; i += 2)
        sum = mg_smlad(x[i], w[i], sum);
    return sum;
}

static void pair_of(mg_pairs *out, int masked) {
    const int32_t n = out->bytes / (int32_t)sizeof *out->x, count = (int32_t)(out->end - out->w) / n;
    for (int32_t i = 0; i < 2 * count; i++) {
        const int32_t k = i & 1, c = i >> 1;
        const uint32_t *const row = (const uint32_t *)(const void *)out->w + c / 2 * n + c % 2;
        const int32_t t = mg_smmlar(product(out->x + k, row, n, out->b[c]), out->m[c], out->zero);
        out->y[c + k * out->out_c] = (int8_t)mg_ssat8(t);
        uint8_t *const bits = masked ? out->mask + k * out->mask_row + c / 8 : 0;
        if (masked)
            *bits = (uint8_t)((c % 8 ? *bits : 0) | (mg_ssat8(t) == t) << c % 8);
    }
    out->y += 2 * out->out_c, out->x += n, out->mask += masked ? 2 * out->mask_row : 0;
}

void mg_pixels_pairs(mg_pairs *out) {
    for (; out->left > 0; out->left--)
        pair_of(out, 0);
}

void mg_pixels_masked_pairs(mg_pairs *out) {
    for (; out->left > 0; out->left--)
        pair_of(out, 1);
}

void mg_widen_pairs(void *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero, int32_t count) {
    const uint32_t less = mg_both(-zero);
    uint32_t *to = pairs;
    for (; count > 0; count--, x += 2 * pitch - n)
        for (const int8_t *const end = x + n; x < end; x += 4, to += 4)
            for (int32_t k = 0; k < 2; k++) {
                const uint32_t v = mg_load32(x + k * pitch);
                to[k] = mg_sxtab16(less, v), to[2 + k] = mg_sxtab16_ror8(less, v);
            }
}

void mg_widen_pixels(uint32_t *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero) {
    mg_widen_pairs(pairs, x, pitch, n, zero, 2);
}

#endif

mg_pairs mg_pairs_of(const int16_t *w, int32_t n, int32_t count, const int32_t *b, const int32_t *m,
                     int32_t out_c, int32_t zero) {
    return (mg_pairs){.end = w + n * count,
                      .entry = n > 4 ? (uint32_t)((1 - n / 4) & 7) : 8,
                      .out_c = out_c,
                      .zero = zero,
                      .b = b,
                      .m = m,
                      .w = w,
                      .bytes = n * (int32_t)sizeof(uint32_t),
                      .skip = 2 * out_c - count,
                      .mask_row = out_c / 8,
                      .mask_skip = (2 * out_c - count) / 8};
}
