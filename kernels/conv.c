#include "conv.h"

#include "geometry.h"
#include "requant.h"

/* Channels that the gradients gather at once: their sums live on the stack. */
enum { BLOCK = 32 };

static int pointwise(const mg_conv_params *p) {
    return p->kernel_h * p->kernel_w * p->stride == 1 && p->pad == 0;
}

static int usual_depthwise(const mg_conv_params *p) {
    int k = p->kernel_w, square = p->kernel_h == k && (k == 3 || k == 5 || k == 7);
    return square && (p->stride == 1 || p->stride == 2) && p->in_c % 4 == 0;
}

/* sum (x - zero) * w over n contiguous products */
static int32_t dot(const int8_t *x, const int8_t *w, int32_t n, int32_t zero) {
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (x[i] - zero) * w[i];
    return sum;
}

static void put(int8_t *y, uint8_t *mask, int32_t i, int32_t acc, int32_t m, const mg_conv_params *p) {
    int32_t t = mg_requant(acc, m, p->shift, p->zero_out), q = mg_ssat8(t);
    y[i] = (int8_t)q;
    if (mask)
        mg_put_bit(mask, i, q == t);
}

/* ---- forward ---- */

/* One output: rows of a window are contiguous in x and in w, w being [KH][KW][CI] of one channel. */
static int32_t window(const int8_t *x, const int8_t *w, mg_taps rows, mg_taps cols, const mg_conv_params *p) {
    int32_t sum = 0, n = (cols.last - cols.first) * p->in_c;
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        sum += dot(x + mg_in_at(rows.at + ky, cols.at + cols.first, p),
                   w + (ky * p->kernel_w + cols.first) * p->in_c, n, p->zero_in);
    return sum;
}

void mg_conv2d_s8(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                  const int32_t *m, const mg_conv_params *p) {
    int32_t per_channel = p->kernel_h * p->kernel_w * p->in_c;
    int pairs = p->out_c % 2 == 0 && p->shift == 0;
    if (MG_FAST && pairs && pointwise(p) && p->in_c % 4 == 0 && p->in_c <= 640) {
        mg_conv2d_s8__1x1(y, mask, x, w, b, m, p);
        return;
    }
    if (MG_FAST && pairs && per_channel <= 512) {
        mg_conv2d_s8__laid_out(y, mask, x, w, b, m, p);
        return;
    }
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox++) {
            mg_taps rows = mg_rows(oy, p), cols = mg_columns(ox, p);
            for (int32_t c = 0; c < p->out_c; c++)
                put(y, mask, mg_out_at(oy, ox, p) + c, b[c] + window(x, w + c * per_channel, rows, cols, p),
                    m[c], p);
        }
}

/* acc[c] += sum over one window of (x - zero) * w, n channels from x and w on */
static void depthwise_window(int32_t *acc, const int8_t *x, const int8_t *w, int32_t n, mg_taps rows,
                             mg_taps cols, const mg_conv_params *p) {
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        for (int32_t kx = cols.first; kx < cols.last; kx++) {
            const int8_t *xs = x + mg_in_at(rows.at + ky, cols.at + kx, p);
            const int8_t *ws = w + (ky * p->kernel_w + kx) * p->in_c;
            for (int32_t c = 0; c < n; c++)
                acc[c] += (xs[c] - p->zero_in) * ws[c];
        }
}

static void depthwise_pixel(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                            const int32_t *m, int32_t oy, int32_t ox, const mg_conv_params *p) {
    for (int32_t from = 0; from < p->out_c; from += BLOCK) {
        int32_t acc[BLOCK], n = mg_min(BLOCK, p->out_c - from);
        memcpy(acc, b + from, (size_t)n * sizeof *acc);
        depthwise_window(acc, x + from, w + from, n, mg_rows(oy, p), mg_columns(ox, p), p);
        for (int32_t c = 0; c < n; c++)
            put(y, mask, mg_out_at(oy, ox, p) + from + c, acc[c], m[from + c], p);
    }
}

void mg_depthwise_conv2d_s8(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                            const int32_t *m, const mg_conv_params *p) {
    if (MG_FAST && usual_depthwise(p) && p->shift == 0) {
        mg_depthwise_conv2d_s8__4(y, mask, x, w, b, m, p);
        return;
    }
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox++)
            depthwise_pixel(y, mask, x, w, b, m, oy, ox, p);
}

/* ---- gradient of the input ---- */

/* Eight elements, one byte of mask. */
static void clamp8(int16_t *da, const int16_t *dy, uint32_t bits, const int32_t *m) {
    for (int i = 0; i < 8; i++)
        da[i] = (int16_t)(mg_scale_by(dy[i], m[i]) & -(int32_t)(bits >> i & 1));
}

void mg_clamp_dx_s16(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                     const mg_clamp_params *p) {
    const int32_t n = p->n, channels = p->c;
    for (int32_t i = 0; i < n; i++, da += channels, dy += channels) {
        int32_t c = 0, at = i * channels;
        for (; channels % 8 == 0 && c < channels; c += 8)
            clamp8(da + c, dy + c, mask[(at + c) >> 3], m + c);
        for (; c < channels; c++)
            da[c] = mg_bit(mask, at + c) ? mg_scale_by(dy[c], m[c]) : 0;
    }
}

/* The output coordinate that reads input coordinate `in` with tap k, or -1. */
static int32_t reader(int32_t in, int32_t k, int32_t size, const mg_conv_params *p) {
    int32_t at = in + p->pad - k;
    return at >= 0 && at % p->stride == 0 && at / p->stride < size ? at / p->stride : -1;
}

/* acc[i] += sum over outputs c of da[c] * w[c][i]; from one w[c] to the next it is `step` */
static void mix(int32_t *acc, const int16_t *da, const int8_t *w, int32_t n, int32_t step,
                const mg_conv_params *p) {
    for (int32_t c = 0; c < p->out_c; c++, w += step)
        for (int32_t i = 0; i < n; i++)
            acc[i] += da[c] * w[i];
}

static void multiply(int32_t *acc, const int16_t *da, const int8_t *w, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        acc[i] += da[i] * w[i];
}

/* n sums of input pixel (y, x), channels `from` on. */
static void gather(int32_t *acc, const int16_t *da, const int8_t *w, int32_t from, int32_t n, int32_t y,
                   int32_t x, int depthwise, const mg_conv_params *p) {
    int32_t per_channel = p->kernel_h * p->kernel_w * p->in_c;
    memset(acc, 0, BLOCK * sizeof *acc);
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++) {
            int32_t oy = reader(y, ky, p->out_h, p), ox = reader(x, kx, p->out_w, p);
            const int8_t *tap = w + (ky * p->kernel_w + kx) * p->in_c + from;
            if (oy < 0 || ox < 0)
                continue;
            if (depthwise)
                multiply(acc, da + mg_out_at(oy, ox, p) + from, tap, n);
            else
                mix(acc, da + mg_out_at(oy, ox, p), tap, n, per_channel, p);
        }
}

static void input_gradient(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                           mg_scale *dx_scale, int depthwise, const mg_conv_params *p) {
    int32_t acc[BLOCK], exp = da_scale->exp + p->offset;
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t i = 0; i < p->in_h * p->in_w; i++)
        for (int32_t from = 0; from < p->in_c; from += BLOCK) {
            int32_t n = mg_min(BLOCK, p->in_c - from);
            gather(acc, da, w, from, n, i / p->in_w, i % p->in_w, depthwise, p);
            for (int32_t c = 0; c < n; c++)
                *dx++ = mg_renorm_one(&r, acc[c]);
        }
    mg_renorm_end(&r, dx_scale, exp);
}

void mg_conv2d_dx_s16(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                      mg_scale *dx_scale, const mg_conv_params *p) {
    int fits = p->in_c % 2 == 0 && p->out_c % 4 == 0 && p->out_c <= 640;
    if (MG_FAST && pointwise(p) && fits)
        mg_conv2d_dx_s16__1x1(dx, da, w, da_scale, dx_scale, p);
    else
        input_gradient(dx, da, w, da_scale, dx_scale, 0, p);
}

void mg_depthwise_conv2d_dx_s16(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                                mg_scale *dx_scale, const mg_conv_params *p) {
    if (MG_FAST && usual_depthwise(p))
        mg_depthwise_conv2d_dx_s16__4(dx, da, w, da_scale, dx_scale, p);
    else
        input_gradient(dx, da, w, da_scale, dx_scale, 1, p);
}

/* ---- gradients of weights and bias ---- */

/* Sums of one tap over n channels: int32 for up to FLUSH pixels, then int64. */
enum { FLUSH = 256 };
typedef struct {
    int64_t total[BLOCK];
    int32_t part[BLOCK], pixels;
} sums;

static void flush(sums *s) {
    for (int32_t i = 0; i < BLOCK; i++)
        s->total[i] += s->part[i];
    memset(s->part, 0, sizeof s->part);
    s->pixels = 0;
}

static void finish(int32_t *dw, sums *s, int32_t n) {
    flush(s);
    for (int32_t i = 0; i < n; i++) {
        int64_t t = s->total[i];
        dw[i] = t > INT32_MAX ? INT32_MAX : t < INT32_MIN ? INT32_MIN : (int32_t)t;
    }
}

/* One pixel: `step` is 0 where one da serves all n channels, 1 where each has its own. */
static void add_pixel(sums *s, const int16_t *da, int32_t step, const int8_t *x, int32_t n, int32_t zero) {
    if (s->pixels++ == FLUSH)
        flush(s);
    for (int32_t i = 0; i < n; i++)
        s->part[i] += da[i * step] * (x[i] - zero);
}

/* dw[i] = sum over output pixels of da * (x - zero), tap (ky, kx), n <= BLOCK channels from da, x and dw on.
 */
static void tap_gradient(int32_t *dw, const int16_t *da, int32_t step, const int8_t *x, int32_t n, int32_t ky,
                         int32_t kx, const mg_conv_params *p) {
    sums s;
    memset(&s, 0, sizeof s);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox++) {
            int32_t iy = oy * p->stride - p->pad + ky, ix = ox * p->stride - p->pad + kx;
            if (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w)
                add_pixel(&s, da + mg_out_at(oy, ox, p), step, x + mg_in_at(iy, ix, p), n, p->zero_in);
        }
    finish(dw, &s, n);
}

void mg_conv2d_dw_s32(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    if (MG_FAST && pointwise(p) && p->in_c % 2 == 0 && p->out_c % 2 == 0 && p->in_h * p->in_w <= 256) {
        mg_conv2d_dw_s32__1x1(dw, da, x, p);
        return;
    }
    for (int32_t co = 0; co < p->out_c; co++)
        for (int32_t ky = 0; ky < p->kernel_h; ky++)
            for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c)
                for (int32_t from = 0; from < p->in_c; from += BLOCK)
                    tap_gradient(dw + from, da + co, 0, x + from, mg_min(BLOCK, p->in_c - from), ky, kx, p);
}

void mg_depthwise_conv2d_dw_s32(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c)
            for (int32_t c = 0; c < p->in_c; c += BLOCK)
                tap_gradient(dw + c, da + c, 1, x + c, mg_min(BLOCK, p->in_c - c), ky, kx, p);
}

void mg_conv2d_db_s32(int32_t *db, const int16_t *da, const mg_clamp_params *p) {
    const int32_t n = p->n, channels = p->c;
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4) {
        int32_t sum[4] = {0, 0, 0, 0};
        for (int32_t i = 0; i < n; i++)
            for (int k = 0; k < 4; k++)
                sum[k] += da[i * channels + c + k];
        memcpy(db + c, sum, sizeof sum);
    }
    for (; c < channels; c++) {
        db[c] = 0;
        for (int32_t i = 0; i < n; i++)
            db[c] += da[i * channels + c];
    }
}
