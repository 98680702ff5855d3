/* Forward convolutions: the portable loops, and the choice among the variants. */
#include "conv.h"

#include "geometry.h"
#include "requant.h"

/* sum (x - zero) * w over n contiguous products */
static int32_t dot(const int8_t *x, const int8_t *w, int32_t n, int32_t zero) {
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        const int16_t a = (int16_t)(x[i] - zero), b = w[i];
        sum += a * b;
    }
    return sum;
}

void mg_put_s8(int8_t *y, uint8_t *mask, int32_t i, int32_t acc, int32_t m, const mg_conv_params *p) {
    const int32_t t = mg_requant(acc, m, p->shift, p->zero_out), q = mg_ssat8(t);
    y[i] = (int8_t)q;
    if (mask)
        mask[i >> 3] = (uint8_t)((mask[i >> 3] & ~(1 << (i & 7))) | (q == t) << (i & 7));
}

/* One output: rows of a window are contiguous in x and in w, w being [KH][KW][CI] of one channel. */
static int32_t window(const int8_t *x, const int8_t *w, mg_taps rows, mg_taps cols, const mg_conv_params *p) {
    int32_t sum = 0, n = (cols.last - cols.first) * p->in_c;
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        sum += dot(x + mg_in_at(rows.at + ky, cols.at + cols.first, p),
                   w + (ky * p->kernel_w + cols.first) * p->in_c, n, p->zero_in);
    return sum;
}

MG_RARE void by_windows(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                        const int32_t *m, const mg_conv_params *p) {
    const int32_t per_channel = p->kernel_h * p->kernel_w * p->in_c;
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox++) {
            mg_taps rows = mg_rows(oy, p), cols = mg_columns(ox, p);
            for (int32_t c = 0; c < p->out_c; c++)
                mg_put_s8(y, mask, mg_out_at(oy, ox, p) + c,
                          b[c] + window(x, w + c * per_channel, rows, cols, p), m[c], p);
        }
}

void mg_conv2d_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w, const int32_t *b,
                  const int32_t *m, const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_matrix(p))
        mg_conv2d_s8__wide(y, mask, x, w, b, m, p);
    else if (MG_FAST && p->work && mg_quads(p, mask))
        mg_conv2d_s8__quads(y, mask, work, x, w, b, m, p);
    else if (MG_FAST && p->work && mg_pointwise(p) && p->in_c % 4 == 0 && p->out_c % 2 == 0)
        mg_conv2d_s8__pixel(y, mask, work, x, w, b, m, 0, p);
    else
        by_windows(y, mask, x, w, b, m, p);
}

/* One output of one channel; x: pixels `step` apart. */
static int32_t depthwise_window(const int8_t *x, int32_t step, const int8_t *w, mg_taps rows, mg_taps cols,
                                const mg_conv_params *p) {
    int32_t sum = 0;
    for (int32_t ky = rows.first; ky < rows.last; ky++)
        for (int32_t kx = cols.first; kx < cols.last; kx++)
            sum += (x[((rows.at + ky) * p->in_w + cols.at + kx) * step] - p->zero_in) *
                   w[(ky * p->kernel_w + kx) * p->in_c];
    return sum;
}

/* One channel, copied first where there is room: y may then lie over x. */
MG_RARE void depthwise_channel(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                               const int32_t *b, const int32_t *m, int32_t c, const mg_conv_params *p) {
    const int32_t pixels = p->in_h * p->in_w, small = pixels <= 4 * p->work, step = small ? 1 : p->in_c;
    int8_t *const plane = (int8_t *)work;
    for (int32_t i = 0; small && i < pixels; i++)
        plane[i] = x[i * p->in_c + c];
    for (int32_t i = 0; i < p->out_h * p->out_w; i++) {
        const mg_taps rows = mg_rows(i / p->out_w, p), cols = mg_columns(i % p->out_w, p);
        const int32_t sum = depthwise_window(small ? plane : x + c, step, w + c, rows, cols, p);
        mg_put_s8(y, mask, i * p->out_c + c, b[c] + sum, m[c], p);
    }
}

MG_RARE void depthwise(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                       const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t c = 0; c < p->out_c; c++)
        depthwise_channel(y, mask, work, x, w, b, m, c, p);
}

void mg_depthwise_conv2d_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                            const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_depthwise(p)) {
        mg_depthwise_conv2d_s8__wide(y, mask, x, w, b, m, p);
        return;
    }
    const int fast = MG_FAST && p->work && mg_usual_depthwise(p) && p->shift == 0;
    (fast ? mg_depthwise_conv2d_s8__4 : depthwise)(y, mask, work, x, w, b, m, p);
}
