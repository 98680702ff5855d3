/* Input gradient of a 1x1 convolution: four input channels, whose weights lie transposed and widened in
 * scratch memory, by all pixels; or by some at a time, with as many weights as fit behind their sums. Pixels
 * at the end whose da is the same, as an average pool's are unless one was clamped, are worked out once. */
#include "geometry.h"
#include "quad.h"
#include "tile.h"

enum { PIXELS = 64 }; /* whose sums are kept */

/* Four columns that lie anywhere, from row `from` on, as mg_transpose_quads does. */
static void transpose_columns(uint32_t *quads, const mg_column *columns, int32_t from, int32_t n) {
    for (int32_t k = 0; k < 4; k++) {
        const int32_t step = columns[k].step;
        const int8_t *w = columns[k].w + from * step;
        for (int32_t i = 0; i < n; i += 2, w += 2 * step)
            quads[2 * i + k] = mg_pkhbt((uint32_t)w[0], (uint32_t)w[step]);
    }
}

/* Four input channels, of which the first n exist. */
typedef struct {
    mg_column columns[4];
    int32_t n;
    int together; /* lie so in the plane */
} quad;

static void put(int16_t *dx, const int32_t (*sums)[4], int32_t pixels, const quad *q, int32_t in_c,
                mg_renorm *renorm) {
    mg_renorm r = *renorm;
    if (q->n == 4)
        for (int32_t i = 0; i < pixels; i++, dx += in_c, sums++) {
            mg_renorm_two(dx, &r, (*sums)[0], (*sums)[1]);
            mg_renorm_two(dx + 2, &r, (*sums)[2], (*sums)[3]);
        }
    else
        for (int32_t i = 0; i < pixels; i++, dx += in_c, sums++)
            for (int32_t k = 0; k < q->n; k++)
                dx[k] = mg_renorm_one(&r, (*sums)[k]);
    *renorm = r;
}

static void transpose(uint32_t *quads, const quad *q, int32_t from, int32_t n) {
    const int32_t step = q->columns[0].step;
    if (q->together)
        mg_transpose_quads(quads, q->columns[0].w + from * step, step, n);
    else
        transpose_columns(quads, q->columns, from, n);
}

static int same(const int16_t *a, const int16_t *b, int32_t n) {
    for (int32_t i = 0; i < n; i += 2)
        if (mg_load32(a + i) != mg_load32(b + i))
            return 0;
    return 1;
}

/* So many pixels, the others are like the last of them; c % 2 == 0 channels. */
static int32_t distinct(const int16_t *da, int32_t pixels, int32_t c) {
    while (pixels > 1 && same(da + (pixels - 1) * c, da + (pixels - 2) * c, c))
        pixels--;
    return pixels;
}

/* Pixels `from` to `pixels` - 1 of c channels become like the one before them. */
static void repeat(int16_t *dx, int32_t from, int32_t pixels, int32_t c) {
    for (int32_t i = from * c; i < pixels * c; i++)
        dx[i] = dx[i - c];
}

/* One quad of some pixels. */
static void gradient(int16_t *dx, int32_t *work, const int16_t *da, int32_t pixels, const quad *q,
                     const mg_conv_params *p, mg_renorm *r) {
    const int32_t in_c = p->in_c, out_c = p->out_c, most = mg_min(PIXELS, pixels);
    if (q->n == 4 && 2 * out_c <= p->work) {
        uint32_t *const quads = (uint32_t *)work;
        transpose(quads, q, 0, out_c);
        mg_quads_renorm_s16(dx, da, quads, (mg_rows_of){out_c, pixels, out_c, in_c}, r);
        return;
    }
    int32_t(*const sums)[4] = (int32_t(*)[4])work;
    uint32_t *const quads = (uint32_t *)sums[most];
    const int32_t channels = (p->work - 4 * most) / 2 & ~3;
    for (int32_t i = 0, count; i < pixels; i += count) {
        count = mg_min(most, pixels - i);
        memset(sums, 0, (size_t)count * sizeof *sums);
        for (int32_t c = 0; c < out_c; c += channels) {
            const mg_rows_of rows = {mg_min(channels, out_c - c), count, out_c, 4};
            transpose(quads, q, c, rows.n);
            mg_quads_s16(*sums, da + i * out_c + c, quads, rows);
        }
        put(dx + i * in_c, (const int32_t(*)[4])sums, count, q, in_c, r);
    }
}

static quad quad_of_plane(const int8_t *w, int32_t c, int32_t in_c, int32_t pitch) {
    quad q = {.n = mg_min(4, in_c - c), .together = in_c - c >= 4};
    for (int32_t k = 0; k < 4; k++)
        q.columns[k] = (mg_column){w + mg_min(c + k, in_c - 1), pitch};
    return q;
}

static quad quad_of_part(const int8_t *w, int32_t c, int32_t *next, const int8_t *part, const int32_t *index,
                         const mg_conv_part_params *p) {
    quad q = {.n = mg_min(4, p->conv.in_c - c)};
    for (int32_t k = 0; k < 4; k++)
        q.columns[k] = mg_column_of(mg_min(c + k, p->conv.in_c - 1), next, w, part, index, p);
    return q;
}

void mg_conv2d_dx_tile_s16__1x1(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w, int32_t pitch,
                                mg_renorm *r, const mg_conv_params *p) {
    const int32_t pixels = p->in_h * p->in_w, some = distinct(da, pixels, p->out_c);
    for (int32_t c = 0; c < p->in_c; c += 4) {
        const quad q = quad_of_plane(w, c, p->in_c, pitch);
        gradient(dx + c, work, da, some, &q, p, r);
    }
    repeat(dx, some, pixels, p->in_c);
}

void mg_conv2d_dx_part_s16__1x1(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                const mg_scale *da_scale, mg_scale *dx_scale, const int8_t *part,
                                const int32_t *index, const mg_conv_part_params *p) {
    const int32_t in_c = p->conv.in_c, exp = da_scale->exp + p->conv.offset;
    const int32_t pixels = p->conv.in_h * p->conv.in_w, some = distinct(da, pixels, p->conv.out_c);
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t c = 0, next = 0; c < in_c; c += 4) {
        const quad q = quad_of_part(w, c, &next, part, index, p);
        gradient(dx + c, work, da, some, &q, &p->conv, &r);
    }
    repeat(dx, some, pixels, in_c);
    mg_renorm_end(&r, dx_scale, exp, da_scale->bits);
}

/* What a tile adds to four channels of the sums. */
static void add(int32_t *sums, int32_t *work, const int16_t *da, const quad *q, const mg_conv_params *p) {
    uint32_t *const quads = (uint32_t *)work;
    transpose(quads, q, 0, p->out_c);
    mg_quads_s16(sums, da, quads, (mg_rows_of){p->out_c, p->in_h * p->in_w, p->out_c, p->in_c});
}

void mg_conv2d_dx_sums_s32(int32_t *sums, int32_t *work, const int16_t *da, const int8_t *w,
                           const mg_conv_params *p) {
    for (int32_t c = 0; c < p->in_c; c += 4) {
        const quad q = quad_of_plane(w, c, p->in_c, p->in_c);
        add(sums + c, work, da, &q, p);
    }
}

void mg_conv2d_dx_part_sums_s32(int32_t *sums, int32_t *work, const int16_t *da, const int8_t *w,
                                const int8_t *part, const int32_t *index, const mg_conv_part_params *p) {
    for (int32_t c = 0, next = 0; c < p->conv.in_c; c += 4) {
        const quad q = quad_of_part(w, c, &next, part, index, p);
        add(sums + c, work, da, &q, &p->conv);
    }
}
