/* Depthwise sums: four neighbouring outputs of one channel at a time. Pixels lie in rows of int16; two
 * neighbours are a word, which one SMLAD multiplies by two taps of the kernel. */
#ifndef MG_RUNS_H
#define MG_RUNS_H

#include "requant.h"
#include "simd.h"

enum { MG_RUN = 4 };

/* A word of taps is (tap k, tap k + 1). A row of them: stride 1, k = 0, 1, 2 ... taps - 2, as odd outputs
 * begin in the middle of a word; stride 2, k = 0, 2, 4 ... taps - 3, taps - 2. */
static inline int32_t mg_tap_words(int32_t taps, int32_t stride) {
    return stride == 2 ? (taps + 1) / 2 : taps - 1;
}

/* What becomes of sums: int8 that are clamped, or the same and which ones were not. */
typedef enum { MG_TO_S8, MG_TO_S8_AND_BITS } mg_kind;

/* Some lines of neighbouring outputs of one channel, four at a time. */
typedef struct {
    struct {
        int32_t bias, again;
    } start; /* of the sums */
    struct {
        int32_t zero, mult;
    } scale;
    struct {
        int8_t *first;
        int32_t apart; /* bytes */
    } to;
    struct {
        int32_t runs, back; /* back: from behind the window to where the next four begin, in bytes */
    } left;
    struct {
        int32_t x, to; /* from behind a line to the next one, in bytes */
    } next;
    struct {
        int32_t lines, runs; /* left; of each */
    } count;
    const uint32_t *taps; /* of the first row */
    uint32_t *bits;       /* a byte an output, shifted right by one, then bit 3 set if it was not clamped */
} mg_run;

#if MG_DSP

#define MG_LDR(r, from) "ldr %[" #r "], " from " \n\t"
#define MG_LDRD(r, s, from) "ldrd %[" #r "], %[" #s "], " from " \n\t"
#define MG_MLA(how, sum, x, w) "smla" #how " %[" #sum "], %[" #x "], %[" #w "], %[" #sum "] \n\t"
#define MG_DOWN "add %[x], %[x], %[pitch] \n\t"

/* A row of taps by a row of pixels, for outputs a, b, c, d: words p, q of pixels, k, l, m, n of taps. */
/* clang-format off */
#define MG_ROW_3_1(taps, first, third) MG_LDRD(k, l, taps) MG_LDRD(p, q, first) MG_MLA(d, a, p, k)           \
    MG_MLA(tb, b, p, k) MG_LDR(p, third) MG_MLA(bt, a, q, l) MG_MLA(d, b, q, l)                       \
    MG_MLA(d, c, q, k) MG_MLA(tb, d, q, k) MG_MLA(bt, c, p, l) MG_MLA(d, d, p, l)
#define MG_ROW_5_1() MG_LDRD(k, l, "[%[w]], #16") MG_LDRD(p, q, "[%[x]]") MG_LDRD(m, n, "[%[w], #-8]")       \
    MG_MLA(d, a, p, k) MG_MLA(tb, b, p, k) MG_MLA(d, a, q, m) MG_MLA(d, b, q, l) MG_MLA(d, c, q, k)          \
    MG_MLA(tb, d, q, k) MG_LDRD(p, q, "[%[x], #8]") MG_MLA(bt, a, p, n) MG_MLA(d, b, p, n)                   \
    MG_MLA(d, c, p, m) MG_MLA(d, d, p, l) MG_MLA(bt, c, q, n) MG_MLA(d, d, q, n)
#define MG_ROW_7_1() MG_LDRD(k, l, "[%[w]], #24") MG_LDRD(p, q, "[%[x]]") MG_LDRD(m, n, "[%[w], #-16]")      \
    MG_MLA(d, a, p, k) MG_MLA(tb, b, p, k) MG_MLA(d, a, q, m) MG_MLA(d, b, q, l) MG_MLA(d, c, q, k)          \
    MG_MLA(tb, d, q, k) MG_LDRD(p, q, "[%[x], #8]") MG_MLA(d, b, p, n) MG_MLA(d, c, p, m)                    \
    MG_MLA(d, d, p, l) MG_LDRD(k, l, "[%[w], #-8]") MG_MLA(d, a, p, k) MG_MLA(bt, a, q, l)                   \
    MG_MLA(d, b, q, l) MG_MLA(d, c, q, k) MG_MLA(d, d, q, n) MG_LDR(p, "[%[x], #16]")                        \
    MG_MLA(bt, c, p, l) MG_MLA(d, d, p, l)
#define MG_ROW_3_2(taps, first, third, fifth) MG_LDRD(k, l, taps) MG_LDRD(p, q, first) MG_MLA(d, a, p, k)    \
    MG_MLA(bt, a, q, l) MG_MLA(d, b, q, k) MG_LDRD(p, q, third) MG_MLA(bt, b, p, l) MG_MLA(d, c, p, k)       \
    MG_MLA(bt, c, q, l) MG_MLA(d, d, q, k) MG_LDR(p, fifth) MG_MLA(bt, d, p, l)
#define MG_ROW_5_2() MG_LDRD(k, l, "[%[w]], #12") MG_LDRD(p, q, "[%[x]]") MG_LDR(m, "[%[w], #-4]")           \
    MG_MLA(d, a, p, k) MG_MLA(d, a, q, l) MG_MLA(d, b, q, k) MG_LDRD(p, q, "[%[x], #8]")                     \
    MG_MLA(bt, a, p, m) MG_MLA(d, b, p, l) MG_MLA(d, c, p, k) MG_MLA(bt, b, q, m) MG_MLA(d, c, q, l)         \
    MG_MLA(d, d, q, k) MG_LDRD(p, q, "[%[x], #16]") MG_MLA(bt, c, p, m) MG_MLA(d, d, p, l)                   \
    MG_MLA(bt, d, q, m)
#define MG_ROW_7_2() MG_LDRD(k, l, "[%[w]], #16") MG_LDRD(p, q, "[%[x]]") MG_LDRD(m, n, "[%[w], #-8]")       \
    MG_MLA(d, a, p, k) MG_MLA(d, a, q, l) MG_MLA(d, b, q, k) MG_LDRD(p, q, "[%[x], #8]")                     \
    MG_MLA(d, a, p, m) MG_MLA(d, b, p, l) MG_MLA(d, c, p, k) MG_MLA(bt, a, q, n) MG_MLA(d, b, q, m)          \
    MG_MLA(d, c, q, l) MG_MLA(d, d, q, k) MG_LDRD(p, q, "[%[x], #16]") MG_MLA(bt, b, p, n)                   \
    MG_MLA(d, c, p, m) MG_MLA(d, d, p, l) MG_MLA(bt, c, q, n) MG_MLA(d, d, q, m)                             \
    MG_LDR(p, "[%[x], #24]") MG_MLA(bt, d, p, n)
/* clang-format on */

/* All rows of a window; a window of 3 x 3 ends where the next one begins. */
#define MG_WINDOW(row) MG_LDR(w, "%[taps]") "2: \n\t" row() MG_DOWN "cmp %[w], %[end] \n\t bne 2b \n\t"
#define MG_WINDOW_3_1                                                                                        \
    MG_ROW_3_1("[%[w]]", "[%[x]]", "[%[x], #8]")                                                             \
    MG_DOWN MG_ROW_3_1("[%[w], #8]", "[%[x]]", "[%[x], #8]")                                                 \
        MG_DOWN MG_ROW_3_1("[%[w], #16]", "[%[x]], #8", "[%[x]]") "sub %[x], %[x], %[pitch], lsl #1 \n\t"
#define MG_WINDOW_3_2                                                                                        \
    MG_ROW_3_2("[%[w]]", "[%[x]]", "[%[x], #8]", "[%[x], #16]")                                              \
    MG_DOWN MG_ROW_3_2("[%[w], #8]", "[%[x]]", "[%[x], #8]", "[%[x], #16]") MG_DOWN MG_ROW_3_2(              \
        "[%[w], #16]", "[%[x]], #16", "[%[x], #-8]", "[%[x]]") "sub %[x], %[x], %[pitch], lsl #1 \n\t"

#define MG_EACH(how) how(a) how(b) how(c) how(d)
#define MG_STORE(as)                                                                                         \
    as " %[a], [%[m]] \n\t" as " %[b], [%[m], %[n]] \n\t" MG_TWICE as " %[c], [%[m]] \n\t" as                \
       " %[d], [%[m], %[n]] \n\t" MG_TWICE
#define MG_TWICE "add %[m], %[m], %[n], lsl #1 \n\t"

/* What becomes of the four sums; m: where they go, n: how far apart. Scaled: k * s / 2^32, rounded half up,
 * plus l. */
#define MG_SCALE(s) "smmlar %[" #s "], %[" #s "], %[k], %[l] \n\t"
#define MG_CLAMP(s) "ssat %[" #s "], #8, %[" #s "] \n\t"
#define MG_PUT_S8 MG_LDRD(l, k, "%[scale]") MG_EACH(MG_SCALE) MG_EACH(MG_CLAMP) MG_STORE("strb")
#define MG_PUT_ONE(s, flag, place)                                                                           \
    "ssat %[k], #8, %[" #s "] \n\t strb %[k], " place " \n\t"                                                \
    "cmp %[k], %[" #s "] \n\t it eq \n\t orreq %[l], %[l], #" #flag " \n\t"
#define MG_PUT_S8_AND_BITS                                                                                   \
    MG_LDRD(l, k, "%[scale]")                                                                                \
    MG_EACH(MG_SCALE)                                                                                        \
    MG_LDR(p, "%[bits]")                                                                                     \
    MG_LDR(l, "[%[p]]")                                                                                      \
    "lsr %[l], %[l], #1 \n\t" MG_PUT_ONE(a, 0x8, "[%[m]]") MG_PUT_ONE(b, 0x800, "[%[m], %[n]]") MG_TWICE     \
    MG_PUT_ONE(c, 0x80000, "[%[m]]") MG_PUT_ONE(d, 0x8000000, "[%[m], %[n]]") MG_TWICE                       \
        "str %[l], [%[p]], #4 \n\t str %[p], %[bits] \n\t"

/* To the next line; `runs`: of a line. */
#define MG_NEXT_LINE(runs)                                                                                   \
    MG_LDRD(k, l, "%[next]")                                                                                 \
    "add %[x], %[x], %[k] \n\t add %[m], %[m], %[l] \n\t" MG_LDRD(                                           \
        k, runs, "%[count]") "subs %[k], %[k], #1 \n\t str %[k], %[count] \n\t"

#define MG_RUNS(window, put)                                                                                 \
    __asm__ volatile(                                                                                        \
        "1: \n\t" MG_LDRD(a, b, "%[start]") MG_LDRD(c, d, "%[start]") window MG_LDRD(m, n, "%[to]") put      \
        "str %[m], %[to] \n\t" MG_LDRD(                                                                      \
            l, k,                                                                                            \
            "%[left]") "sub %[x], %[x], %[k] \n\t subs %[l], %[l], #1 \n\t str %[l], %[left] \n\t bne 1b "   \
                       "\n\t" MG_NEXT_LINE(l) "str %[l], %[left] \n\t str %[m], %[to] \n\t bne 1b"           \
        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [p] "=&r"(p), [q] "=&r"(q), [k] "=&r"(k),  \
          [l] "=&r"(l), [m] "=&r"(m), [n] "=&r"(n), [x] "+&r"(x), [w] "+&r"(w), [scale] "+m"(r->scale),      \
          [to] "+m"(r->to), [left] "+m"(r->left), [bits] "+m"(r->bits), [count] "+m"(r->count)               \
        :                                                                                                    \
        [pitch] "r"(pitch), [end] "r"(end), [start] "m"(r->start), [taps] "m"(r->taps), [next] "m"(r->next)  \
        : "cc", "memory")

/* From a channel's last line to the next channel, by mg_turn; the last one leaves. */
#define MG_NEXT_CHANNEL                                                                                      \
    MG_LDR(q, "%[turn]")                                                                                     \
    MG_LDRD(k, l, "[%[q], #8]")                                                                              \
    "subs %[l], %[l], #1 \n\t beq 2f \n\t strd %[k], %[l], [%[q], #8] \n\t strd %[k], %[end], %[count] "     \
    "\n\t" MG_LDRD(k, l, "[%[q]]") "add %[x], %[x], %[k] \n\t add %[m], %[m], %[l] \n\t" MG_LDRD(            \
        k, l, "[%[q], #16]") "add %[w], %[w], %[k] \n\t str %[l], %[bits] \n\t" MG_LDRD(k, l, "[%[q], #24]") \
        MG_LDR(p, "[%[k]], #4") "strd %[p], %[p], %[start] \n\t" MG_LDR(                                     \
            p, "[%[l]], #4") "strd %[k], %[l], [%[q], #24] \n\t" MG_LDR(k, "%[scale]") "strd %[k], %[p], "   \
                                                                                       "%[scale] \n\t b 1b " \
                                                                                       "\n\t 2:"

/* The same for a window of 3 x 3, whose registers hold more, and for all channels; end: runs left. */
#define MG_RUNS_3X3(window, put)                                                                             \
    __asm__ volatile(                                                                                        \
        MG_LDRD(m, n, "%[to]") "1: \n\t" MG_LDRD(a, b, "%[start]") MG_LDRD(c, d, "%[start]") window put      \
        "subs %[end], %[end], #1 \n\t bne 1b \n\t" MG_NEXT_LINE(end) "bne 1b \n\t" MG_NEXT_CHANNEL           \
        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [p] "=&r"(p), [q] "=&r"(q), [k] "=&r"(k),  \
          [l] "=&r"(l), [m] "=&r"(m), [n] "=&r"(n), [x] "+&r"(x), [w] "+&r"(w), [end] "+&r"(end),            \
          [scale] "+m"(r.scale), [bits] "+m"(r.bits), [count] "+m"(r.count), [start] "+m"(r.start)           \
        : [pitch] "r"(pitch), [to] "m"(r.to), [next] "m"(r.next), [turn] "m"(turn)                           \
        : "cc", "memory")

#define MG_RUNS_OF(runs, window)                                                                             \
    if (kind == MG_TO_S8)                                                                                    \
        runs(window, MG_PUT_S8);                                                                             \
    else                                                                                                     \
        runs(window, MG_PUT_S8_AND_BITS)

#else

MG_INLINE int32_t mg_tap(const uint32_t *w, int k, const int taps, const int stride) {
    if (k == taps - 1)
        return mg_top(w[mg_tap_words(taps, stride) - 1]);
    return stride == 1 ? mg_bottom(w[k]) : k % 2 ? mg_top(w[k / 2]) : mg_bottom(w[k / 2]);
}

/* Output i of four. */
static inline void mg_put(mg_run *r, int i, int32_t sum, const mg_kind kind) {
    const int32_t t = mg_smmlar(sum, r->scale.mult, r->scale.zero), q = mg_ssat8(t);
    *r->to.first = (int8_t)q;
    if (kind == MG_TO_S8_AND_BITS)
        *r->bits = (i ? *r->bits : *r->bits >> 1) | (t == q ? UINT32_C(8) << 8 * i : 0);
    r->bits += kind == MG_TO_S8_AND_BITS && i == MG_RUN - 1;
    r->to.first += r->to.apart;
}

#endif

/* Some lines that meet the same rows of the window, taps to end - 1. In bytes: where the first row of the
 * first window lies, and what `back` is. */
typedef struct {
    int16_t x, taps, end, back, count;
} mg_line;

/* From a channel's last line to the next channel. */
typedef struct {
    int32_t x, to;           /* bytes */
    int32_t lines, channels; /* of each; left */
    int32_t words;           /* bytes of taps */
    uint32_t *bits;
    const int32_t *bias, *mult; /* of the next one */
} mg_turn;

/* All runs of some lines; w: all taps. Knows 5 and 7 taps a row, the twin any number. */
MG_INLINE void mg_runs(mg_run *r, const int16_t *x, const mg_line *line, const uint32_t *w, int32_t pitch,
                       const int taps, const int stride, const mg_kind kind) {
    x = (const int16_t *)((const int8_t *)x + line->x);
    r->count.lines = line->count, r->left.runs = r->count.runs, r->left.back = line->back;
#if MG_DSP
    uint32_t a, b, c, d, p, q, k, l, m, n;
    const uint32_t *end = (const uint32_t *)((uintptr_t)w + (uint32_t)line->end);
    r->taps = (const uint32_t *)((uintptr_t)w + (uint32_t)line->taps);
    if (stride == 2 && taps == 5) {
        MG_RUNS_OF(MG_RUNS, MG_WINDOW(MG_ROW_5_2));
    } else if (stride == 2) {
        MG_RUNS_OF(MG_RUNS, MG_WINDOW(MG_ROW_7_2));
    } else if (taps == 5) {
        MG_RUNS_OF(MG_RUNS, MG_WINDOW(MG_ROW_5_1));
    } else {
        MG_RUNS_OF(MG_RUNS, MG_WINDOW(MG_ROW_7_1));
    }
#else
    const int32_t count = (line->back + 2 * MG_RUN * stride) / pitch, words = mg_tap_words(taps, stride);
    w += line->taps / 4;
    for (; r->count.lines; r->count.lines--, x += r->next.x / 2, r->to.first += r->next.to)
        for (r->left.runs = r->count.runs; r->left.runs; r->left.runs--, x += MG_RUN * stride)
            for (int i = 0; i < MG_RUN; i++) {
                int32_t sum = r->start.bias;
                for (int32_t y = 0; y < count; y++)
                    for (int k = 0; k < taps; k++)
                        sum = mg_wrap_add(sum, x[y * pitch / 2 + i * stride + k] *
                                                   mg_tap(w + y * words, k, taps, stride));
                mg_put(r, i, sum, kind);
            }
#endif
}

#endif
