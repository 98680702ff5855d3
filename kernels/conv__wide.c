/* Convolutions and their gradients as products of matrices, for machines with wide vectors and a stack of
 * megabytes. */
#include "conv.h"

#if MG_WIDE

#include "wide.h"

/* Pixels laid out at once; in weight gradients: no more than 256, which an int32 can sum. */
enum { BLOCK = 64, FLUSH = 128 };

static int32_t taps_of(const mg_conv_params *p) {
    return p->kernel_h * p->kernel_w;
}

/* w [columns][n] -> panels of w transposed. */
static void transpose(mg_lanes16 *b, const int8_t *w, int32_t columns, int32_t n) {
    int16_t *to = (int16_t *)b;
    for (int32_t j = 0; j < mg_round_up(columns, MG_LANES); j++)
        for (int32_t k = 0; k < n; k++)
            to[(j / MG_LANES * n + k) * MG_LANES + j % MG_LANES] = j < columns ? w[j * n + k] : 0;
}

/* The window of output pixel i. */
static void lay_window(int32_t *a, const int8_t *x, int32_t i, const mg_conv_params *p) {
    mg_taps rows = mg_rows(i / p->out_w, p), cols = mg_columns(i % p->out_w, p);
    int32_t width = p->kernel_w * p->in_c, n = (cols.last - cols.first) * p->in_c;
    memset(a, 0, (size_t)(p->kernel_h * width) * sizeof *a);
    for (int32_t ky = rows.first; ky < rows.last; ky++) {
        const int8_t *from = x + mg_in_at(rows.at + ky, cols.at + cols.first, p);
        int32_t *to = a + ky * width + cols.first * p->in_c;
        for (int32_t k = 0; k < n; k++)
            to[k] = from[k] - p->zero_in;
    }
}

static void lay_windows(int32_t *a, const int8_t *x, int32_t from, int32_t n, const mg_conv_params *p) {
    int32_t size = taps_of(p) * p->in_c;
    for (int32_t i = 0; mg_pointwise(p) && i < n * size; i++)
        a[i] = x[from * size + i] - p->zero_in;
    for (int32_t i = 0; !mg_pointwise(p) && i < n; i++)
        lay_window(a + i * size, x, from + i, p);
    memset(a + n * size, 0, (size_t)((mg_round_up(n, MG_ROWS) - n) * size) * sizeof *a);
}

void mg_conv2d_s8__wide(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                        const int32_t *m, const mg_conv_params *p) {
    const int32_t size = taps_of(p) * p->in_c, channels = p->out_c, pixels = p->out_h * p->out_w;
    int32_t a[BLOCK * size], sum[BLOCK * channels + MG_LANES];
    mg_lanes16 panels[mg_round_up(channels, MG_LANES) / MG_LANES * size];
    memset(sum, 0, sizeof sum);
    transpose(panels, w, channels, size);
    for (int32_t i = 0; i < pixels; i += BLOCK) {
        int32_t n = mg_min(BLOCK, pixels - i), at = i * channels;
        lay_windows(a, x, i, n, p);
        mg_product(sum, (mg_left){a, size, 1}, panels, n, size, channels);
        mg_activate(y + at, mask ? mask + at / 8 : 0, sum, b, m, n, p);
    }
}

/* Of the outputs that read input pixel i all da, tap by tap, 0 where there is none. */
static void lay_readers(int32_t *a, const int16_t *da, int32_t i, const mg_conv_params *p) {
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++, a += p->out_c) {
            int32_t oy = mg_reader(i / p->in_w, ky, p->out_h, p),
                    ox = mg_reader(i % p->in_w, kx, p->out_w, p);
            const int16_t *from = da + (oy < 0 || ox < 0 ? 0 : mg_out_at(oy, ox, p));
            for (int32_t c = 0; c < p->out_c; c++)
                a[c] = oy < 0 || ox < 0 ? 0 : from[c];
        }
}

void mg_conv2d_dx_s16__wide(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                            mg_scale *dx_scale, const mg_conv_params *p) {
    const int32_t taps = taps_of(p), size = taps * p->out_c, channels = p->in_c, pixels = p->in_h * p->in_w;
    int32_t exp = da_scale->exp + p->offset, a[BLOCK * size], sum[BLOCK * channels];
    mg_lanes16 panels[mg_round_up(channels, MG_LANES) / MG_LANES * size];
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t k = 0; k < size; k++)
        for (int32_t j = 0; j < channels; j += MG_LANES)
            mg_load8(panels + j / MG_LANES * size + k,
                     w + (k % p->out_c * taps + k / p->out_c) * channels + j, channels - j);
    for (int32_t i = 0; i < pixels; i += BLOCK) {
        int32_t n = mg_min(BLOCK, pixels - i);
        for (int32_t k = 0; k < n; k++)
            lay_readers(a + k * size, da, i + k, p);
        memset(a + n * size, 0, (size_t)((mg_round_up(n, MG_ROWS) - n) * size) * sizeof *a);
        mg_product(sum, (mg_left){a, size, 1}, panels, n, size, channels);
        mg_renorm_all(&r, dx + i * channels, sum, n * channels);
    }
    mg_renorm_end(&r, dx_scale, exp, da_scale->bits);
}

void mg_clamp_dx_s16__wide(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                           const mg_clamp_params *p) {
    const int32_t channels = p->c, all = mg_round_up(channels, MG_LANES), count = p->n * channels;
    uint8_t flags[BLOCK * channels + MG_LANES];
    mg_lanes32 mult[all / MG_LANES];
    mg_pad32((int32_t *)mult, m, channels);
    memset(flags, 0, sizeof flags);
    for (int32_t from = 0; from < count; from += BLOCK * channels) {
        const int32_t n = mg_min(BLOCK * channels, count - from);
        mg_unpack_flags(flags, mask + from / 8, n);
        for (int32_t i = 0; i < n; i += channels)
            for (int32_t c = 0; c < channels; c += MG_LANES) {
                mg_lanes16 lanes;
                mg_load16(&lanes, dy + from + i + c, channels - c);
                mg_clamp_lanes(&lanes, flags + i + c, mult + c / MG_LANES);
                mg_store16(da + from + i + c, &lanes, channels - c);
            }
    }
}

/* n windows from that of output pixel `from` on, each a row of a right matrix, into its panels. */
static void lay_panels(mg_lanes16 *b, const int8_t *x, int32_t from, int32_t n, const mg_conv_params *p) {
    const int32_t size = taps_of(p) * p->in_c, all = mg_round_up(size, MG_LANES);
    mg_lanes32 row[all / MG_LANES];
    memset(row, 0, sizeof row);
    for (int32_t i = 0; i < n; i++) {
        lay_window((int32_t *)row, x, from + i, p);
        for (int32_t j = 0; j < all / MG_LANES; j++)
            b[j * n + i] = __builtin_convertvector(row[j], mg_lanes16);
    }
}

/* da as int32, channels up to a multiple of MG_ROWS. */
static void widen(int32_t *a, const int16_t *da, int32_t n, int32_t channels) {
    const int32_t all = mg_round_up(channels, MG_ROWS);
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < all; c++)
            a[i * all + c] = c < channels ? da[i * channels + c] : 0;
}

/* sum[co][tap][ci] over output pixels `from` to `from` + n - 1. */
static void sum_products(int32_t *sum, const int16_t *da, const int8_t *x, int32_t from, int32_t n,
                         const mg_conv_params *p) {
    const int32_t rows = mg_round_up(p->out_c, MG_ROWS), size = taps_of(p) * p->in_c;
    int32_t a[n * rows];
    mg_lanes16 b[n * mg_round_up(size, MG_LANES) / MG_LANES];
    widen(a, da + from * p->out_c, n, p->out_c);
    lay_panels(b, x, from, n, p);
    mg_product(sum, (mg_left){a, 1, rows}, b, p->out_c, n, size);
}

void mg_conv2d_dw_s32__wide(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    const int32_t count = p->out_c * taps_of(p) * p->in_c, pixels = p->out_h * p->out_w;
    if (pixels <= FLUSH) {
        sum_products(dw, da, x, 0, pixels, p);
        return;
    }
    int64_t total[count];
    memset(total, 0, sizeof total);
    for (int32_t i = 0; i < pixels; i += FLUSH) {
        sum_products(dw, da, x, i, mg_min(FLUSH, pixels - i), p);
        for (int32_t k = 0; k < count; k++)
            total[k] += dw[k];
    }
    mg_saturate_all(dw, total, count);
}

#endif
