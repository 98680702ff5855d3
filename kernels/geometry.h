/* Which taps of a window lie inside a map, and which shapes have kernels of their own; once for all
 * convolutions. */
#ifndef MG_GEOMETRY_H
#define MG_GEOMETRY_H

#include "conv.h"

/* Taps first <= k < last; `at` is the map's coordinate of tap 0 and may lie outside. */
typedef struct {
    int32_t at, first, last;
} mg_taps;

static inline mg_taps mg_taps_at(int32_t out, int32_t kernel, int32_t size, const mg_conv_params *p) {
    int32_t at = out * p->stride - p->pad;
    return (mg_taps){at, at < 0 ? -at : 0, size - at < kernel ? size - at : kernel};
}

static inline mg_taps mg_rows(int32_t oy, const mg_conv_params *p) {
    return mg_taps_at(oy, p->kernel_h, p->in_h, p);
}

static inline mg_taps mg_columns(int32_t ox, const mg_conv_params *p) {
    return mg_taps_at(ox, p->kernel_w, p->in_w, p);
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

/* What the four-channel kernels take. */
static inline int mg_usual_depthwise(const mg_conv_params *p) {
    int k = p->kernel_w, square = p->kernel_h == k && (k == 3 || k == 5 || k == 7);
    return square && (p->stride == 1 || p->stride == 2) && p->in_c % 4 == 0;
}

static inline int32_t mg_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

#endif
