/* Convolutions and their gradients as products of matrices, for machines with wide vectors and a stack of
 * megabytes. */
#include "conv.h"

#if MG_WIDE

#include "wide.h"

/* Pixels laid out at once; in weight gradients as many as an int32 can sum. */
enum { BLOCK = 64, FLUSH = 256 };

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

/* One row of a right matrix of n columns and k rows, less `zero`, into its panels. */
static void put_row(mg_lanes16 *b, const int8_t *x, int32_t n, int32_t k, int32_t zero) {
    for (int32_t j = 0; j < n; j += MG_LANES, b += k) {
        int16_t row[MG_LANES] = {0};
        for (int32_t l = 0; l < mg_min(MG_LANES, n - j); l++)
            row[l] = (int16_t)(x[j + l] - zero);
        memcpy(b, row, sizeof row);
    }
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
    int32_t a[BLOCK * size], sum[BLOCK * channels];
    mg_lanes16 panels[mg_round_up(channels, MG_LANES) / MG_LANES * size];
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
        put_row(panels + k, w + (k % p->out_c * taps + k / p->out_c) * channels, channels, size, 0);
    for (int32_t i = 0; i < pixels; i += BLOCK) {
        int32_t n = mg_min(BLOCK, pixels - i);
        for (int32_t k = 0; k < n; k++)
            lay_readers(a + k * size, da, i + k, p);
        memset(a + n * size, 0, (size_t)((mg_round_up(n, MG_ROWS) - n) * size) * sizeof *a);
        mg_product(sum, (mg_left){a, size, 1}, panels, n, size, channels);
        mg_renorm_all(&r, dx + i * channels, sum, n * channels);
    }
    mg_renorm_end(&r, dx_scale, exp);
}

/* What tap (ky, kx) of outputs `from` to `from` + n - 1 reads. */
static void lay_tap(mg_lanes16 *b, const int8_t *x, int32_t from, int32_t n, int32_t ky, int32_t kx,
                    const mg_conv_params *p) {
    memset(b, 0, (size_t)(n * mg_round_up(p->in_c, MG_LANES)) * sizeof(int16_t));
    for (int32_t i = 0; i < n; i++) {
        int32_t iy = (from + i) / p->out_w * p->stride - p->pad + ky;
        int32_t ix = (from + i) % p->out_w * p->stride - p->pad + kx;
        if (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w)
            put_row(b + i, x + mg_in_at(iy, ix, p), p->in_c, n, p->zero_in);
    }
}

/* da as int32, channels up to a multiple of MG_ROWS. */
static void widen(int32_t *a, const int16_t *da, int32_t n, int32_t channels) {
    const int32_t all = mg_round_up(channels, MG_ROWS);
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < all; c++)
            a[i * all + c] = c < channels ? da[i * channels + c] : 0;
}

/* One tap: total[co][ci]. */
static void tap_gradient(int64_t *total, const int16_t *da, const int8_t *x, int32_t ky, int32_t kx,
                         const mg_conv_params *p) {
    const int32_t rows = mg_round_up(p->out_c, MG_ROWS), pixels = p->out_h * p->out_w;
    int32_t a[FLUSH * rows], sum[p->out_c * p->in_c];
    mg_lanes16 b[FLUSH * mg_round_up(p->in_c, MG_LANES) / MG_LANES];
    memset(total, 0, (size_t)(p->out_c * p->in_c) * sizeof *total);
    for (int32_t i = 0; i < pixels; i += FLUSH) {
        int32_t n = mg_min(FLUSH, pixels - i);
        widen(a, da + i * p->out_c, n, p->out_c);
        lay_tap(b, x, i, n, ky, kx, p);
        mg_product(sum, (mg_left){a, 1, rows}, b, p->out_c, n, p->in_c);
        for (int32_t k = 0; k < p->out_c * p->in_c; k++)
            total[k] += sum[k];
    }
}

void mg_conv2d_dw_s32__wide(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    int64_t total[p->out_c * p->in_c];
    for (int32_t tap = 0; tap < taps_of(p); tap++) {
        tap_gradient(total, da, x, tap / p->kernel_w, tap % p->kernel_w, p);
        for (int32_t co = 0; co < p->out_c; co++)
            mg_saturate_all(dw + (co * taps_of(p) + tap) * p->in_c, total + co * p->in_c, p->in_c);
    }
}

#endif
