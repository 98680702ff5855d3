/* Weight gradient of a 1x1 convolution: two input channels, widened once, by two output channels at a time;
 * each instruction multiplies two pixels. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "requant.h"
#include "tile.h"

enum { PIXELS = 256 }; /* what an int32 sum can hold for sure; 1 KB of stack, in blocks 2 KB */

/* Input channels a, b = a + 1 of pixels 2i and 2i + 1; after an odd last one, a zero. */
static void widen(mg_words *t, const int8_t *x, int32_t c, int32_t pixels, int32_t zero) {
    for (int32_t i = 0; i < pixels; i += 2, t++) {
        const int8_t *p = x + i * c, *q = p + c;
        int32_t qa = 0, qb = 0;
        if (i + 1 < pixels)
            qa = q[0] - zero, qb = q[1] - zero;
        *t = (mg_words){mg_pkhbt((uint32_t)(p[0] - zero), (uint32_t)qa),
                        mg_pkhbt((uint32_t)(p[1] - zero), (uint32_t)qb)};
    }
}

/* Sums over n pixels, n even: tile's p, q are output channels c and c + 1 (da there), a, b the input
 * channels. */
MG_INLINE mg_tile pairs(const int16_t *da, const mg_words *x, int32_t n, int32_t out_c) {
    mg_tile t = {0, 0, 0, 0};
#if MG_DSP
    uint32_t a, b, d, e, f;
    const mg_words *end = x + n / 2;
    int32_t step = 2 * out_c;
    __asm__("cmp   %[x], %[end]              \n\t"
            "beq   2f                        \n"
            "1:                              \n\t"
            "ldr   %[e], [%[da], %[step]]    \n\t"
            "ldr   %[d], [%[da]]             \n\t"
            "ldrd  %[a], %[b], [%[x]], #8    \n\t"
            "add   %[da], %[da], %[step], lsl #1 \n\t"
            "pkhbt %[f], %[d], %[e], lsl #16 \n\t"
            "pkhtb %[e], %[e], %[d], asr #16 \n\t"
            "smlad %[pa], %[a], %[f], %[pa]  \n\t"
            "smlad %[pb], %[b], %[f], %[pb]  \n\t"
            "smlad %[qa], %[a], %[e], %[qa]  \n\t"
            "smlad %[qb], %[b], %[e], %[qb]  \n\t"
            "cmp   %[x], %[end]              \n\t"
            "bne   1b                        \n"
            "2:"
            : [pa] "+r"(t.pa), [pb] "+r"(t.pb), [qa] "+r"(t.qa), [qb] "+r"(t.qb), [da] "+r"(da), [x] "+r"(x),
              [step] "+r"(step), [end] "+r"(end), [a] "=&r"(a), [b] "=&r"(b), [d] "=&r"(d), [e] "=&r"(e),
              [f] "=&r"(f)
            :
            : "cc", "memory");
#else
    for (int32_t i = 0; i < n; i += 2, x++, da += 2 * out_c) {
        uint32_t d = mg_load32(da), e = mg_load32(da + out_c), p = mg_pkhbt(d, e), q = mg_pkhtb(e, d);
        t.pa = mg_smlad(x->a, p, t.pa), t.pb = mg_smlad(x->b, p, t.pb);
        t.qa = mg_smlad(x->a, q, t.qa), t.qb = mg_smlad(x->b, q, t.qb);
    }
#endif
    return t;
}

/* Channels c and c + 1 of da, with the widened input channels; dw at the first of the four, the second
 * channel's lie `row` on. */
static void square(int32_t *dw, int32_t row, const int16_t *da, const mg_words *x, int32_t pixels,
                   int32_t out_c) {
    mg_tile t = pairs(da, x, pixels & ~1, out_c);
    if (pixels % 2) {
        uint32_t last = mg_load32(da + (pixels - 1) * out_c);
        x += pixels / 2;
        t.pa = mg_smlabb(x->a, last, t.pa), t.pb = mg_smlabb(x->b, last, t.pb);
        t.qa = mg_smlabt(x->a, last, t.qa), t.qb = mg_smlabt(x->b, last, t.qb);
    }
    dw[0] = t.pa, dw[1] = t.pb;
    dw[row] = t.qa, dw[row + 1] = t.qb;
}

void mg_conv2d_dw_s32__1x1(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    mg_words words[PIXELS / 2];
    const int32_t pixels = p->in_h * p->in_w;
    for (int32_t i = 0; i < p->in_c; i += 2) {
        widen(words, x + i, p->in_c, pixels, p->zero_in);
        for (int32_t c = 0; c < p->out_c; c += 2)
            square(dw + c * p->in_c + i, p->in_c, da + c, words, pixels, p->out_c);
    }
}

/* Four input channels, the last two perhaps missing, by some output channels a block. */
void mg_conv2d_dw_blocks__1x1(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                              const mg_conv_params *p) {
    mg_words words[2][PIXELS / 2];
    const int32_t pixels = p->in_h * p->in_w, out_c = p->out_c, most = MG_DW_WORK / 4;
    for (int32_t i = 0; i < p->in_c; i += 4) {
        const int32_t n = mg_min(4, p->in_c - i);
        for (int32_t k = 0; k < n; k += 2)
            widen(words[k / 2], x + i + k, p->in_c, pixels, p->zero_in);
        for (int32_t from = 0; from < out_c; from += most) {
            const mg_dw_block b = {from, mg_min(most, out_c - from), i, n};
            for (int32_t c = 0; c < b.channels; c += 2)
                for (int32_t k = 0; k < n; k += 2)
                    square(work + c * n + k, n, da + from + c, words[k / 2], pixels, out_c);
            sink->take(sink, work, b);
        }
    }
}
