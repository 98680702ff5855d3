/* Depthwise gradients of two channels at a time, as they lie: a word of pixels has one of each, and so has a
 * word of taps. Taps are multiplied so that all sums want the same shift, MG_DOWN bits, which SSAT does with
 * the clipping. What it clips sets the Q flag: then magnitudes are not known, and the sums not sure. */
#ifndef MG_LANES_H
#define MG_LANES_H

#include "requant.h"

enum { MG_PITCH = 20, MG_DOWN = 10, MG_HALF = 1 << (MG_DOWN - 1) }; /* words from a row to the next; bits */

/* Some neighbouring outputs, all in bytes: where they go; the words of the first one's window and, of its
 * first row, of behind the last one's; from behind a window to the next; its taps. */
typedef struct {
    int32_t to, end, back, taps, taps_end, x;
} mg_lane_line;

/* `left` such lines, two outputs at a time; to, now, taps: of the one that is being made. */
typedef struct {
    struct {
        int32_t half, again;
    } start;
    struct {
        int16_t *dx;
        int32_t apart; /* bytes from one to the next */
    } to;
    struct {
        const uint32_t *end;
        int32_t back;
    } now;
    const uint32_t *taps;
    int16_t *dx;
    const uint32_t *words, *all_taps;
    const mg_lane_line *line;
    int32_t left;
} mg_lane_run;

/* Lines of a map whose rows lie among zeros, and which is not cut; end: of the first row's words that are met
 * last, with stride 1. */
typedef struct {
    struct {
        int32_t apart;
        const uint32_t *end;
    } row;
    struct {
        int32_t bytes, left; /* from a line's last word back to its first, or on to the next line's; lines */
    } turn;
} mg_lane_lines;

/* What words told about magnitudes -> as long a number as the largest one: bit n is set by one n bits long.
 */
static inline uint32_t mg_lane_magnitude(uint32_t bits) {
    return (bits | bits >> 16) >> 1 & 0x7FFF;
}

#if MG_DSP

/* clang-format off */
#define MG_LANE_LDRD(r, s, from) "ldrd %[" #r "], %[" #s "], " from " \n\t"
#define MG_LANE_MLA_ON(bottom, top, x, w, low, high)                                                         \
    "smlabb %[" #bottom "], %[" #x "], " w ", %[" #low "] \n\t"                                              \
    "smlatt %[" #top "], %[" #x "], " w ", %[" #high "] \n\t"
#define MG_LANE_MLA(bottom, top, x, w) MG_LANE_MLA_ON(bottom, top, x, w, bottom, top)
#define MG_LANE_FIRST(bottom, top, x, w) MG_LANE_MLA_ON(bottom, top, x, w, half, half)
#define MG_LANE_CLIP(s) "ssat %[" #s "], #15, %[" #s "], asr %[down] \n\t"
/* The two channels of one output, and what they tell about magnitudes. */
#define MG_LANE_PACK(low, high, other)                                                                       \
    MG_LANE_CLIP(low) MG_LANE_CLIP(high)                                                                     \
    "pkhbt %[" #low "], %[" #low "], %[" #high "], lsl #16 \n\t"                                             \
    "eor " other ", %[" #low "], %[" #low "], lsl #1 \n\t"                                                   \
    "orr %[bits], %[bits], " other " \n\t"

/* A row of taps by a row of words, for two outputs, a and b, c and d. */
#define MG_LANE_ROW_3(here, there, begin)                                                                    \
    "ldmia %[w]!, {r4-r6} \n\t" MG_LANE_LDRD(p, q, here) begin(a, b, p, "r4") begin(c, d, q, "r4")           \
    MG_LANE_MLA(a, b, q, "r5") MG_LANE_LDRD(p, q, there) MG_LANE_MLA(a, b, p, "r6")                          \
    MG_LANE_MLA(c, d, p, "r5") MG_LANE_MLA(c, d, q, "r6")
#define MG_LANE_3 MG_LANE_ROW_3("[%[x]]", "[%[x], #8]", MG_LANE_MLA)
#define MG_LANE_FOUR                                                                                         \
    "ldmia %[w]!, {r4-r7} \n\t" MG_LANE_LDRD(p, q, "[%[x]]") MG_LANE_MLA(a, b, p, "r4")                      \
    MG_LANE_MLA(c, d, q, "r4") MG_LANE_MLA(a, b, q, "r5") MG_LANE_LDRD(p, q, "[%[x], #8]")                   \
    MG_LANE_MLA(c, d, p, "r5") MG_LANE_MLA(a, b, p, "r6") MG_LANE_MLA(c, d, q, "r6")                         \
    MG_LANE_MLA(a, b, q, "r7")
#define MG_LANE_4 MG_LANE_FOUR "ldr %[p], [%[x], #16] \n\t" MG_LANE_MLA(c, d, p, "r7")
#define MG_LANE_5                                                                                            \
    MG_LANE_FOUR MG_LANE_LDRD(p, q, "[%[x], #16]") "ldr r4, [%[w]], #4 \n\t" MG_LANE_MLA(c, d, p, "r7")      \
    MG_LANE_MLA(a, b, p, "r4") MG_LANE_MLA(c, d, q, "r4")
#define MG_LANE_7                                                                                            \
    MG_LANE_FOUR MG_LANE_LDRD(p, q, "[%[x], #16]") MG_LANE_MLA(c, d, p, "r7") "ldmia %[w]!, {r4-r6} \n\t"    \
    MG_LANE_MLA(a, b, p, "r4") MG_LANE_MLA(c, d, q, "r4") MG_LANE_MLA(a, b, q, "r5")                         \
    MG_LANE_LDRD(p, q, "[%[x], #24]") MG_LANE_MLA(c, d, p, "r5") MG_LANE_MLA(a, b, p, "r6")                  \
    MG_LANE_MLA(c, d, q, "r6")

#define MG_LANE_LINES(row)                                                                                   \
    __asm__ volatile(                                                                                        \
        "0: \n\t ldr %[p], %[line] \n\t ldmia %[p]!, {r4-r7} \n\t" MG_LANE_LDRD(end, x, "[%[p]], #8")        \
        "ldr %[q], %[words] \n\t str %[p], %[line] \n\t add %[x], %[x], %[q] \n\t add r5, r5, %[q] \n\t"     \
        "ldr %[p], %[dx] \n\t ldr %[q], %[all] \n\t add r4, r4, %[p] \n\t add r7, r7, %[q] \n\t"             \
        "add %[end], %[end], %[q] \n\t str r4, %[to] \n\t strd r5, r6, %[now] \n\t str r7, %[taps] \n\t"     \
        "1: \n\t" MG_LANE_LDRD(a, b, "%[start]") MG_LANE_LDRD(c, d, "%[start]") "ldr %[w], %[taps] \n\t"     \
        "2: \n\t" row "add %[x], %[x], %[pitch] \n\t cmp %[w], %[end] \n\t bne 2b \n\t"                      \
        MG_LANE_PACK(a, b, "r4") MG_LANE_PACK(c, d, "r5") MG_LANE_LDRD(p, q, "%[to]")                        \
        "str %[a], [%[p]] \n\t str %[c], [%[p], %[q]] \n\t add %[p], %[p], %[q], lsl #1 \n\t"                \
        "str %[p], %[to] \n\t" MG_LANE_LDRD(p, q, "%[now]")                                                  \
        "sub %[x], %[x], %[q] \n\t cmp %[x], %[p] \n\t bne 1b \n\t"                                          \
        "ldr %[p], %[left] \n\t subs %[p], %[p], #1 \n\t str %[p], %[left] \n\t bne 0b"                      \
        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [p] "=&r"(p), [q] "=&r"(q), [w] "=&r"(w),  \
          [x] "=&r"(x), [end] "=&r"(end), [bits] "+&r"(bits), [to] "+m"(r.to), [now] "+m"(r.now),            \
          [taps] "+m"(r.taps), [line] "+m"(r.line), [left] "+m"(r.left)                                      \
        : [start] "m"(r.start), [dx] "m"(r.dx), [words] "m"(r.words), [all] "m"(r.all_taps),                 \
          [pitch] "i"(4 * MG_PITCH), [down] "i"(MG_DOWN)                                                     \
        : "r4", "r5", "r6", "r7", "cc", "memory")

/* `taps` a row: 3, 4, 5 or 7. Returns what the words tell about magnitudes. */
static __attribute__((noinline)) uint32_t mg_lane_lines_of(const mg_lane_run *run, int32_t taps) {
    mg_lane_run r = *run;
    uint32_t a, b, c, d, p, q, w, x, end, bits = 0;
    if (taps == 3)
        MG_LANE_LINES(MG_LANE_3);
    else if (taps == 4)
        MG_LANE_LINES(MG_LANE_4);
    else if (taps == 5)
        MG_LANE_LINES(MG_LANE_5);
    else
        MG_LANE_LINES(MG_LANE_7);
    return bits;
}

/* 3 x 3, stride 1; an even number of columns; x: the third row. */
MG_INLINE uint32_t mg_lane_lines_3x3(mg_lane_lines *l, int16_t *dx, const uint32_t *x, const uint32_t *w) {
    uint32_t a, b, c, d, p, q, bits = 0;
    __asm__ volatile(
        "1: \n\t" MG_LANE_ROW_3("[%[x], #-2 * %c[pitch]]", "[%[x], #-2 * %c[pitch] + 8]", MG_LANE_FIRST)
        MG_LANE_ROW_3("[%[x], #-%c[pitch]]", "[%[x], #-%c[pitch] + 8]", MG_LANE_MLA)
        MG_LANE_ROW_3("[%[x]], #8", "[%[x]]", MG_LANE_MLA)
        MG_LANE_PACK(a, b, "r4") MG_LANE_PACK(c, d, "r5") MG_LANE_LDRD(p, q, "%[row]")
        "str %[a], [%[dx]] \n\t str %[c], [%[dx], %[p]] \n\t add %[dx], %[dx], %[p], lsl #1 \n\t"
        "sub %[w], %[w], #36 \n\t cmp %[x], %[q] \n\t bne 1b \n\t"
        "ldrd r4, r5, %[turn] \n\t add %[x], %[x], r4 \n\t add %[q], %[q], %[pitch] \n\t"
        "subs r5, r5, #1 \n\t strd r4, r5, %[turn] \n\t strd %[p], %[q], %[row] \n\t bne 1b"
        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [p] "=&r"(p), [q] "=&r"(q), [x] "+&r"(x),
          [w] "+&r"(w), [dx] "+&r"(dx), [bits] "+&r"(bits), [row] "+m"(l->row), [turn] "+m"(l->turn)
        : [half] "r"(MG_HALF), [pitch] "i"(4 * MG_PITCH), [down] "i"(MG_DOWN)
        : "r4", "r5", "r6", "cc", "memory");
    return bits;
}

/* 3 x 3, stride 2; an even number of columns; lines: of dx. Taps: of even lines, even and odd outputs; then
 * of odd ones. */
MG_INLINE uint32_t mg_lane_lines_3x3_2(mg_lane_lines *l, int16_t *dx, const uint32_t *x, const uint32_t *w) {
    uint32_t a, b, p, q, r, s, bits = 0;
    __asm__ volatile(
        "1: \n\t ldmia %[w]!, {r4-r6} \n\t ldr %[s], %[turn] \n\t ldr %[r], %[row] \n\t"
        "2: \n\t" MG_LANE_LDRD(p, q, "[%[x]], #4")
        MG_LANE_FIRST(a, b, p, "r4") MG_LANE_PACK(a, b, "%[b]") "str %[a], [%[dx]] \n\t"
        MG_LANE_FIRST(a, b, p, "r5") MG_LANE_MLA(a, b, q, "r6") MG_LANE_PACK(a, b, "%[b]")
        "str %[a], [%[dx], %[r]] \n\t add %[dx], %[dx], %[r], lsl #1 \n\t"
        "subs %[s], %[s], #4 \n\t bne 2b \n\t" MG_LANE_LDRD(r, s, "%[turn]")
        "mov %[q], %[x] \n\t sub %[x], %[x], %[r] \n\t subs %[s], %[s], #1 \n\t beq 4f \n\t"
        "ldr %[p], %[row] \n\t strd %[r], %[s], %[turn] \n\t strd %[p], %[q], %[row] \n\t"
        "3: \n\t" MG_LANE_LDRD(p, q, "[%[x]], #4") MG_LANE_LDRD(r, s, "[%[x], #%c[pitch] - 4]")
        "ldmia %[w]!, {r4-r6} \n\t" MG_LANE_FIRST(a, b, p, "r4") MG_LANE_MLA(a, b, r, "r5")
        MG_LANE_PACK(a, b, "%[b]") "str %[a], [%[dx]] \n\t" MG_LANE_FIRST(a, b, p, "r6")
        "ldmia %[w]!, {r4-r6} \n\t" MG_LANE_MLA(a, b, q, "r4") MG_LANE_MLA(a, b, r, "r5")
        MG_LANE_MLA(a, b, s, "r6") MG_LANE_LDRD(p, q, "%[row]") MG_LANE_PACK(a, b, "%[b]")
        "str %[a], [%[dx], %[p]] \n\t add %[dx], %[dx], %[p], lsl #1 \n\t"
        "sub %[w], %[w], #24 \n\t cmp %[x], %[q] \n\t bne 3b \n\t" MG_LANE_LDRD(r, s, "%[turn]")
        "sub %[x], %[x], %[r] \n\t add %[x], %[x], %[pitch] \n\t sub %[w], %[w], #12 \n\t"
        "subs %[s], %[s], #1 \n\t strd %[r], %[s], %[turn] \n\t bne 1b \n\t 4:"
        : [a] "=&r"(a), [b] "=&r"(b), [p] "=&r"(p), [q] "=&r"(q), [r] "=&r"(r), [s] "=&r"(s), [x] "+&r"(x),
          [w] "+&r"(w), [dx] "+&r"(dx), [bits] "+&r"(bits), [row] "+m"(l->row), [turn] "+m"(l->turn)
        : [half] "r"(MG_HALF), [pitch] "i"(4 * MG_PITCH), [down] "i"(MG_DOWN)
        : "r4", "r5", "r6", "cc", "memory");
    return bits;
}
/* clang-format on */

/* The Q flag. */
static inline void mg_forget_clipping(void) {
    __asm__ volatile("msr apsr_nzcvq, %0" : : "r"(0) : "cc", "memory");
}

/* Whether something was clipped since; bits: what the words told. */
static inline int mg_has_clipped(uint32_t bits) {
    uint32_t flags;
    (void)bits;
    __asm__ volatile("mrs %0, apsr" : "=r"(flags) : : "memory");
    return flags >> 27 & 1;
}

#else

#define MG_CLIPPED UINT32_MAX

/* One channel's sum to its result. */
static inline uint32_t mg_lane_clip(uint32_t *bits, int64_t sum) {
    const int64_t t = (sum + MG_HALF) >> MG_DOWN;
    const int32_t q = t > 16383 ? 16383 : t < -16384 ? -16384 : (int32_t)t;
    *bits = q == t ? *bits : MG_CLIPPED;
    return (uint32_t)q;
}

static inline uint32_t mg_lane_output(const uint32_t *x, const uint32_t *w, const uint32_t *end, int32_t taps,
                                      uint32_t *bits) {
    int64_t low = 0, high = 0;
    for (; w != end; w += taps, x += MG_PITCH)
        for (int32_t i = 0; i < taps; i++)
            low += mg_bottom(x[i]) * mg_bottom(w[i]), high += mg_top(x[i]) * mg_top(w[i]);
    return mg_pkhbt(mg_lane_clip(bits, low), mg_lane_clip(bits, high));
}

static inline uint32_t mg_lane_lines_of(const mg_lane_run *r, int32_t taps) {
    uint32_t bits = 0;
    for (const mg_lane_line *l = r->line; l < r->line + r->left; l++) {
        const uint32_t *const first = r->all_taps + l->taps / 4, *const end = r->all_taps + l->taps_end / 4;
        int16_t *to = r->dx + l->to / 2;
        for (const uint32_t *x = r->words + l->x / 4; x != r->words + l->end / 4;
             x++, to += r->to.apart / 2) {
            const uint32_t both = mg_lane_output(x, first, end, taps, &bits);
            mg_store32(to, both);
            bits |= both ^ both << 1;
        }
    }
    return bits;
}

/* 3 x 3; rows and columns of taps of the phases, and those before. */
static inline uint32_t mg_lane_3x3(const mg_lane_lines *l, int16_t *dx, const uint32_t *x, const uint32_t *w,
                                   int32_t columns, int32_t stride) {
    static const uint8_t phases[2][4][3] = {{{3, 3, 0}}, {{1, 1, 0}, {1, 2, 1}, {2, 1, 3}, {2, 2, 5}}};
    uint32_t bits = 0;
    for (int32_t y = 0; y < l->turn.left; y++)
        for (int32_t i = 0; i < columns * stride; i++, dx += l->row.apart / 2) {
            const uint8_t *const at = phases[stride - 1][y % stride * stride + i % stride];
            const uint32_t *const from = x + y / stride * MG_PITCH + i / stride, *const first = w + at[2];
            const uint32_t both = mg_lane_output(from, first, first + at[0] * at[1], at[1], &bits);
            mg_store32(dx, both);
            bits |= both ^ both << 1;
        }
    return bits;
}

static inline uint32_t mg_lane_lines_3x3(const mg_lane_lines *l, int16_t *dx, const uint32_t *x,
                                         const uint32_t *w) {
    return mg_lane_3x3(l, dx, x - 2 * MG_PITCH, w, (int32_t)(l->row.end - x), 1);
}

static inline uint32_t mg_lane_lines_3x3_2(const mg_lane_lines *l, int16_t *dx, const uint32_t *x,
                                           const uint32_t *w) {
    return mg_lane_3x3(l, dx, x, w, l->turn.bytes / 4, 2);
}

static inline void mg_forget_clipping(void) {}

static inline int mg_has_clipped(uint32_t bits) {
    return bits == MG_CLIPPED;
}

#endif

#endif
