/* Weight gradient of a 1x1 convolution: the pixels of some input channels as rows, widened once, by four
 * output channels as quads; each instruction multiplies two pixels. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "quad.h"

enum {
    WORDS = 640,          /* of stack: at 256 pixels one row and one quad, at 64 pixels 16 rows */
    MOST = MG_DW_WORK / 4 /* rows at a time */
};

/* A quad of output channels and n input channels' rows after it, all of `padded` pixels. */
typedef struct {
    uint32_t memory[WORDS], *rows;
    const mg_conv_params *p;
    int32_t pixels, padded, n;
} plan;

/* Rows of the input channels from x on; behind the last pixel, zeros. */
static void widen(plan *t, const int8_t *x) {
    const int32_t in_c = t->p->in_c, zero = t->p->zero_in, half = t->padded / 2;
    for (int32_t i = 0; i < half; i++, x += 2 * in_c) {
        const int first = 2 * i < t->pixels, second = 2 * i + 1 < t->pixels;
        for (int32_t k = 0; k < t->n; k++) {
            const int32_t a = first ? x[k] - zero : 0, b = second ? x[in_c + k] - zero : 0;
            t->rows[k * half + i] = mg_pkhbt((uint32_t)a, (uint32_t)b);
        }
    }
}

/* `channels` output channels from da on, four at most, as quads. */
static void transpose(plan *t, const int16_t *da, int32_t channels) {
    const int32_t out_c = t->p->out_c, paired = channels == 4 ? t->pixels / 2 : 0;
    uint32_t *to = t->memory;
#pragma GCC unroll 4
    for (int32_t i = 0; i < paired; i++, to += 4, da += 2 * out_c) {
        const uint32_t a = mg_load32(da), b = mg_load32(da + out_c);
        const uint32_t c = mg_load32(da + 2), d = mg_load32(da + out_c + 2);
        to[0] = mg_pkhbt(a, b), to[1] = mg_pkhtb(b, a), to[2] = mg_pkhbt(c, d), to[3] = mg_pkhtb(d, c);
    }
    for (int32_t i = 2 * paired; i < t->padded; i += 2, da += 2 * out_c)
        for (int32_t k = 0; k < 4; k++) {
            const int32_t a = k < channels && i < t->pixels ? da[k] : 0;
            const int32_t b = k < channels && i + 1 < t->pixels ? da[out_c + k] : 0;
            *to++ = mg_pkhbt((uint32_t)a, (uint32_t)b);
        }
}

/* dw[k * step + j] of output channels da on and all rows. */
static void four(int32_t *dw, int32_t step, const int16_t *da, int32_t channels, plan *t) {
    int32_t sums[MOST][4];
    transpose(t, da, channels);
    memset(sums, 0, (size_t)t->n * sizeof *sums);
    mg_quads_s16(*sums, (const int16_t *)t->rows, t->memory, (mg_rows_of){t->padded, t->n, t->padded, 4});
    if (channels == 4)
        for (int32_t j = 0; j < t->n; j++, dw++)
            dw[0] = sums[j][0], dw[step] = sums[j][1], dw[2 * step] = sums[j][2], dw[3 * step] = sums[j][3];
    else
        for (int32_t k = 0; k < channels; k++, dw += step)
            for (int32_t j = 0; j < t->n; j++)
                dw[j] = sums[j][k];
}

static void start(plan *t, const mg_conv_params *p) {
    t->p = p, t->pixels = p->in_h * p->in_w, t->padded = (t->pixels + 3) & ~3;
    t->rows = t->memory + 2 * t->padded;
}

/* Input channels from `at` on, the same number in each round where there are several. */
static void next(plan *t, const int8_t *x, int32_t at) {
    const int32_t fit = 2 * WORDS / t->padded - 4, most = mg_min(MOST, fit),
                  rounds = (t->p->in_c + most - 1) / most;
    t->n = mg_min((t->p->in_c + rounds - 1) / rounds, t->p->in_c - at);
    widen(t, x + at);
}

void mg_conv2d_dw_s32__1x1(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    plan t;
    start(&t, p);
    for (int32_t at = 0; at < p->in_c; at += t.n) {
        next(&t, x, at);
        for (int32_t c = 0; c < p->out_c; c += 4)
            four(dw + c * p->in_c + at, p->in_c, da + c, mg_min(4, p->out_c - c), &t);
    }
}

void mg_conv2d_dw_blocks__1x1(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                              const mg_conv_params *p) {
    plan t;
    start(&t, p);
    for (int32_t at = 0; at < p->in_c; at += t.n) {
        next(&t, x, at);
        for (int32_t c = 0; c < p->out_c; c += 4) {
            const mg_dw_block b = {c, mg_min(4, p->out_c - c), at, t.n};
            four(work, t.n, da + c, b.channels, &t);
            sink->take(sink, work, b);
        }
    }
}
