/* Which taps of a window lie inside a map, and which shapes have kernels of their own; once for all
 * convolutions. */
#ifndef MG_GEOMETRY_H
#define MG_GEOMETRY_H

#include "conv.h"

/* Taps first <= k < last; `at` is the map's coordinate of tap 0 and may lie outside. */
typedef struct {
    int32_t at, first, last;
} mg_taps;

static inline mg_taps mg_taps_at(int32_t at, int32_t kernel, int32_t size) {
    return (mg_taps){at, at < 0 ? -at : 0, size - at < kernel ? size - at : kernel};
}

static inline mg_taps mg_rows(int32_t oy, const mg_conv_params *p) {
    return mg_taps_at(oy * p->stride - p->pad_top, p->kernel_h, p->in_h);
}

static inline mg_taps mg_columns(int32_t ox, const mg_conv_params *p) {
    return mg_taps_at(ox * p->stride - p->pad, p->kernel_w, p->in_w);
}

/* Index of the first channel of input pixel (y, x), output pixel (y, x) and tap (ky, kx). */
static inline int32_t mg_in_at(int32_t y, int32_t x, const mg_conv_params *p) {
    return (y * p->in_w + x) * p->in_c;
}

static inline int32_t mg_out_at(int32_t y, int32_t x, const mg_conv_params *p) {
    return (y * p->out_w + x) * p->out_c;
}

/* A matrix product. */
static inline int mg_pointwise(const mg_conv_params *p) {
    return p->kernel_h * p->kernel_w * p->stride == 1 && p->pad == 0;
}

/* Whether the kernels for quads of pixels take windows whole: they and the weights of eight channels are not
 * too long, and the mask is made of whole bytes. */
static inline int mg_quads_at_once(const mg_conv_params *p, const void *mask) {
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c;
    const int fit = taps % 4 ? taps <= 108 && p->out_c % 2 == 0 : mg_pointwise(p) ? taps <= 384 : taps <= 256;
    return fit && p->shift == 0 && (!mask || p->out_c % 8 == 0);
}

/* What the kernels for quads of pixels take. */
static inline int mg_quads(const mg_conv_params *p, const void *mask) {
    const int32_t line = p->kernel_w * p->in_c;
    const int by_rows = line % 4 == 0 && (line <= 192 || mg_pointwise(p));
    return p->out_h * p->out_w >= 4 && (by_rows || mg_quads_at_once(p, mask));
}

/* What the kernels for wide vectors take: their operands lie on the stack, 5 MB at most. */
static inline int mg_wide_matrix(const mg_conv_params *p) {
    int32_t taps = p->kernel_h * p->kernel_w, most = 1 << 11;
    return p->in_c <= most && p->out_c <= most && taps <= 128 && taps * p->in_c <= 2 * most &&
           taps * p->out_c <= 2 * most && taps * (p->in_c + 16) * (p->out_c + 16) <= 1 << 18;
}

static inline int mg_wide_depthwise(const mg_conv_params *p) {
    int32_t pixels = (p->in_h + 2 * p->kernel_h) * (p->in_w + 2 * p->kernel_w + 4 * p->stride);
    int small = p->in_h <= 256 && p->in_w <= 256 && p->kernel_h <= 32 && p->kernel_w <= 32 && p->stride <= 8;
    int padded = p->pad < p->kernel_h && p->pad_top < p->kernel_h && p->pad < p->kernel_w && p->out_w <= 256;
    return small && padded && pixels <= 1 << 15 && p->in_h * p->in_w * p->in_c <= 1 << 19;
}

/* What the four-channel kernels take; the gradient's, if the padding is half the kernel. */
static inline int mg_usual_depthwise(const mg_conv_params *p) {
    int k = p->kernel_w, square = p->kernel_h == k && (k == 3 || k == 5 || k == 7) && p->pad <= k / 2;
    return square && (p->stride == 1 || p->stride == 2) && p->in_c % 4 == 0;
}

/* The output coordinate that reads input coordinate `in` with tap k, or -1. */
static inline int32_t mg_reader(int32_t in, int32_t k, int32_t size, const mg_conv_params *p) {
    int32_t at = in + p->pad - k;
    return at >= 0 && at % p->stride == 0 && at / p->stride < size ? at / p->stride : -1;
}

static inline int32_t mg_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static inline int32_t mg_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}

#endif
