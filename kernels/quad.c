/* The inner loops of the matrix products. In the assembly: r1 quads, lr their end, r12 rows, r4-r7 sums, r2
 * and r3 four elements of a row, r8-r11 a word of each quad; r0 what remains in memory. The loop makes 32
 * products of each, is entered so that the right number is made, or left at once. In C: quad__twins.c. */
#include "quad.h"

#if MG_DSP

#define CLOBBERED "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "cc", "memory"

/* Where the loop is entered after the first step. */
static uint32_t entry_after_first(int32_t n) {
    return n > 4 ? (uint32_t)((1 - n / 4) & 7) : 8;
}

/* clang-format off */
#define LOAD_S8                                                                                           \
    "ldr    r2, [r12], #4\n\t"                                                                            \
    "sxtb16 r3, r2, ror #8\n\t"                                                                           \
    "sxtb16 r2, r2\n\t"
#define LOAD_S16                                                                                          \
    "ldrd   r2, r3, [r12], #8\n\t"

/* Four products of each sum; the label is where the loop may be entered. */
#define STEP(label, load)                                                                                 \
    label ":\n\t" load                                                                                    \
    "ldmia  r1!, {r8-r11}\n\t"                                                                            \
    "smlad  r4, r2, r8, r4\n\t"                                                                           \
    "smlad  r5, r2, r9, r5\n\t"                                                                           \
    "smlad  r6, r2, r10, r6\n\t"                                                                          \
    "smlad  r7, r2, r11, r7\n\t"                                                                          \
    "ldmia  r1!, {r8-r11}\n\t"                                                                            \
    "smlad  r4, r3, r8, r4\n\t"                                                                           \
    "smlad  r5, r3, r9, r5\n\t"                                                                           \
    "smlad  r6, r3, r10, r6\n\t"                                                                          \
    "smlad  r7, r3, r11, r7\n\t"

/* Of the first four, the two that are met last. */
#define SECOND_PAIR                                                                                       \
    "ldmia  r1!, {r8-r11}\n\t"                                                                            \
    "smlad  r4, r3, r8, r4\n\t"                                                                           \
    "smlad  r5, r3, r9, r5\n\t"                                                                           \
    "smlad  r6, r3, r10, r6\n\t"                                                                          \
    "smlad  r7, r3, r11, r7\n\t"

/* The first four, upon what r4 holds for all sums. */
#define FIRST_STEP(load)                                                                                  \
    load                                                                                                  \
    "ldmia  r1!, {r8-r11}\n\t"                                                                            \
    "smlad  r5, r2, r9, r4\n\t"                                                                           \
    "smlad  r6, r2, r10, r4\n\t"                                                                          \
    "smlad  r7, r2, r11, r4\n\t"                                                                          \
    "smlad  r4, r2, r8, r4\n\t"                                                                           \
    SECOND_PAIR

/* The same upon nothing. */
#define FIRST_ALONE(load)                                                                                 \
    load                                                                                                  \
    "ldmia  r1!, {r8-r11}\n\t"                                                                            \
    "smuad  r4, r2, r8\n\t"                                                                               \
    "smuad  r5, r2, r9\n\t"                                                                               \
    "smuad  r6, r2, r10\n\t"                                                                              \
    "smuad  r7, r2, r11\n\t"                                                                              \
    SECOND_PAIR

/* Entered by a jump: at 0 to 7, or 8 to do nothing. */
#define STEPS(jump, load)                                                                                 \
    jump "\n\t"                                                                                           \
    "4:\n\t"                                                                                              \
    ".byte  (50f - 4b) / 2, (51f - 4b) / 2, (52f - 4b) / 2, (53f - 4b) / 2, (54f - 4b) / 2\n\t"           \
    ".byte  (55f - 4b) / 2, (56f - 4b) / 2, (57f - 4b) / 2, (58f - 4b) / 2, 0\n\t"                        \
    STEP("50", load)                                                                                      \
    STEP("51", load)                                                                                      \
    STEP("52", load)                                                                                      \
    STEP("53", load)                                                                                      \
    STEP("54", load)                                                                                      \
    STEP("55", load)                                                                                      \
    STEP("56", load)                                                                                      \
    STEP("57", load)                                                                                      \
    "cmp    r1, lr\n\t"                                                                                   \
    "bne    50b\n\t"                                                                                      \
    "58:\n\t"

/* From where the loop is entered, of r0, to the address to jump to, in its place. */
#define TO_ADDRESS                                                                                        \
    "adr.w  r2, 4f\n\t"                                                                                   \
    "ldr    r3, [r0, #24]\n\t"                                                                            \
    "ldrb   r3, [r2, r3]\n\t"                                                                             \
    "add    r2, r2, r3, lsl #1\n\t"                                                                       \
    "add    r2, r2, #1\n\t"                                                                               \
    "str    r2, [r0, #24]\n\t"

/* Into memory. Of r0: the sums, quads, entry, bytes from row to row less their length and from sums to sums,
 * rows, ends of the quads and of the rows. */
typedef struct {
    int32_t *sums;
    const uint32_t *quads;
    uint32_t entry;
    int32_t skip, step;
    const void *row, *quads_end, *end;
} into_memory;

#define INTO_MEMORY(load)                                                                                 \
    "ldrd   r12, lr, [r0, #20]\n\t"                                                                       \
    "1:\n"                                                                                                \
    "ldr    r3, [r0]\n\t"                                                                                 \
    "ldrd   r1, r2, [r0, #4]\n\t"                                                                         \
    "ldmia  r3, {r4-r7}\n\t"                                                                              \
    STEPS("tbb    [pc, r2]", load)                                                                        \
    "ldr    r3, [r0]\n\t"                                                                                 \
    "ldrd   r1, r2, [r0, #12]\n\t"                                                                        \
    "stmia  r3, {r4-r7}\n\t"                                                                              \
    "add    r3, r3, r2\n\t"                                                                               \
    "add    r12, r12, r1\n\t"                                                                             \
    "ldr    r2, [r0, #28]\n\t"                                                                            \
    "str    r3, [r0]\n\t"                                                                                 \
    "cmp    r12, r2\n\t"                                                                                  \
    "bne    1b"

#define QUADS(name, type, load)                                                                           \
    void name(int32_t *sums, const type *row, const uint32_t *quads, mg_rows_of rows) {                   \
        const int32_t n = rows.n, size = (int32_t)sizeof *row;                                            \
        into_memory all = {.sums = sums, .quads = quads, .entry = (uint32_t)(-n / 4 & 7), .row = row};    \
        all.skip = (rows.apart - n) * size, all.step = 4 * rows.step;                                     \
        all.quads_end = quads + 2 * n, all.end = row + rows.count * rows.apart;                           \
        register into_memory *r0 __asm__("r0") = &all;                                                    \
        __asm__ volatile(INTO_MEMORY(load) : "+r"(r0) : : CLOBBERED, "r12", "lr");                        \
    }

/* Requantise to four pixels. Of r0: end of the rows, b, m, y, out_c, zero, entry, quads. */
#define TO_PIXELS(load, keep, bits)                                                                       \
    TO_ADDRESS                                                                                            \
    "ldm    r0, {r1, r3, r8, r9}\n\t"                                                                     \
    "1:\n"                                                                                                \
    "ldr    r4, [r3], #4\n\t"                                                                             \
    "stm    r0, {r1, r3, r8, r9}\n\t"                                                                     \
    "ldr    r1, [r0, #28]\n\t"                                                                            \
    FIRST_STEP(load)                                                                                      \
    STEPS("ldr    pc, [r0, #24]", load)                                                                   \
    "ldm    r0, {r1, r3, r8-r11}\n\t"                                                                     \
    "ldr    r2, [r8], #4\n\t"                                                                             \
    "smmlar r4, r4, r2, r11\n\t"                                                                          \
    "smmlar r5, r5, r2, r11\n\t"                                                                          \
    "smmlar r6, r6, r2, r11\n\t"                                                                          \
    "smmlar r7, r7, r2, r11\n\t"                                                                          \
    "add    r2, r9, r10, lsl #1\n\t"                                                                      \
    "ssat   r11, #8, r5\n\t"                                                                              \
    "strb   r11, [r9, r10]\n\t"                                                                           \
    keep("r5")                                                                                            \
    "ssat   r11, #8, r6\n\t"                                                                              \
    "strb   r11, [r2]\n\t"                                                                                \
    keep("r6")                                                                                            \
    "ssat   r11, #8, r7\n\t"                                                                              \
    "strb   r11, [r2, r10]\n\t"                                                                           \
    keep("r7")                                                                                            \
    "ssat   r11, #8, r4\n\t"                                                                              \
    "strb   r11, [r9], #1\n\t"                                                                            \
    keep("r4")                                                                                            \
    bits                                                                                                  \
    "cmp    r12, r1\n\t"                                                                                  \
    "bne    1b"

/* Carry: the sum was not clamped. Below a one that they hold before, eight bits gather, the first on top. */
#define NO_KEEP(t) ""
#define KEEP(t) "eor    " t ", " t ", r11\n\t"
#define GATHER(t, bits)                                                                                   \
    "rsbs   " t ", " t ", #0\n\t"                                                                         \
    "adc    " bits ", " bits ", " bits "\n\t"
#define TO_BYTE(bits)                                                                                     \
    "rbit   " bits ", " bits "\n\t"                                                                       \
    "lsr    " bits ", " bits ", #24\n\t"

/* Behind r0: the first pixel's byte of the mask, bytes from pixel to pixel. */
#define BITS                                                                                              \
    "ldmdb  r0, {r1, r2, r10, r11}\n\t"                                                                   \
    GATHER("r4", "r1")                                                                                    \
    GATHER("r5", "r2")                                                                                    \
    GATHER("r6", "r10")                                                                                   \
    GATHER("r7", "r11")                                                                                   \
    "tst    r1, #256\n\t"                                                                                 \
    "beq    2f\n\t"                                                                                       \
    TO_BYTE("r1")                                                                                         \
    TO_BYTE("r2")                                                                                         \
    TO_BYTE("r10")                                                                                        \
    TO_BYTE("r11")                                                                                        \
    "ldrd   r4, r5, [r0, #32]\n\t"                                                                        \
    "add    r6, r4, r5, lsl #1\n\t"                                                                       \
    "strb   r2, [r4, r5]\n\t"                                                                             \
    "strb   r10, [r6]\n\t"                                                                                \
    "strb   r11, [r6, r5]\n\t"                                                                            \
    "strb   r1, [r4], #1\n\t"                                                                             \
    "str    r4, [r0, #32]\n\t"                                                                            \
    "mov    r1, #1\n\t"                                                                                   \
    "mov    r2, #1\n\t"                                                                                   \
    "mov    r10, #1\n\t"                                                                                  \
    "mov    r11, #1\n\t"                                                                                  \
    "2:\n"                                                                                                \
    "stmdb  r0, {r1, r2, r10, r11}\n\t"                                                                   \
    "ldr    r1, [r0]\n\t"

#define MASKED(keep) (sizeof keep("") > 1)

#define PIXELS(name, type, load, keep, gather)                                                            \
    void name(mg_pixels *out, const type *w, int32_t n, int32_t count) {                                  \
        out->entry = entry_after_first(n), out->end = w + n * count;                                      \
        if (MASKED(keep))                                                                                 \
            out->bits[0] = out->bits[1] = out->bits[2] = out->bits[3] = 1;                                \
        register const void **r0 __asm__("r0") = &out->end;                                               \
        register const type *r12 __asm__("r12") = w;                                                      \
        register const uint32_t *lr __asm__("lr") = out->quads + 2 * n;                                   \
        __asm__ volatile(TO_PIXELS(load, keep, gather) : "+r"(r0), "+r"(r12), "+r"(lr) : : CLOBBERED);    \
    }

/* Renormalise to gradients, as mg_renorm_word does. Of r0: as the fields stand. */
typedef struct {
    int32_t mult;
    uint32_t magnitude;
    int16_t *dx;
    int32_t step, skip;
    const int16_t *end;
    uint32_t entry;
    const uint32_t *quads;
} into_gradient;

#define RENORM(sum)                                                                                       \
    "smmulr " sum ", " sum ", r1\n\t"                                                                     \
    "eor    r11, " sum ", " sum ", asr #31\n\t"                                                           \
    "orr    r2, r2, r11\n\t"                                                                              \
    "ssat   " sum ", #15, " sum "\n\t"
#define TO_GRADIENT(load)                                                                                 \
    TO_ADDRESS                                                                                            \
    "1:\n"                                                                                                \
    "ldr    r1, [r0, #28]\n\t"                                                                            \
    FIRST_ALONE(load)                                                                                     \
    STEPS("ldr    pc, [r0, #24]", load)                                                                   \
    "ldm    r0, {r1-r3, r8-r10}\n\t"                                                                      \
    RENORM("r4")                                                                                          \
    RENORM("r5")                                                                                          \
    RENORM("r6")                                                                                          \
    RENORM("r7")                                                                                          \
    "pkhbt  r4, r4, r5, lsl #16\n\t"                                                                      \
    "pkhbt  r6, r6, r7, lsl #16\n\t"                                                                      \
    "str    r4, [r3]\n\t"                                                                                 \
    "str    r6, [r3, #4]\n\t"                                                                             \
    "add    r3, r3, r8\n\t"                                                                               \
    "strd   r2, r3, [r0, #4]\n\t"                                                                         \
    "add    r12, r12, r9\n\t"                                                                             \
    "cmp    r12, r10\n\t"                                                                                 \
    "bne    1b"
/* clang-format on */

void mg_widen_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n, int32_t zero) {
    register uint32_t *r0 __asm__("r0") = quads;
    register const int8_t *r1 __asm__("r1") = x, *r3 __asm__("r3") = x + 3 * pitch;
    register int32_t r2 __asm__("r2") = pitch;
    register uint32_t r12 __asm__("r12") = mg_both(-zero);
    register const int8_t *lr __asm__("lr") = x + n;
    __asm__ volatile("1:                          \n\t"
                     "ldr     r5, [r1, r2]        \n\t"
                     "ldr     r6, [r1, r2, lsl #1] \n\t"
                     "ldr     r4, [r1], #4        \n\t"
                     "ldr     r7, [r3], #4        \n\t"
                     "sxtab16 r8, r12, r4         \n\t"
                     "sxtab16 r9, r12, r5         \n\t"
                     "sxtab16 r10, r12, r6        \n\t"
                     "sxtab16 r11, r12, r7        \n\t"
                     "stmia   r0!, {r8-r11}       \n\t"
                     "sxtab16 r4, r12, r4, ror #8 \n\t"
                     "sxtab16 r5, r12, r5, ror #8 \n\t"
                     "sxtab16 r6, r12, r6, ror #8 \n\t"
                     "sxtab16 r7, r12, r7, ror #8 \n\t"
                     "stmia   r0!, {r4-r7}        \n\t"
                     "cmp     r1, lr              \n\t"
                     "bne     1b"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12), "+r"(lr)
                     :
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "cc", "memory");
}

#define TWO_ROWS                                                                                             \
    "ldr    r4, [r1]              \n\t"                                                                      \
    "ldr    r5, [r1, r2]          \n\t"                                                                      \
    "add    r1, r1, r2, lsl #1    \n\t"                                                                      \
    "pkhbt  r6, r4, r5, lsl #16   \n\t"                                                                      \
    "pkhtb  r7, r5, r4, asr #16   \n\t"                                                                      \
    "sxtb16 r4, r6                \n\t"                                                                      \
    "sxtb16 r5, r6, ror #8        \n\t"                                                                      \
    "sxtb16 r6, r7                \n\t"                                                                      \
    "sxtb16 r7, r7, ror #8        \n\t"                                                                      \
    "stmia  r0!, {r4-r7}          \n\t"

void mg_transpose_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n) {
    register uint32_t *r0 __asm__("r0") = quads;
    register const int8_t *r1 __asm__("r1") = x;
    register int32_t r2 __asm__("r2") = pitch;
    register uint32_t *r3 __asm__("r3") = quads + 2 * n;
    __asm__ volatile("1:\n" TWO_ROWS TWO_ROWS "cmp    r0, r3               \n\t"
                     "bne    1b"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
                     :
                     : "r4", "r5", "r6", "r7", "cc", "memory");
}

void mg_quads_renorm_s16(int16_t *dx, const int16_t *row, const uint32_t *quads, mg_rows_of rows,
                         mg_renorm *r) {
    const int32_t n = rows.n;
    into_gradient all = {r->mult, r->magnitude, dx, 2 * rows.step, 2 * (rows.apart - n), 0, 0, quads};
    all.end = row + rows.count * rows.apart, all.entry = entry_after_first(n);
    register into_gradient *r0 __asm__("r0") = &all;
    register const int16_t *r12 __asm__("r12") = row;
    register const uint32_t *lr __asm__("lr") = quads + 2 * n;
    __asm__ volatile(TO_GRADIENT(LOAD_S16) : "+r"(r0), "+r"(r12), "+r"(lr) : : CLOBBERED);
    r->magnitude = all.magnitude;
}

QUADS(mg_quads_s8, int8_t, LOAD_S8)
QUADS(mg_quads_s16, int16_t, LOAD_S16)
PIXELS(mg_pixels_s8, int8_t, LOAD_S8, NO_KEEP, )
PIXELS(mg_pixels_masked_s8, int8_t, LOAD_S8, KEEP, BITS)

#endif
