/* Input gradient of a 1x1 convolution by tiles of two channels and two pixels. */
#include "conv.h"

#include "requant.h"
#include "tile.h"

/* The weights of input channels a and b = a + 1: word i holds output channels 2i and 2i + 1. */
static void transpose(mg_words *t, const int8_t *w, int32_t in_c, int32_t out_c) {
    for (int32_t i = 0; i < out_c / 2; i++, w += 2 * in_c) {
        t[i].a = mg_pkhbt((uint32_t)w[0], (uint32_t)w[in_c]);
        t[i].b = mg_pkhbt((uint32_t)w[1], (uint32_t)w[in_c + 1]);
    }
}

/* Two channels of two pixels, `apart` pixels from each other; i: the first one. */
static inline void square(int16_t *dx, const int16_t *da, int32_t i, int32_t apart, const mg_words *w,
                          mg_renorm *r, int32_t in_c, int32_t out_c) {
    mg_tile t = mg_tile_s16((mg_tile){0, 0, 0, 0}, da + i * out_c, w, out_c, apart * out_c);
    int16_t *p = dx + i * in_c, *q = p + apart * in_c;
    p[0] = mg_renorm_one(r, t.pa), p[1] = mg_renorm_one(r, t.pb);
    q[0] = mg_renorm_one(r, t.qa), q[1] = mg_renorm_one(r, t.qb);
}

void mg_conv2d_dx_s16__1x1(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                           mg_scale *dx_scale, const mg_conv_params *p) {
    const int32_t in_c = p->in_c, out_c = p->out_c, pixels = p->in_h * p->in_w,
                  exp = da_scale->exp + p->offset;
    mg_words words[MG_TILE_MAX / 2];
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t c = 0; c < in_c; c += 2) {
        transpose(words, w + c, in_c, out_c);
        for (int32_t i = 0; i + 1 < pixels; i += 2)
            square(dx + c, da, i, 1, words, &r, in_c, out_c);
        if (pixels % 2) /* the last one, twice */
            square(dx + c, da, pixels - 1, 0, words, &r, in_c, out_c);
    }
    mg_renorm_end(&r, dx_scale, exp);
}
