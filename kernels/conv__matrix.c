/* Convolution as a matrix product, by tiles of two channels and two pixels. The windows of a 1x1 convolution
 * are the pixels themselves; those of other kernels are laid out one after the other first. */
#include "conv_part.h"
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

/* Up to three weights, zeros after them. */
static uint32_t load_few(const int8_t *w, int32_t n) {
    uint32_t v = 0;
    for (int32_t i = 0; i < n; i++)
        v |= (uint32_t)(uint8_t)w[i] << 8 * i;
    return v;
}

/* Widen four weights of each channel; add them up in the tile's pa and pb. */
static inline void widen4(mg_words *t, uint32_t a, uint32_t b, mg_tile *sums) {
    const uint32_t ones = 0x00010001;
    t[0] = (mg_words){mg_sxtb16(a), mg_sxtb16(b)}, t[1] = (mg_words){mg_sxtb16_ror8(a), mg_sxtb16_ror8(b)};
    sums->pa = mg_smlad(t[0].a, ones, mg_smlad(t[1].a, ones, sums->pa));
    sums->pb = mg_smlad(t[0].b, ones, mg_smlad(t[1].b, ones, sums->pb));
}

/* The same of n weights, n % 4 == 0; those of the second channel lie `taps` after those of the first. */
static inline mg_words *widen_all(mg_words *t, const int8_t *w, int32_t n, int32_t taps, mg_tile *sums) {
#if MG_DSP
    const int8_t *end = w + n;
    uint32_t a, b, u, v;
    if (n > 0)
        __asm__ volatile("1:                                   \n\t"
                         "ldr    %[b], [%[w], %[taps]]         \n\t"
                         "ldr    %[a], [%[w]], #4              \n\t"
                         "sxtb16 %[u], %[a]                    \n\t"
                         "sxtb16 %[v], %[b]                    \n\t"
                         "strd   %[u], %[v], [%[t]], #16       \n\t"
                         "smlad  %[pa], %[u], %[ones], %[pa]   \n\t"
                         "smlad  %[pb], %[v], %[ones], %[pb]   \n\t"
                         "sxtb16 %[u], %[a], ror #8            \n\t"
                         "sxtb16 %[v], %[b], ror #8            \n\t"
                         "strd   %[u], %[v], [%[t], #-8]       \n\t"
                         "smlad  %[pa], %[u], %[ones], %[pa]   \n\t"
                         "smlad  %[pb], %[v], %[ones], %[pb]   \n\t"
                         "cmp    %[w], %[end]                  \n\t"
                         "bne    1b"
                         : [t] "+r"(t), [w] "+r"(w), [pa] "+r"(sums->pa), [pb] "+r"(sums->pb), [a] "=&r"(a),
                           [b] "=&r"(b), [u] "=&r"(u), [v] "=&r"(v)
                         : [taps] "r"(taps), [end] "r"(end), [ones] "r"(0x00010001)
                         : "cc", "memory");
#else
    for (int32_t i = 0; i < n; i += 4, t += 2)
        widen4(t, mg_load32(w + i), mg_load32(w + taps + i), sums);
#endif
    return t;
}

/* Widen the weights of two channels and fold the zero point into their biases. */
static pair widen(mg_words *t, const int8_t *w, int32_t taps, const int32_t *b, const int32_t *m,
                  const mg_conv_params *p) {
    mg_tile s = {0, 0, 0, 0};
    const int32_t i = taps & ~3;
    t = widen_all(t, w, i, taps, &s);
    if (i < taps)
        widen4(t, load_few(w + i, taps - i), load_few(w + taps + i, taps - i), &s);
    return (pair){b[0] - p->zero_in * s.pa, b[1] - p->zero_in * s.pb, m[0], m[1], p->zero_out};
}

/* Requantise two channels of two pixels; p, q: indices of the pixels' first elements. */
MG_INLINE void put(int8_t *y, uint8_t *mask, int32_t p, int32_t q, mg_tile t, const pair *k) {
    const int32_t pa = mg_smmlar(t.pa, k->ma, k->zero), pb = mg_smmlar(t.pb, k->mb, k->zero);
    const int32_t qa = mg_smmlar(t.qa, k->ma, k->zero), qb = mg_smmlar(t.qb, k->mb, k->zero);
    int8_t *yp = y + p, *yq = y + q;
    yp[0] = (int8_t)mg_ssat8(pa), yp[1] = (int8_t)mg_ssat8(pb);
    yq[0] = (int8_t)mg_ssat8(qa), yq[1] = (int8_t)mg_ssat8(qb);
    if (mask) {
        mg_put_bits(mask, p, mg_flag_equal(mg_flag_equal(0, pa, mg_ssat8(pa), 1), pb, mg_ssat8(pb), 2));
        mg_put_bits(mask, q, mg_flag_equal(mg_flag_equal(0, qa, mg_ssat8(qa), 1), qb, mg_ssat8(qb), 2));
    }
}

/* Two channels of all windows, two at a time; i: index of the first element. An odd last one is done twice.
 */
MG_INLINE void column(int8_t *y, uint8_t *mask, int32_t i, const windows *v, const mg_words *w,
                      const pair *of, int32_t out_c) {
    const pair k = *of;
    const int8_t *x = v->x;
    const int32_t n = (v->taps + 3) & ~3, pitch = v->pitch;
    for (int32_t left = v->count; left > 0; left -= 2, x += 2 * pitch, i += 2 * out_c) {
        int32_t odd = left == 1;
        mg_tile t = mg_tile_s8((mg_tile){k.a, k.b, k.a, k.b}, x, w, n, odd ? 0 : pitch);
        put(y, mask, i, odd ? i : i + out_c, t, &k);
    }
}

/* Functions of their own, as the tile leaves few registers. */
static void __attribute__((noinline))
plain_column(int8_t *y, int32_t i, const windows *v, const mg_words *w, const pair *k, int32_t out_c) {
    column(y, 0, i, v, w, k, out_c);
}

static void __attribute__((noinline)) masked_column(int8_t *y, uint8_t *mask, int32_t i, const windows *v,
                                                    const mg_words *w, const pair *k, int32_t out_c) {
    column(y, mask, i, v, w, k, out_c);
}

static inline void either(int8_t *y, uint8_t *mask, int32_t i, const windows *v, const mg_words *w,
                          const pair *k, int32_t out_c) {
    if (mask)
        masked_column(y, mask, i, v, w, k, out_c);
    else
        plain_column(y, i, v, w, k, out_c);
}

static void product(int8_t *y, uint8_t *mask, const windows *v, const int8_t *w, const int32_t *b,
                    const int32_t *m, const mg_conv_params *p) {
    mg_words words[MG_TILE_MAX / 2];
    for (int32_t c = 0; c < p->out_c; c += 2) {
        const pair k = widen(words, w + c * v->taps, v->taps, b + c, m + c, p);
        either(y, mask, v->at + c, v, words, &k, p->out_c);
    }
}

void mg_conv2d_s8__1x1(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                       const int32_t *m, const mg_conv_params *p) {
    const windows v = {x, p->out_h * p->out_w, p->in_c, p->in_c, 0};
    mg_clear_bits(mask, v.count * p->out_c);
    product(y, mask, &v, w, b, m, p);
}

void mg_conv2d_part_s8__1x1(int8_t *y, int8_t *work, uint8_t *mask, const int8_t *x, const int8_t *w,
                            const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                            const mg_conv_part_params *p) {
    const mg_conv_params *q = &p->conv;
    const int32_t in_c = q->in_c, out_c = q->out_c, trained = p->trained;
    const windows v = {x, q->out_h * q->out_w, in_c, in_c, 0};
    mg_words words[MG_TILE_MAX / 2];
    mg_clear_bits(mask, v.count * out_c);
    for (int32_t c = 0; c < out_c; c += 2, w += 2 * in_c, part += 2 * trained) {
        mg_merge_row(work, w, in_c, part, index, trained);
        mg_merge_row(work + in_c, w + in_c, in_c, part + trained, index, trained);
        const pair k = widen(words, work, in_c, b + c, m + c, q);
        either(y, mask, c, &v, words, &k, out_c);
    }
}

/* A few bytes, four at a time; the empty assembly keeps the compiler from calling memcpy for them. */
static inline void copy(int8_t *to, const int8_t *from, int32_t n) {
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        mg_store32(to, mg_load32(from));
        __asm__("" : "+r"(to));
    }
    for (; n > 0; n--) {
        *to++ = *from++;
        __asm__("" : "+r"(to));
    }
}

/* Copy one window; taps outside the map read as the zero point. */
static void lay_out(int8_t *to, const int8_t *x, int32_t oy, int32_t ox, const mg_conv_params *p) {
    const mg_taps rows = mg_rows(oy, p), cols = mg_columns(ox, p);
    const int32_t line = p->kernel_w * p->in_c, n = (cols.last - cols.first) * p->in_c;
    if (rows.last - rows.first < p->kernel_h || n < line)
        memset(to, p->zero_in, (size_t)(p->kernel_h * line));
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        copy(to + ky * line + cols.first * p->in_c, x + mg_in_at(rows.at + ky, cols.at + cols.first, p), n);
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
