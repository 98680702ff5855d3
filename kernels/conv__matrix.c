/* Convolution as a matrix product, by tiles of two channels and two pixels. The windows of a 1x1 convolution
 * are the pixels themselves; those of other kernels are laid out one after the other first. */
#include "conv.h"
#include "geometry.h"
#include "requant.h"
#include "tile.h"

enum { WINDOWS = 1024 }; /* bytes of stack for windows laid out */

/* Some windows of `taps` bytes, `pitch` apart (a multiple of 4), and where their results go. */
typedef struct {
    const int8_t *x;
    int32_t count, taps, pitch, at;
} windows;

/* Two channels: their sums' start, with the input's zero point folded in, and their multipliers. */
typedef struct {
    int32_t a, b, ma, mb, zero;
} pair;

/* One to four weights, zeros after them. */
static inline uint32_t load_tail(const int8_t *w, int32_t n) {
    uint32_t v = 0;
    if (n >= 4)
        return mg_load32(w);
    for (int32_t i = 0; i < n; i++)
        v |= (uint32_t)(uint8_t)w[i] << 8 * i;
    return v;
}

static inline int32_t sum4(uint32_t even, uint32_t odd, int32_t sum) {
    return mg_smlad(even, 0x00010001, mg_smlad(odd, 0x00010001, sum));
}

/* Widen the weights of two channels and fold the zero point into their biases. */
static pair widen(mg_words *t, const int8_t *w, int32_t taps, const int32_t *b, const int32_t *m,
                  const mg_conv_params *p) {
    int32_t sum_a = 0, sum_b = 0;
    for (int32_t i = 0; i < taps; i += 4, t += 2) {
        uint32_t a = load_tail(w + i, taps - i), b = load_tail(w + taps + i, taps - i);
        t[0] = (mg_words){mg_sxtb16(a), mg_sxtb16(b)},
        t[1] = (mg_words){mg_sxtb16_ror8(a), mg_sxtb16_ror8(b)};
        sum_a = sum4(t[0].a, t[1].a, sum_a), sum_b = sum4(t[0].b, t[1].b, sum_b);
    }
    return (pair){b[0] - p->zero_in * sum_a, b[1] - p->zero_in * sum_b, m[0], m[1], p->zero_out};
}

/* Two channels of one pixel, i the index of the first. */
static inline void put2(int8_t *y, uint8_t *mask, int32_t i, int32_t a, int32_t b, const pair *k) {
    int32_t ta = mg_smmlar(a, k->ma, k->zero), tb = mg_smmlar(b, k->mb, k->zero);
    int32_t qa = mg_ssat8(ta), qb = mg_ssat8(tb);
    y[i] = (int8_t)qa, y[i + 1] = (int8_t)qb;
    if (mask)
        mg_put_bits(mask, i, mg_flag_equal(mg_flag_equal(0, ta, qa, 1), tb, qb, 2));
}

/* Two channels of two pixels, `apart` windows from each other. */
static inline void square(int8_t *y, uint8_t *mask, const windows *v, int32_t window, int32_t apart,
                          const mg_words *w, const pair *k, int32_t c, int32_t out_c) {
    int32_t i = v->at + window * out_c + c;
    mg_tile t = {k->a, k->b, k->a, k->b};
    t = mg_tile_s8(t, v->x + window * v->pitch, w, (v->taps + 3) & ~3, apart * v->pitch);
    put2(y, mask, i, t.pa, t.pb, k);
    put2(y, mask, i + apart * out_c, t.qa, t.qb, k);
}

static void product(int8_t *y, uint8_t *mask, const windows *v, const int8_t *w, const int32_t *b,
                    const int32_t *m, const mg_conv_params *p) {
    mg_words words[MG_TILE_MAX / 2];
    const windows local = *v;
    for (int32_t c = 0; c < p->out_c; c += 2) {
        const pair k = widen(words, w + c * local.taps, local.taps, b + c, m + c, p);
        for (int32_t i = 0; i + 1 < local.count; i += 2)
            square(y, mask, &local, i, 1, words, &k, c, p->out_c);
        if (local.count % 2) /* the last one, twice */
            square(y, mask, &local, local.count - 1, 0, words, &k, c, p->out_c);
    }
}

void mg_conv2d_s8__1x1(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                       const int32_t *m, const mg_conv_params *p) {
    const windows v = {x, p->out_h * p->out_w, p->in_c, p->in_c, 0};
    mg_clear_bits(mask, v.count * p->out_c);
    product(y, mask, &v, w, b, m, p);
}

/* Copy one window; taps outside the map read as the zero point. */
static void lay_out(int8_t *to, const int8_t *x, int32_t oy, int32_t ox, const mg_conv_params *p) {
    const mg_taps rows = mg_rows(oy, p), cols = mg_columns(ox, p);
    const int32_t line = p->kernel_w * p->in_c, n = (cols.last - cols.first) * p->in_c;
    if (rows.last - rows.first < p->kernel_h || n < line)
        memset(to, p->zero_in, (size_t)(p->kernel_h * line));
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        memcpy(to + ky * line + cols.first * p->in_c, x + mg_in_at(rows.at + ky, cols.at + cols.first, p),
               (size_t)n);
}

void mg_conv2d_s8__laid_out(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                            const int32_t *m, const mg_conv_params *p) {
    int8_t bytes[WINDOWS] = {0};
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c, pitch = (taps + 3) & ~3,
                  most = WINDOWS / pitch & ~1;
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox += most) {
            const windows v = {bytes, mg_min(most, p->out_w - ox), taps, pitch, mg_out_at(oy, ox, p)};
            for (int32_t i = 0; i < v.count; i++)
                lay_out(bytes + i * pitch, x, oy, ox + i, p);
            product(y, mask, &v, w, b, m, p);
        }
}
