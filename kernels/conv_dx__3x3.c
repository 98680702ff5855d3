/* Input gradient of a depthwise convolution of 3 x 3, stride 1, two channels at a time: da of them is kept as
 * words among zeros, and a word of taps has one of each; so nothing need be taken apart. */
#include "geometry.h"
#include "tile.h"

enum { SIDE = MG_DX_3X3, PITCH = SIDE + 4, TAPS = 9 }; /* pixels; PITCH is even for LDRD's sake */

/* Two neighbouring outputs at a time. */
typedef struct {
    struct {
        int32_t magnitude, mult;
    } scale;
    struct {
        int32_t apart; /* bytes from an output to the next */
        const uint32_t *end;
    } row; /* of words */
    struct {
        int32_t bytes, left; /* from a row's end to the next row; rows */
    } turn;
} pairs;

#if MG_DSP

#define LDRD(r, s, from) "ldrd %[" #r "], %[" #s "], " from " \n\t"
#define BOTH(bottom, top, x, w)                                                                              \
    "smlabb %[" #bottom "], %[" #x "], " w ", %[" #bottom "] \n\t smlatt %[" #top "], %[" #x "], " w         \
    ", %[" #top "] \n\t"
#define FIRST(bottom, top, x, w)                                                                             \
    "smulbb %[" #bottom "], %[" #x "], " w " \n\t smultt %[" #top "], %[" #x "], " w " \n\t"
#define ROW(here, there, begin)                                                                              \
    "ldmia %[w]!, {r4, r5, r6} \n\t" LDRD(p, q, here) begin(a, b, p, "r4") begin(c, d, q, "r4")              \
        BOTH(a, b, q, "r5") LDRD(p, q, there) BOTH(a, b, p, "r6") BOTH(c, d, p, "r5") BOTH(c, d, q, "r6")
#define SCALED(s) "smmulr %[" #s "], %[" #s "], r5 \n\t"
#define MAGNITUDE(s) "eor %[p], %[" #s "], %[" #s "], asr #31 \n\t orr r4, r4, %[p] \n\t"
#define CLIP(s) "ssat %[" #s "], #15, %[" #s "] \n\t"
#define EACH(how) how(a) how(b) how(c) how(d)

static void run(int16_t *dx, const uint32_t *x, const uint32_t *w, pairs *s) {
    pairs r = *s;
    uint32_t a, b, c, d, p, q;
    __asm__ volatile(
        "1: \n\t" ROW("[%[x]]", "[%[x], #8]", FIRST) ROW("[%[x], %[one]]", "[%[x], %[one] + 8]", BOTH) ROW(
            "[%[x], %[two]]", "[%[x], %[two] + 8]", BOTH) "ldrd r4, r5, %[scale] \n\t" EACH(SCALED)
            EACH(MAGNITUDE) "str r4, %[scale] \n\t" EACH(CLIP) LDRD(
                p, q,
                "%[row]") "pkhbt %[a], %[a], %[b], lsl #16 \n\t pkhbt %[c], %[c], %[d], lsl #16 \n\t"
                          "str %[a], [%[dx]] \n\t str %[c], [%[dx], %[p]] \n\t add %[dx], %[dx], %[p], lsl "
                          "#1 \n\t"
                          "add %[x], %[x], #8 \n\t sub %[w], %[w], #36 \n\t cmp %[x], %[q] \n\t bne 1b \n\t"
                          "ldrd r4, r5, %[turn] \n\t add %[x], %[x], r4 \n\t add %[q], %[q], %[one] \n\t"
                          "subs r5, r5, #1 \n\t strd r4, r5, %[turn] \n\t strd %[p], %[q], %[row] \n\t bne 1b"
        : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [p] "=&r"(p), [q] "=&r"(q), [x] "+&r"(x),
          [w] "+&r"(w), [dx] "+&r"(dx), [scale] "+m"(r.scale), [row] "+m"(r.row), [turn] "+m"(r.turn)
        : [one] "i"(4 * PITCH), [two] "i"(8 * PITCH)
        : "r4", "r5", "r6", "cc", "memory");
    s->scale.magnitude = r.scale.magnitude;
}

#else

static void run(int16_t *dx, const uint32_t *x, const uint32_t *w, pairs *s) {
    mg_renorm r = {.mult = s->scale.mult, .magnitude = (uint32_t)s->scale.magnitude};
    const uint32_t *end = s->row.end;
    for (int32_t left = s->turn.left; left; left--, x += s->turn.bytes / 4, end += PITCH)
        for (; x != end; x++, dx += s->row.apart / 2) {
            int32_t low = 0, high = 0;
            for (int i = 0; i < TAPS; i++) {
                const uint32_t at = x[i / 3 * PITCH + i % 3];
                low = mg_smlabb(at, w[i], low), high = mg_smlatt(at, w[i], high);
            }
            mg_renorm_two(dx, &r, low, high);
        }
    s->scale.magnitude = (int32_t)r.magnitude;
}

#endif

/* The taps of four channels, turned round. */
static inline void widen(uint32_t taps[2][TAPS], const int8_t *w, int32_t pitch) {
    for (int i = TAPS - 1; i >= 0; i--, w += pitch) {
        const uint32_t w4 = mg_load32(w), w02 = mg_sxtb16(w4), w13 = mg_sxtb16_ror8(w4);
        taps[0][i] = mg_pkhbt(w02, w13), taps[1][i] = mg_pkhtb(w13, w02);
    }
}

/* Two channels of da, c channels. */
static inline void copy(uint32_t *words, const int16_t *da, int32_t c, int32_t height, int32_t width) {
    do {
        uint32_t *to = words;
        for (int32_t left = width; left > 0; left -= 2, to += 2, da += 2 * c) {
            const uint32_t first = mg_load32(da);
            to[1] = mg_load32(da + c), to[0] = first;
        }
        words += PITCH;
    } while (--height);
}

void mg_depthwise_conv2d_dx_tile_s16__3x3(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                          int32_t pitch, mg_renorm *r, const mg_conv_params *p) {
    uint32_t(*const taps)[TAPS] = (uint32_t(*)[TAPS])work, *const words = taps[2];
    const int32_t c = p->in_c, width = p->in_w;
    pairs s = {.scale = {(int32_t)r->magnitude, r->mult}, .row = {c * (int32_t)sizeof *dx, words + width}};
    s.turn.bytes = (PITCH - width) * (int32_t)sizeof *words, s.turn.left = p->in_h;
    memset(words, 0, (size_t)((p->in_h + 2) * PITCH) * sizeof *words);
    for (int32_t i = 0; i < c; i += 2) {
        if (i % 4 == 0)
            widen(taps, w + i, pitch);
        copy(words + PITCH + 1, da + i, c, p->in_h, width);
        run(dx + i, words, taps[i / 2 % 2], &s);
    }
    r->magnitude = (uint32_t)s.scale.magnitude;
}
