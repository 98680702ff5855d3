/* Convolution as a matrix product, four pixels at a time. Their windows are widened once, in scratch memory,
 * and meet the weights of all channels; where there are many pixels, so are the weights of as many channels
 * as fit. The windows of a 1x1 convolution are the pixels themselves; those of other kernels are laid out
 * first.
 */
#include "conv_part.h"
#include "geometry.h"
#include "pair.h"
#include "requant.h"
#include "windows.h"

enum {
    CHANNELS = 8, /* at a time at least, for whole bytes of the mask */
    TAPS = 144    /* of a 1x1 convolution at a time, beside sums of two channels */
};

/* One convolution: `taps` products a sum, `pitch` of them after padding to a multiple of 4. `words` of work:
 * four windows, 2 words a tap, where they are laid out another one, then widened weights, half a word each,
 * or sums, 4 words a channel; `most`: taps at a time beside sums. */
typedef struct {
    const int8_t *x, *w;
    const int32_t *b, *m;
    int8_t *y;
    uint8_t *mask;
    const mg_conv_params *p;
    int32_t pixels, taps, pitch;
    uint32_t *work;
    int32_t words, most;
} product;

/* Whether the windows are the pixels themselves. */
static int as_they_lie(const product *c) {
    return mg_pointwise(c->p) && c->taps == c->pitch;
}

/* The last n % 4 bytes of n, zeros after them. */
static uint32_t last_of(const int8_t *w, int32_t n) {
    uint32_t v = 0;
    if (n >= 4)
        return mg_load32(w + n - 4) >> (32 - n % 4 * 8);
    for (int32_t i = 0; i < n; i++)
        v |= (uint32_t)(uint8_t)w[i] << 8 * i;
    return v;
}

/* Weights of some channels as pairs. Taps that pad them are those of the next channel: windows have zeros
 * there; but behind the last ones there may be nothing. */
MG_RARE void widen_weights(int16_t *to, const int8_t *w, int32_t channels, const product *c) {
    const int32_t taps = c->taps, whole = taps & ~3, bulk = whole == taps ? channels : channels - 2;
    mg_widen_pairs(to, w, taps, c->pitch, 0, bulk / 2);
    if (bulk < channels) {
        to += bulk * c->pitch, w += bulk * taps;
        const uint32_t last[] = {last_of(w, taps), last_of(w + taps, taps)};
        mg_widen_pairs(to, w, taps, whole, 0, whole > 0);
        mg_widen_pairs(to + 2 * whole, (const int8_t *)last, sizeof *last, 4, 0, 1);
    }
}

/* All pixels and channels, four pixels at a time, the last four perhaps once more, by int8 weights; `bytes`:
 * room for windows before they are widened. */
MG_RARE void by_quads(const product *c, int8_t *bytes) {
    const mg_conv_params *p = c->p;
    const int32_t out_c = p->out_c, pitch = c->pitch, pointwise = as_they_lie(c);
    mg_pixels out = {.out_c = out_c, .zero = p->zero_out, .quads = c->work, .mask_row = out_c / 8};
    for (int32_t i = 0; i < c->pixels; i += 4) {
        const int32_t at = mg_min(i, c->pixels - 4);
        if (!pointwise)
            mg_lay_out(bytes, pitch, c->x, at, 0, p->kernel_h, p);
        mg_widen_quads(c->work, pointwise ? c->x + at * pitch : bytes, pitch, pitch, p->zero_in);
        out.b = c->b, out.m = c->m, out.y = c->y + at * out_c;
        if (c->mask)
            out.mask = c->mask + at * out_c / 8;
        (c->mask ? mg_pixels_masked_s8 : mg_pixels_s8)(&out, c->w, pitch, out_c);
    }
}

/* Channels `from` to from + n - 1 of all pixels, likewise, but the last two alone. Their weights are
 * `words`. */
static void by_pairs(const product *c, int8_t *bytes, const int16_t *words, int32_t from, int32_t n) {
    const mg_conv_params *p = c->p;
    const int32_t out_c = p->out_c, pitch = c->pitch, pointwise = as_they_lie(c), zero = p->zero_in;
    for (int32_t i = c->taps; i < pitch; i++)
        bytes[i] = bytes[pitch + i] = bytes[2 * pitch + i] = bytes[3 * pitch + i] = (int8_t)zero;
    mg_pairs out = mg_pairs_of(words, pitch, n, c->b + from, c->m + from, out_c, p->zero_out);
    for (int32_t i = 0; i < c->pixels; i += 4) {
        const int32_t count = pointwise && c->pixels - i <= 2 ? 1 : 2, at = mg_min(i, c->pixels - 2 * count);
        if (!pointwise)
            mg_lay_out(bytes, pitch, c->x, at, 0, p->kernel_h, p);
        const int8_t *const x = pointwise ? c->x + at * pitch : bytes;
        if (count == 2)
            mg_widen_pixels(c->work, x, pitch, pitch, zero);
        else
            mg_widen_pairs(c->work, x, pitch, pitch, zero, 1);
        out.x = c->work, out.y = c->y + at * out_c + from, out.left = count;
        if (c->mask)
            out.mask = c->mask + (at * out_c + from) / 8;
        (c->mask ? mg_pixels_masked_pairs : mg_pixels_pairs)(&out);
    }
}

static product all_of(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                      const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c, n = p->out_h * p->out_w;
    if (mask)
        mask[(n * p->out_c - 1) / 8] = 0; /* spare bits */
    return (product){x, w, b, m, y, mask, p, n, taps, (taps + 3) & ~3, (uint32_t *)work, p->work, TAPS};
}

/* Sums of four pixels and n channels, the first `at` and `from`. */
static __attribute__((noinline)) void requantise(const product *c, int32_t (*sums)[4], int32_t at,
                                                 int32_t from, int32_t n) {
    const int32_t shift = c->p->shift, zero = c->p->zero_out, out_c = c->p->out_c, *m = c->m + from;
    const int32_t first = at * out_c + from;
    if (c->mask || shift) {
        for (int32_t j = 0; j < 4 * n; j++)
            mg_put_s8(c->y, c->mask, first + j % 4 * out_c + j / 4, sums[j / 4][j % 4], m[j / 4], c->p);
        return;
    }
    for (int8_t *y = c->y + first, *const end = y + n; y != end; y++, sums++, m++)
        for (int32_t k = 0; k < 4; k++)
            y[k * out_c] = mg_ssat8(mg_smmlar((*sums)[k], *m, zero));
}

/* Part `i` of the taps of four pixels: a row of the windows, or c->most input channels. */
typedef struct {
    int32_t from, n;
} part;

static part part_of(int32_t i, const product *c) {
    const int32_t line = c->p->kernel_w * c->p->in_c, n = mg_pointwise(c->p) ? c->most : line;
    return (part){i * n, mg_min(n, c->taps - i * n)};
}

/* Input channels at a time. Each time a sum is fetched and kept, each few channels of the output windows are
 * widened again: that is least where windows take 4/7 of the memory. */
static int32_t balanced(const product *c) {
    const int32_t parts = mg_max((7 * c->taps + c->words) / (2 * c->words), 1);
    return ((c->taps + parts - 1) / parts + 3) & ~3;
}

static void widen_part(uint32_t *quads, int32_t i, part t, int32_t at, const product *c) {
    const mg_conv_params *p = c->p;
    int8_t *bytes = (int8_t *)(quads + 2 * t.n);
    if (mg_pointwise(p)) {
        mg_widen_quads(quads, c->x + at * c->taps + t.from, c->taps, t.n, p->zero_in);
        return;
    }
    mg_lay_out(bytes, t.n, c->x, at, i, i + 1, p);
    mg_widen_quads(quads, bytes, t.n, t.n, p->zero_in);
}

/* Words for the windows of a part. */
static int32_t window_words(const product *c) {
    return (mg_pointwise(c->p) ? 2 : 3) * part_of(0, c).n;
}

/* Some channels by sums in memory: windows of any length, any shift; w: the first one's weights. */
static void by_sums(const product *c, const int8_t *w, int32_t from, int32_t n) {
    uint32_t *const quads = c->work;
    int32_t(*const sums)[4] = (int32_t(*)[4])(quads + window_words(c));
    for (int32_t i = 0; i < c->pixels; i += 4) {
        const int32_t at = mg_min(i, c->pixels - 4);
        for (int32_t j = 0; j < n; j++)
            sums[j][0] = sums[j][1] = sums[j][2] = sums[j][3] = c->b[from + j];
        part t = part_of(0, c);
        for (int32_t k = 0; t.n > 0; t = part_of(++k, c)) {
            widen_part(quads, k, t, at, c);
            mg_quads_s8(*sums, w + t.from, quads, (mg_rows_of){t.n, n, c->taps, 4});
        }
        requantise(c, sums, at, from, n);
    }
}

/* Where windows are laid out that are not the pixels: behind four that are widened. */
static int8_t *laid_by(const product *c) {
    return (int8_t *)(c->work + 2 * c->pitch);
}

/* Where weights are widened. */
static int16_t *words_of(const product *c) {
    return (int16_t *)laid_by(c) + (as_they_lie(c) ? 0 : 2 * c->pitch);
}

/* Channels whose weights are widened at a time; 0 where they stay int8. */
static int32_t widened(const product *c) {
    const int32_t out_c = c->p->out_c, room = c->words * 2 - (int32_t)(words_of(c) - (int16_t *)c->work);
    const int32_t fit = mg_min(out_c, room / c->pitch), most = fit < out_c ? fit & -CHANNELS : fit;
    const int32_t groups = most ? (out_c + most - 1) / most : 0;
    /* In 3/16 of an instruction a product and pixel, which are won: to widen windows again, weights once. */
    const int dear = !groups || 6 * (groups - 1) * c->pixels + 8 * out_c > c->pixels * out_c;
    return c->taps % 4 == 0 && (dear || out_c % 2) ? 0 : most;
}

void mg_conv2d_s8__quads(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    product c = all_of(y, mask, work, x, w, b, m, p);
    const int tight = c.taps == c.pitch && c.words < (as_they_lie(&c) ? 2 : 3) * c.pitch;
    const int whole = mg_quads_at_once(p, mask) && !tight;
    const int32_t some = whole ? widened(&c) : 0;
    for (int32_t from = 0; some && from < p->out_c; from += some) {
        const int32_t n = mg_min(some, p->out_c - from);
        widen_weights(words_of(&c), w + from * c.taps, n, &c);
        by_pairs(&c, laid_by(&c), words_of(&c), from, n);
    }
    if (some)
        return;
    if (as_they_lie(&c) && c.pixels % 4 == 1 && p->out_c % 2 == 0 && c.taps <= 2 * c.words)
        mg_conv2d_s8__pixel(y, mask, work, x, w, b, m, --c.pixels, p);
    if (whole) {
        by_quads(&c, laid_by(&c));
        return;
    }
    c.most = balanced(&c);
    const int32_t most = (c.words - window_words(&c)) / 4;
    for (int32_t from = 0; from < p->out_c; from += most)
        by_sums(&c, w + from * c.taps, from, mg_min(most, p->out_c - from));
}

enum { PART = 128 }; /* input channels at most, of which some train: for widened weights of eight channels */

/* Where the first channel of a pair has its trained weights. */
static void places_of(uint8_t *places, const int32_t *index, int32_t trained) {
    static const uint8_t order[] = {0, 4, 1, 5}; /* mg_widen_pairs */
    for (int32_t j = 0; j < trained; j++)
        places[j] = (uint8_t)(2 * (index[j] & ~3) + order[index[j] & 3]);
}

/* Merged weights of as many channels as fit, widened; behind the windows, which channels train. */
MG_RARE void merged(const product *c, const int8_t *part, const int32_t *index, int32_t trained) {
    const int32_t in_c = c->taps, before = 2 * in_c + (trained + 3) / 4;
    const int32_t most = (c->words - before) * 2 / in_c & -CHANNELS;
    uint8_t *const places = (uint8_t *)(c->work + 2 * in_c);
    int16_t *const words = (int16_t *)(c->work + before);
    places_of(places, index, trained);
    for (int32_t from = 0; from < c->p->out_c; from += most) {
        const int32_t n = mg_min(most, c->p->out_c - from);
        widen_weights(words, c->w + from * in_c, n, c);
        for (int16_t *row = words; row < words + n * in_c; row += 2 * in_c, part += 2 * trained)
            for (int32_t j = 0; j < trained; j++)
                row[places[j]] = part[j], row[places[j] + 2] = part[trained + j];
        by_pairs(c, 0, words, from, n);
    }
}

void mg_conv2d_part_s8__quads(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                              const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                              const mg_conv_part_params *p) {
    const int32_t in_c = p->conv.in_c, trained = p->trained;
    const product c = all_of(y, mask, work, x, w, b, m, &p->conv);
    if (in_c <= PART && (!mask || p->conv.out_c % CHANNELS == 0)) {
        merged(&c, part, index, trained);
        return;
    }
    int8_t *const rows = (int8_t *)(c.work + window_words(&c) + 2 * 4);
    for (int32_t i = 0; i < p->conv.out_c; i += 2, w += 2 * in_c, part += 2 * trained) {
        mg_merge_row(rows, w, in_c, part, index, trained);
        mg_merge_row(rows + in_c, w + in_c, in_c, part + trained, index, trained);
        by_sums(&c, rows, i, 2);
    }
}
