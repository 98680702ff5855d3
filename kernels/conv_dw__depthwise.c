/* Weight gradient of a depthwise convolution, four channels at a time, tap by tap. */
#include "conv.h"
#include "geometry.h"
#include "requant.h"

/* Outputs first <= o < end read inside the map with tap k. */
typedef struct {
    int32_t first, end;
} readers;

static readers readers_of(int32_t k, int32_t in, int32_t out, const mg_conv_params *p) {
    const int32_t s = p->stride, below = p->pad - k, above = in - 1 + p->pad - k;
    return (readers){below > 0 ? (below + s - 1) / s : 0, above < 0 ? 0 : mg_min(out, above / s + 1)};
}

/* dw[0..3] = sums over the outputs of `rows` and `cols`; da and x at the first of the four channels, x at the
 * input that output (0, 0) would read. */
static void tap(int32_t *dw, const int16_t *da, const int8_t *x, int32_t origin, readers rows, readers cols,
                const mg_conv_params *p) {
    const uint32_t minus_zero = mg_both(-p->zero_in);
    const int32_t c = p->in_c, apart = p->stride * c;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int32_t oy = rows.first; oy < rows.end; oy++) {
        const int16_t *d = da + mg_out_at(oy, cols.first, p);
        const int8_t *v = x + (origin + (oy * p->in_w + cols.first) * apart);
        for (int32_t ox = cols.first; ox < cols.end; ox++, d += c, v += apart) {
            uint32_t x4 = mg_load32(v), d01 = mg_load32(d), d23 = mg_load32(d + 2);
            uint32_t x02 = mg_sxtab16(minus_zero, x4), x13 = mg_sxtab16_ror8(minus_zero, x4);
            s0 = mg_smlabb(x02, d01, s0), s1 = mg_smlabt(x13, d01, s1);
            s2 = mg_smlatb(x02, d23, s2), s3 = mg_smlatt(x13, d23, s3);
        }
    }
    dw[0] = s0, dw[1] = s1, dw[2] = s2, dw[3] = s3;
}

void mg_depthwise_conv2d_dw_s32__4(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c) {
            const readers rows = readers_of(ky, p->in_h, p->out_h, p),
                          cols = readers_of(kx, p->in_w, p->out_w, p);
            const int32_t origin = mg_in_at(ky - p->pad, kx - p->pad, p);
            for (int32_t c = 0; c < p->in_c; c += 4)
                tap(dw + c, da + c, x, origin + c, rows, cols, p);
        }
}
