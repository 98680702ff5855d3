/* Input gradient of a 1x1 convolution by tiles of two channels and two pixels. */
#include "conv_part.h"

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

/* Two channels of all pixels. */
static void pair(int16_t *dx, const int16_t *da, int32_t pixels, const mg_words *w, mg_renorm *r,
                 int32_t in_c, int32_t out_c) {
    for (int32_t i = 0; i + 1 < pixels; i += 2)
        square(dx, da, i, 1, w, r, in_c, out_c);
    if (pixels % 2) /* the last one, twice */
        square(dx, da, pixels - 1, 0, w, r, in_c, out_c);
}

void mg_conv2d_dx_s16__1x1(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                           mg_scale *dx_scale, const mg_conv_params *p) {
    const int32_t in_c = p->in_c, out_c = p->out_c, pixels = p->in_h * p->in_w,
                  exp = da_scale->exp + p->offset;
    mg_words words[MG_TILE_MAX / 2];
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t c = 0; c < in_c; c += 2) {
        transpose(words, w + c, in_c, out_c);
        pair(dx + c, da, pixels, words, &r, in_c, out_c);
    }
    mg_renorm_end(&r, dx_scale, exp);
}

static void transpose_columns(mg_words *t, mg_column a, mg_column b, int32_t out_c) {
    for (int32_t i = 0; i < out_c / 2; i++, a.w += 2 * a.step, b.w += 2 * b.step) {
        t[i].a = mg_pkhbt((uint32_t)a.w[0], (uint32_t)a.w[a.step]);
        t[i].b = mg_pkhbt((uint32_t)b.w[0], (uint32_t)b.w[b.step]);
    }
}

void mg_conv2d_dx_part_s16__1x1(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                                mg_scale *dx_scale, const int8_t *part, const int32_t *index,
                                const mg_conv_part_params *p) {
    const int32_t in_c = p->conv.in_c, out_c = p->conv.out_c, pixels = p->conv.in_h * p->conv.in_w,
                  exp = da_scale->exp + p->conv.offset;
    mg_words words[MG_TILE_MAX / 2];
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t c = 0, next = 0; c < in_c; c += 2) {
        const mg_column a = mg_column_of(c, &next, w, part, index, p);
        transpose_columns(words, a, mg_column_of(c + 1, &next, w, part, index, p), out_c);
        pair(dx + c, da, pixels, words, &r, in_c, out_c);
    }
    mg_renorm_end(&r, dx_scale, exp);
}
