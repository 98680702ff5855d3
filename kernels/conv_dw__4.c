/* Weight gradients tap by tap, four output channels at a time: of a depthwise convolution each channel has
 * its own x, of a standard one they share it. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "requant.h"

/* Outputs first <= o < end read inside the map with tap k. */
typedef struct {
    int32_t first, end;
} readers;

static readers readers_of(int32_t k, int32_t in, int32_t out, const mg_conv_params *p) {
    const int32_t s = p->stride, below = p->pad - k, above = in - 1 + p->pad - k;
    return (readers){below > 0 ? (below + s - 1) / s : 0, above < 0 ? 0 : mg_min(out, above / s + 1)};
}

/* Sums of four output channels. */
typedef struct {
    int32_t c0, c1, c2, c3;
} four;

/* Sums over the outputs of `rows` and `cols`; da at the first of the four channels; origin: index of what
 * output (0, 0) would read, negative in the padding; shared: one x for all four. */
MG_INLINE four tap(const int16_t *da, const int8_t *x, int32_t origin, readers rows, readers cols,
                   const mg_conv_params *p, const int shared) {
    const uint32_t minus_zero = mg_both(-p->zero_in);
    const int32_t in_c = p->in_c, out_c = p->out_c, apart = p->stride * in_c;
    four s = {0, 0, 0, 0};
    for (int32_t oy = rows.first; oy < rows.end; oy++) {
        const int16_t *d = da + mg_out_at(oy, cols.first, p);
        const int8_t *v = x + (origin + (oy * p->in_w + cols.first) * apart);
        for (int32_t ox = cols.first; ox < cols.end; ox++, d += out_c, v += apart) {
            uint32_t d01 = mg_load32(d), d23 = mg_load32(d + 2);
            uint32_t x4 = shared ? mg_both(*v - p->zero_in) : mg_load32(v);
            uint32_t x02 = shared ? x4 : mg_sxtab16(minus_zero, x4);
            uint32_t x13 = shared ? x4 : mg_sxtab16_ror8(minus_zero, x4);
            s.c0 = mg_smlabb(x02, d01, s.c0), s.c1 = mg_smlabt(x13, d01, s.c1);
            s.c2 = mg_smlatb(x02, d23, s.c2), s.c3 = mg_smlatt(x13, d23, s.c3);
        }
    }
    return s;
}

/* dw at the first of the four; the next ones lie `step` on. */
static inline void put4(int32_t *dw, int32_t step, four s) {
    dw[0] = s.c0, dw[step] = s.c1, dw[2 * step] = s.c2, dw[3 * step] = s.c3;
}

#if MG_DSP

/* From a row's end to the next row's first output, in bytes; da's row; twice the rows left, and one if a
 * row's outputs are odd. */
typedef struct {
    int32_t da, x, row;
    uint32_t left;
} next_row;

#define PIXEL                                                                                                \
    "ldr %[p], [%[d]] \n\t ldr %[u], [%[v]] \n\t ldr %[q], [%[d], #4] \n\t"                                  \
    "add %[v], %[v], %[apart] \n\t sxtab16 %[w], %[zero], %[u] \n\t sxtab16 %[u], %[zero], %[u], ror #8 "    \
    "\n\t"                                                                                                   \
    "smlabb %[c0], %[w], %[p], %[c0] \n\t smlabt %[c1], %[u], %[p], %[c1] \n\t add %[d], %[d], %[out] \n\t"  \
    "smlatb %[c2], %[w], %[q], %[c2] \n\t smlatt %[c3], %[u], %[q], %[c3] \n\t"

/* One tap of all channels of a depthwise convolution; da and x at the first output's. */
static __attribute__((noinline)) void depthwise_tap(int32_t *dw, const int16_t *da, const int8_t *x,
                                                    readers rows, readers cols, const mg_conv_params *p) {
    const int32_t apart = p->stride * p->in_c, out = p->out_c * (int32_t)sizeof *da,
                  n = cols.end - cols.first;
    const int32_t height = rows.end - rows.first, channels = height > 0 && n > 0 ? p->in_c : 0;
    const uint32_t zero = mg_both(-p->zero_in);
    next_row r = {out * (p->out_w - n), apart * (p->in_w - n), out * p->out_w, 0}, *const next = &r;
    memset(dw, 0, (size_t)(p->in_c - channels) * sizeof *dw);
    for (int32_t c = 0; c < channels; c += 4) {
        const int16_t *d = da + c, *end = d + n * p->out_c;
        const int8_t *v = x + c;
        int32_t c0 = 0, c1 = 0, c2 = 0, c3 = 0;
        uint32_t pair, other, u, w;
        r.left = 2 * (uint32_t)height | (n & 1);
        __asm__ volatile(
            "ldr %[u], %[next] \n\t ldr %[q], [%[u], #12] \n\t tst %[q], #1 \n\t bne 2f \n\t 1: \n\t" PIXEL
            "2: \n\t" PIXEL "cmp %[d], %[end] \n\t bne 1b \n\t"
            "ldr %[u], %[next] \n\t ldrd %[p], %[q], [%[u]] \n\t add %[d], %[d], %[p] \n\t"
            "add %[v], %[v], %[q] \n\t ldrd %[p], %[q], [%[u], #8] \n\t add %[end], %[end], %[p] \n\t"
            "sub %[q], %[q], #2 \n\t str %[q], [%[u], #12] \n\t lsrs %[p], %[q], #1 \n\t bhi 2b \n\t bne 1b"
            : [c0] "+&r"(c0), [c1] "+&r"(c1), [c2] "+&r"(c2), [c3] "+&r"(c3), [d] "+&r"(d), [v] "+&r"(v),
              [end] "+&r"(end), [p] "=&r"(pair), [q] "=&r"(other), [u] "=&r"(u), [w] "=&r"(w)
            : [out] "r"(out), [apart] "r"(apart), [zero] "r"(zero), [next] "m"(next)
            : "cc", "memory");
        put4(dw + c, 1, (four){c0, c1, c2, c3});
    }
}

#else

static __attribute__((noinline)) void depthwise_tap(int32_t *dw, const int16_t *da, const int8_t *x,
                                                    readers rows, readers cols, const mg_conv_params *p) {
    da -= mg_out_at(rows.first, cols.first, p);
    const int32_t origin = -(rows.first * p->in_w + cols.first) * p->stride * p->in_c;
    for (int32_t c = 0; c < p->in_c; c += 4)
        put4(dw + c, 1, tap(da + c, x, origin + c, rows, cols, p, 0));
}

#endif

void mg_depthwise_conv2d_dw_s32__4(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c) {
            const readers rows = readers_of(ky, p->in_h, p->out_h, p),
                          cols = readers_of(kx, p->in_w, p->out_w, p);
            const int32_t y = rows.first * p->stride + ky - p->pad, at = cols.first * p->stride + kx - p->pad;
            depthwise_tap(dw, da + mg_out_at(rows.first, cols.first, p), x + mg_in_at(y, at, p), rows, cols,
                          p);
        }
}

/* Position i of the weights, n output channels from da on; dw at the first one's, the next ones lie `step`
 * on. */
MG_INLINE void position(int32_t *dw, int32_t step, const int16_t *da, const int8_t *x, int32_t i, int32_t n,
                        const mg_conv_params *p) {
    const int32_t ky = i / p->in_c / p->kernel_w, kx = i / p->in_c % p->kernel_w;
    const readers rows = readers_of(ky, p->in_h, p->out_h, p), cols = readers_of(kx, p->in_w, p->out_w, p);
    const int32_t origin = mg_in_at(ky - p->pad, kx - p->pad, p) + i % p->in_c;
    for (int32_t c = 0; c < n; c += 4)
        put4(dw + c * step, step, tap(da + c, x, origin, rows, cols, p, 1));
}

void mg_conv2d_dw_s32__4(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c;
    for (int32_t i = 0; i < taps; i++)
        position(dw + i, taps, da, x, i, p->out_c, p);
}

enum { CHANNELS = 16, POSITIONS = MG_DW_WORK / CHANNELS };

void mg_conv2d_dw_blocks__4(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                            const mg_conv_params *p) {
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c;
    for (int32_t c = 0; c < p->out_c; c += CHANNELS)
        for (int32_t at = 0; at < taps; at += POSITIONS) {
            const int32_t n = mg_min(POSITIONS, taps - at);
            const mg_dw_block b = {c, mg_min(CHANNELS, p->out_c - c), at, n, 1, n};
            for (int32_t i = 0; i < b.n; i++)
                position(work + i, b.n, da + c, x, at + i, b.channels, p);
            sink->take(sink, work, b);
        }
}
