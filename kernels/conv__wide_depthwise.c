/* Depthwise convolution and its gradients for machines with wide vectors: sixteen channels at a time, of
 * which the map is kept as int16 with its padding. */
#include "conv.h"

#if MG_WIDE

#include "wide.h"

/* Outputs whose sums are in registers at once; pixels that an int32 can sum, a row at least. */
enum { TOGETHER = 4, FLUSH = 256 };

/* Where windows of `kernel` taps, `stride` apart, make out_h x out_w outputs. */
typedef struct {
    int32_t out_h, out_w, kernel_h, kernel_w, stride, height, width;
} grid;

static grid grid_of(int32_t out_h, int32_t out_w, int32_t stride, const mg_conv_params *p) {
    int32_t columns = mg_round_up(out_w, TOGETHER);
    return (grid){out_h,
                  out_w,
                  p->kernel_h,
                  p->kernel_w,
                  stride,
                  (out_h - 1) * stride + p->kernel_h,
                  (columns - 1) * stride + p->kernel_w};
}

/* n channels of all pixels of x, from channel 0 of x on; zeros around them. */
static void fill(mg_lanes16 *map, const grid *g, const int8_t *x, int32_t n, const mg_conv_params *p) {
    memset(map, 0, (size_t)(g->height * g->width) * sizeof *map);
    const int32_t rows = mg_min(p->in_h, g->height - p->pad_top),
                  columns = mg_min(p->in_w, g->width - p->pad);
    const int16_t zero = (int16_t)p->zero_in;
    for (int32_t iy = 0; iy < rows; iy++)
        for (int32_t ix = 0; ix < columns; ix++) {
            mg_lanes16 *to = map + (iy + p->pad_top) * g->width + ix + p->pad;
            mg_load8(to, x + mg_in_at(iy, ix, p), n);
            *to -= zero; /* lanes from n on are never stored */
        }
}

/* n channels of da, as far apart as the windows of the forward convolution, so that those of the gradient are
 * one pixel apart. */
static void spread(mg_lanes16 *map, const grid *g, const int16_t *da, int32_t n, const mg_conv_params *p) {
    memset(map, 0, (size_t)(g->height * g->width) * sizeof *map);
    for (int32_t oy = 0; oy < p->out_h; oy++)
        for (int32_t ox = 0; ox < p->out_w; ox++) {
            int32_t at_y = oy * p->stride + p->kernel_h - 1 - p->pad;
            int32_t at_x = ox * p->stride + p->kernel_w - 1 - p->pad;
            if (at_y >= 0 && at_y < g->height && at_x >= 0 && at_x < g->width)
                mg_load16(map + at_y * g->width + at_x, da + mg_out_at(oy, ox, p), n);
        }
}

/* n channels of all taps, in reverse order if `flip`. */
static void load_taps(mg_lanes32 *taps, const int8_t *w, int32_t n, int flip, const mg_conv_params *p) {
    const int32_t count = p->kernel_h * p->kernel_w;
    for (int32_t i = 0; i < count; i++) {
        mg_lanes16 tap;
        mg_load8(&tap, w + (flip ? count - 1 - i : i) * p->in_c, n);
        taps[i] = __builtin_convertvector(tap, mg_lanes32);
    }
}

/* sum[oy][ox][channel]: n channels of every window of the map. */
static void correlate(int32_t *sum, const mg_lanes16 *map, const mg_lanes32 *taps, int32_t n,
                      int32_t channels, const grid *g) {
    for (int32_t oy = 0; oy < g->out_h; oy++)
        for (int32_t ox = 0; ox < g->out_w; ox += TOGETHER, sum += TOGETHER * channels) {
            mg_lanes32 s[TOGETHER] = {{0}};
            const mg_lanes16 *x = map + oy * g->stride * g->width + ox * g->stride;
            const mg_lanes32 *w = taps;
            for (int32_t ky = 0; ky < g->kernel_h; ky++, x += g->width)
                for (int32_t kx = 0; kx < g->kernel_w; kx++, w++)
#pragma GCC unroll 4
                    for (int j = 0; j < TOGETHER; j++)
                        s[j] += __builtin_convertvector(x[kx + j * g->stride], mg_lanes32) * *w;
            for (int32_t j = 0; j < mg_min(TOGETHER, g->out_w - ox); j++)
                mg_store_sums(sum + j * channels, s + j, n);
            sum -= ox + TOGETHER > g->out_w ? (ox + TOGETHER - g->out_w) * channels : 0;
        }
}

void mg_depthwise_conv2d_s8__wide(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w,
                                  const int32_t *b, const int32_t *m, const mg_conv_params *p) {
    const grid g = grid_of(p->out_h, p->out_w, p->stride, p);
    int32_t sum[g.out_h * g.out_w * p->out_c + MG_LANES];
    mg_lanes16 map[g.height * g.width];
    mg_lanes32 taps[g.kernel_h * g.kernel_w];
    memset(sum + g.out_h * g.out_w * p->out_c, 0, MG_LANES * sizeof *sum);
    for (int32_t c = 0; c < p->in_c; c += MG_LANES) {
        int32_t n = mg_min(MG_LANES, p->in_c - c);
        fill(map, &g, x + c, n, p);
        load_taps(taps, w + c, n, 0, p);
        correlate(sum + c, map, taps, n, p->out_c, &g);
    }
    mg_activate(y, mask, sum, b, m, g.out_h * g.out_w, p);
}

void mg_depthwise_conv2d_dx_s16__wide(int16_t *dx, const int16_t *da, const int8_t *w,
                                      const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p) {
    const grid g = grid_of(p->in_h, p->in_w, 1, p);
    int32_t sum[g.out_h * g.out_w * p->in_c], exp = da_scale->exp + p->offset;
    mg_lanes16 map[g.height * g.width];
    mg_lanes32 taps[g.kernel_h * g.kernel_w];
    mg_renorm r = mg_renorm_start(dx_scale, MG_GRAD_BITS);
    for (int32_t c = 0; c < p->in_c; c += MG_LANES) {
        int32_t n = mg_min(MG_LANES, p->in_c - c);
        spread(map, &g, da + c, n, p);
        load_taps(taps, w + c, n, 1, p);
        correlate(sum + c, map, taps, n, p->in_c, &g);
    }
    mg_renorm_all(&r, dx, sum, g.out_h * g.out_w * p->in_c);
    mg_renorm_end(&r, dx_scale, exp, da_scale->bits);
}

/* total[lane] = sum over all outputs of da * x, x at tap 0 of the window of output 0. */
static void tap_gradient(int64_t *total, const mg_lanes16 *da, const mg_lanes16 *x, const grid *g) {
    const int32_t rows = FLUSH / g->out_w;
    memset(total, 0, MG_LANES * sizeof *total);
    for (int32_t from = 0; from < g->out_h; from += rows) {
        mg_lanes32 s = {0};
        for (int32_t oy = from; oy < mg_min(from + rows, g->out_h); oy++)
            for (int32_t ox = 0; ox < g->out_w; ox++)
                s += __builtin_convertvector(da[oy * g->out_w + ox], mg_lanes32) *
                     __builtin_convertvector(x[oy * g->stride * g->width + ox * g->stride], mg_lanes32);
        for (int l = 0; l < MG_LANES; l++)
            total[l] += s[l];
    }
}

void mg_depthwise_conv2d_dw_s32__wide(int32_t *dw, const int16_t *da, const int8_t *x,
                                      const mg_conv_params *p) {
    const grid g = grid_of(p->out_h, p->out_w, p->stride, p);
    mg_lanes16 map[g.height * g.width], gradient[g.out_h * g.out_w];
    int64_t total[MG_LANES];
    for (int32_t c = 0; c < p->in_c; c += MG_LANES) {
        int32_t n = mg_min(MG_LANES, p->in_c - c);
        fill(map, &g, x + c, n, p);
        for (int32_t i = 0; i < g.out_h * g.out_w; i++)
            mg_load16(gradient + i, da + i * p->in_c + c, n);
        for (int32_t tap = 0; tap < g.kernel_h * g.kernel_w; tap++) {
            tap_gradient(total, gradient, map + tap / g.kernel_w * g.width + tap % g.kernel_w, &g);
            mg_saturate_all(dw + tap * p->in_c + c, total, n);
        }
    }
}

#endif
