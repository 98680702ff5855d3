/* Convolution as a matrix product, four pixels at a time. Their windows are widened once, in scratch memory,
 * and meet the weights of all channels; where there are many pixels, so are the weights of as many channels
 * as fit. The windows of a 1x1 convolution are the pixels themselves; those of other kernels are laid out
 * first.
 */
#include "conv_part.h"
#include "geometry.h"
#include "quad.h"
#include "requant.h"

enum {
    CHANNELS = 8, /* at a time at least, for whole bytes of the mask */
    TAPS = 144    /* of a 1x1 convolution at a time, where sums are kept */
};

/* One convolution: `taps` products a sum, `pitch` of them after padding to a multiple of 4. `words` of work:
 * four windows, 2 words a tap, where they are laid out another one, then widened weights, half a word each,
 * or sums, 4 words a channel. */
typedef struct {
    const int8_t *x, *w;
    const int32_t *b, *m;
    int8_t *y;
    uint8_t *mask;
    const mg_conv_params *p;
    int32_t pixels, taps, pitch;
    uint32_t *work;
    int32_t words;
} product;

/* Whether the windows are the pixels themselves. */
static int as_they_lie(const product *c) {
    return mg_pointwise(c->p) && c->taps == c->pitch;
}

/* n bytes, the last word perhaps once more; the empty assembly keeps the compiler from calling memcpy. */
static inline void copy(int8_t *to, const int8_t *from, int32_t n) {
    for (int32_t i = 0; i < n; i += n < 4 ? 1 : 4) {
        const int32_t at = i + 4 <= n ? i : n - 4;
        if (n < 4)
            to[i] = from[i];
        else
            mg_store32(to + at, mg_load32(from + at));
        __asm__("" : "+r"(to));
    }
}

/* Four runs of n bytes, word by word, the last word perhaps once more: `step` apart there, `pitch` here. */
static inline void copy_four(int8_t *to, int32_t pitch, const int8_t *from, int32_t step, int32_t n) {
    for (int32_t i = 0; i < n; i += 4) {
        const int32_t at = i + 4 <= n ? i : n - 4;
        for (int32_t k = 0; k < 4; k++)
            mg_store32(to + k * pitch + at, mg_load32(from + k * step + at));
    }
}

/* Rows first <= ky < last of a window; what lies outside the map reads as the zero point. */
static void lay_one(int8_t *to, const int8_t *x, int32_t at, int32_t first, int32_t last,
                    const mg_conv_params *p) {
    const mg_taps rows = mg_rows(at / p->out_w, p), cols = mg_columns(at % p->out_w, p);
    const int32_t line = p->kernel_w * p->in_c, n = (cols.last - cols.first) * p->in_c;
    if (rows.first > first || rows.last < last || n < line)
        memset(to, p->zero_in, (size_t)((last - first) * line));
    for (int32_t ky = first; ky < last; ky++)
        if (ky >= rows.first && ky < rows.last)
            copy(to + (ky - first) * line + cols.first * p->in_c,
                 x + mg_in_at(rows.at + ky, cols.at + cols.first, p), n);
}

/* Rows first <= ky < last of four windows from pixel `at` on, `pitch` bytes apart. */
static void lay_out(int8_t *to, int32_t pitch, const int8_t *x, int32_t at, int32_t first, int32_t last,
                    const mg_conv_params *p) {
    const int32_t line = p->kernel_w * p->in_c, step = p->stride * p->in_c, ox = at % p->out_w;
    const int32_t left = ox * p->stride - p->pad, right = left + 3 * p->stride + p->kernel_w;
    const int32_t top = at / p->out_w * p->stride - p->pad_top;
    const int inside = top + first >= 0 && top + last <= p->in_h && left >= 0 && right <= p->in_w;
    if (inside && ox + 3 < p->out_w && line >= 4) {
        x += mg_in_at(top + first, left, p);
        for (int32_t ky = first; ky < last; ky++, to += line, x += p->in_w * p->in_c)
            copy_four(to, pitch, x, step, line);
        return;
    }
    for (int32_t k = 0; k < 4; k++)
        lay_one(to + k * pitch, x, at + k, first, last, p);
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

/* Weights of some channels in the order for quads; padded taps weigh nothing. */
static void widen_weights(int16_t *to, const int8_t *w, int32_t channels, const product *c) {
    const int32_t whole = c->taps & ~3;
    for (; channels > 0; channels--, to += c->pitch, w += c->taps) {
        mg_widen_row(to, w, whole);
        if (whole < c->taps)
            mg_widen_four(to + whole, last_of(w, c->taps));
    }
}

/* Channels `from` to from + n - 1 of all pixels, four at a time, the last four perhaps once more. Their
 * weights are `words`, or else int8; `bytes`: room for windows before they are widened. */
static void pixels(const product *c, int8_t *bytes, const int16_t *words, int32_t from, int32_t n) {
    uint32_t *const quads = c->work;
    const mg_conv_params *p = c->p;
    const int32_t out_c = p->out_c, pitch = c->pitch, zero = p->zero_in;
    const int8_t *w = c->w + from * c->taps;
    const int pointwise = as_they_lie(c);
    mg_pixels out = {.out_c = out_c, .zero = p->zero_out, .quads = quads, .mask_row = out_c / 8};
    for (int32_t i = 0; i < c->pixels; i += 4) {
        const int32_t at = mg_min(i, c->pixels - 4);
        if (!pointwise)
            lay_out(bytes, pitch, c->x, at, 0, p->kernel_h, p);
        mg_widen_quads(quads, pointwise ? c->x + at * pitch : bytes, pitch, pitch, zero);
        out.b = c->b + from, out.m = c->m + from, out.y = c->y + at * out_c + from;
        if (c->mask)
            out.mask = c->mask + (at * out_c + from) / 8;
        if (words)
            (c->mask ? mg_pixels_masked_s16 : mg_pixels_s16)(&out, words, pitch, n);
        else
            (c->mask ? mg_pixels_masked_s8 : mg_pixels_s8)(&out, w, pitch, n);
    }
}

static void at_once(const product *c) {
    const int32_t out_c = c->p->out_c, bytes = as_they_lie(c) ? 0 : c->pitch;
    const int32_t room = c->words * 2 - 4 * c->pitch - 2 * bytes, fit = mg_min(out_c, room / c->pitch);
    const int32_t most = fit < out_c ? fit & -CHANNELS : fit;
    const int32_t groups = most ? (out_c + most - 1) / most : 0;
    /* In eighths of an instruction a product and pixel: to widen windows again, weights once; an eighth is
     * won. */
    const int dear = !groups || 9 * (groups - 1) * c->pixels + 12 * out_c > c->pixels * out_c;
    int8_t *const laid = (int8_t *)(c->work + 2 * c->pitch);
    int16_t *const words = (int16_t *)(laid + 4 * bytes);
    if (c->taps % 4 == 0 && dear) {
        pixels(c, laid, 0, 0, out_c);
        return;
    }
    for (int32_t from = 0; from < out_c; from += most) {
        const int32_t n = mg_min(most, out_c - from);
        widen_weights(words, c->w + from * c->taps, n, c);
        pixels(c, laid, words, from, n);
    }
}

static product all_of(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                      const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c, n = p->out_h * p->out_w;
    if (mask)
        mask[(n * p->out_c - 1) / 8] = 0; /* spare bits */
    return (product){x, w, b, m, y, mask, p, n, taps, (taps + 3) & ~3, (uint32_t *)work, p->work};
}

static void requantise(const product *c, int32_t sum, int32_t pixel, int32_t channel) {
    const mg_conv_params *p = c->p;
    const int32_t t = mg_requant(sum, c->m[channel], p->shift, p->zero_out), q = mg_ssat8(t),
                  i = pixel * p->out_c + channel;
    c->y[i] = (int8_t)q;
    if (c->mask)
        c->mask[i >> 3] = (uint8_t)((c->mask[i >> 3] & ~(1 << (i & 7))) | (q == t) << (i & 7));
}

/* Two sums of one window, widened, by rows of int8 that are `taps` apart. */
static __attribute__((noinline)) void two_sums(int32_t *sums, const uint32_t *x, const int8_t *w,
                                               int32_t taps) {
    int32_t a = sums[0], b = sums[1];
    const uint32_t *const end = x + taps / 2;
    do {
        const uint32_t x02 = *x++, x13 = *x++, u = mg_load32(w), v = mg_load32(w + taps);
        a = mg_smlad(x13, mg_sxtb16_ror8(u), mg_smlad(x02, mg_sxtb16(u), a));
        b = mg_smlad(x13, mg_sxtb16_ror8(v), mg_smlad(x02, mg_sxtb16(v), b));
        w += 4;
    } while (x != end);
    sums[0] = a, sums[1] = b;
}

/* The last pixel alone, two channels at a time, where four at a time would make three pixels twice. */
static void last_pixel(const product *c) {
    uint32_t *const x = c->work, zero = mg_both(-c->p->zero_in);
    const int32_t at = c->pixels - 1, taps = c->taps;
    for (int32_t i = 0; i < taps; i += 4) {
        const uint32_t v = mg_load32(c->x + at * taps + i);
        x[i / 2] = mg_sxtab16(zero, v), x[i / 2 + 1] = mg_sxtab16_ror8(zero, v);
    }
    for (int32_t k = 0; k < c->p->out_c; k += 2) {
        int32_t sums[] = {c->b[k], c->b[k + 1]};
        two_sums(sums, x, c->w + k * taps, taps);
        requantise(c, sums[0], at, k);
        requantise(c, sums[1], at, k + 1);
    }
}

/* Part `i` of the taps of four pixels: a row of the windows, or some input channels. */
typedef struct {
    int32_t from, n;
} part;

static part part_of(int32_t i, const product *c) {
    const int32_t line = c->p->kernel_w * c->p->in_c, n = mg_pointwise(c->p) ? TAPS : line;
    return (part){i * n, mg_min(n, c->taps - i * n)};
}

static void widen_part(uint32_t *quads, int32_t i, part t, int32_t at, const product *c) {
    const mg_conv_params *p = c->p;
    int8_t *bytes = (int8_t *)(quads + 2 * t.n);
    if (mg_pointwise(p)) {
        mg_widen_quads(quads, c->x + at * c->taps + t.from, c->taps, t.n, p->zero_in);
        return;
    }
    lay_out(bytes, t.n, c->x, at, i, i + 1, p);
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
        for (int32_t j = 0; j < 4 * n; j++)
            requantise(c, sums[j / 4][j % 4], at + j % 4, from + j / 4);
    }
}

void mg_conv2d_s8__quads(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    product c = all_of(y, mask, work, x, w, b, m, p);
    if (as_they_lie(&c) && c.pixels % 4 == 1 && p->out_c % 2 == 0 && c.taps <= 2 * c.words) {
        last_pixel(&c);
        c.pixels--;
    }
    const int tight = c.taps == c.pitch && c.words < (as_they_lie(&c) ? 2 : 3) * c.pitch;
    if (mg_quads_at_once(p, mask) && !tight) {
        at_once(&c);
        return;
    }
    const int32_t most = (c.words - window_words(&c)) / 4;
    for (int32_t from = 0; from < p->out_c; from += most)
        by_sums(&c, w + from * c.taps, from, mg_min(most, p->out_c - from));
}

enum { PART = 128 }; /* input channels at most, of which some train: for widened weights of eight channels */

/* Where widened rows have their trained weights. */
static void places_of(uint8_t *places, const int32_t *index, int32_t trained) {
    static const uint8_t order[] = {0, 2, 1, 3}; /* in which SXTB16 widens four */
    for (int32_t j = 0; j < trained; j++)
        places[j] = (uint8_t)((index[j] & ~3) + order[index[j] & 3]);
}

/* Merged weights of as many channels as fit, widened; behind the windows, which channels train. */
static void merged(const product *c, const int8_t *part, const int32_t *index, int32_t trained) {
    const int32_t in_c = c->taps, before = 2 * in_c + (trained + 3) / 4;
    const int32_t most = (c->words - before) * 2 / in_c & -CHANNELS;
    uint8_t *const places = (uint8_t *)(c->work + 2 * in_c);
    int16_t *const words = (int16_t *)(c->work + before);
    places_of(places, index, trained);
    for (int32_t from = 0; from < c->p->out_c; from += most) {
        const int32_t n = mg_min(most, c->p->out_c - from);
        widen_weights(words, c->w + from * in_c, n, c);
        for (int16_t *row = words; row < words + n * in_c; row += in_c, part += trained)
            for (int32_t j = 0; j < trained; j++)
                row[places[j]] = part[j];
        pixels(c, 0, words, from, n);
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
