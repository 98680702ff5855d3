/* Weight gradient of a 1x1 convolution: the pixels of some input channels as rows, widened once, by four
 * output channels as quads; each instruction multiplies two pixels. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "quad.h"

/* A quad of output channels and n input channels' rows after it, all of `padded` pixels; behind them the
 * sums, four a row. */
typedef struct {
    uint32_t *quad, *rows;
    int32_t (*sums)[4];
    const mg_conv_params *p;
    int32_t pixels, padded, most, n;
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
    uint32_t *to = t->quad;
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

/* t->sums[j][k] of `channels` output channels from da on and all rows. */
static void four(plan *t, const int16_t *da, int32_t channels) {
    transpose(t, da, channels);
    memset(t->sums, 0, (size_t)t->n * sizeof *t->sums);
    mg_quads_s16(*t->sums, (const int16_t *)t->rows, t->quad, (mg_rows_of){t->padded, t->n, t->padded, 4});
}

static void start(plan *t, int32_t *work, const mg_conv_params *p) {
    t->p = p, t->pixels = p->in_h * p->in_w, t->padded = (t->pixels + 3) & ~3;
    t->quad = (uint32_t *)work, t->rows = t->quad + 2 * t->padded;
    t->most = (p->work - 2 * t->padded) / (t->padded / 2 + 4);
    t->sums = (int32_t(*)[4])(t->rows + t->most * t->padded / 2);
}

/* Input channels from `at` on. */
static void next(plan *t, const int8_t *x, int32_t at) {
    t->n = mg_min(t->most, t->p->in_c - at);
    widen(t, x + at);
}

void mg_conv2d_dw_s32__1x1(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                           const mg_conv_params *p) {
    plan t;
    start(&t, work, p);
    for (int32_t at = 0; at < p->in_c; at += t.n) {
        next(&t, x, at);
        for (int32_t c = 0; c < p->out_c; c += 4) {
            const int32_t channels = mg_min(4, p->out_c - c);
            four(&t, da + c, channels);
            for (int32_t k = 0; k < channels; k++)
                for (int32_t j = 0; j < t.n; j++)
                    dw[(c + k) * p->in_c + at + j] = t.sums[j][k];
        }
    }
}

void mg_conv2d_dw_blocks__1x1(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                              const mg_conv_params *p) {
    plan t;
    start(&t, work, p);
    for (int32_t at = 0; at < p->in_c; at += t.n) {
        next(&t, x, at);
        for (int32_t c = 0; c < p->out_c; c += 4) {
            const mg_dw_block b = {c, mg_min(4, p->out_c - c), at, t.n, 4, 1};
            four(&t, da + c, b.channels);
            sink->take(sink, *t.sums, b);
        }
    }
}
