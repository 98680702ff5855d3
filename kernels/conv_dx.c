/* Input gradients: the portable loops, and the choice among the variants. */
#include "conv.h"

#include "geometry.h"
#include "tile.h"

/* Channels gathered at once: their sums live on the stack. */
enum { BLOCK = 32 };

/* Two bits as two lanes. */
#define LANES(a, b) ((a)*0xFFFFu | (b)*0xFFFF0000u)
#define WORDS(bits)                                                                                          \
    { LANES((bits)&1, (bits) >> 1 & 1), LANES((bits) >> 2 & 1, (bits) >> 3) }
static const struct {
    uint32_t low, high;
} KEPT[16] = {WORDS(0), WORDS(1), WORDS(2),  WORDS(3),  WORDS(4),  WORDS(5),  WORDS(6),  WORDS(7),
              WORDS(8), WORDS(9), WORDS(10), WORDS(11), WORDS(12), WORDS(13), WORDS(14), WORDS(15)};

/* Four elements. */
static inline void clamp4(int16_t *da, const int16_t *dy, uint32_t bits, const int32_t *m) {
    mg_store32(da, mg_scale_two(mg_load32(dy), m[0], m[1]) & KEPT[bits].low);
    mg_store32(da + 2, mg_scale_two(mg_load32(dy + 2), m[2], m[3]) & KEPT[bits].high);
}

/* Eight channels of n pixels, c elements and `pitch` bytes of the mask apart. */
static void clamp_column(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m, int32_t n,
                         int32_t c, int32_t pitch) {
    for (; n > 0; n--, mask += pitch, da += c, dy += c) {
        const uint32_t bits = *mask;
        clamp4(da, dy, bits & 15, m);
        clamp4(da + 4, dy + 4, bits >> 4, m + 4);
    }
}

void mg_clamp_dx_s16(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                     const mg_clamp_params *p) {
    if (MG_WIDE && p->c <= 4096) {
        mg_clamp_dx_s16__wide(da, dy, mask, m, p);
        return;
    }
    mg_clamp_dx_tile_s16(da, dy, mask, m, 0, p->c, p);
}

void mg_clamp_dx_tile_s16(int16_t *da, const int16_t *dy, const uint8_t *mask, const int32_t *m,
                          int32_t first, int32_t pitch, const mg_clamp_params *p) {
    const int32_t channels = p->c, n = p->n;
    int32_t c = 0;
    for (; (first | pitch) % 8 == 0 && c + 8 <= channels; c += 8)
        clamp_column(da + c, dy + c, mask + ((first + c) >> 3), m + c, n, channels, pitch >> 3);
    for (; c < channels; c++)
        for (int32_t i = 0, at = first + c; i < n; i++, at += pitch)
            da[i * channels + c] = mg_bit(mask, at) ? mg_scale_by(dy[i * channels + c], m[c]) : 0;
}

/* acc[i] += sum over outputs c of da[c] * w[c][i]; from one w[c] to the next it is `step` */
static void mix(int32_t *acc, const int16_t *da, const int8_t *w, int32_t n, int32_t step,
                const mg_conv_params *p) {
    for (int32_t c = 0; c < p->out_c; c++, w += step)
        for (int32_t i = 0; i < n; i++)
            acc[i] += da[c] * w[i];
}

/* n sums of input pixel (y, x). */
static void gather(int32_t *acc, const int16_t *da, const int8_t *w, int32_t pitch, int32_t n, int32_t y,
                   int32_t x, const mg_conv_params *p) {
    int32_t per_channel = p->kernel_h * p->kernel_w * pitch;
    memset(acc, 0, BLOCK * sizeof *acc);
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++) {
            int32_t oy = mg_reader(y, ky, p->out_h, p), ox = mg_reader(x, kx, p->out_w, p);
            if (oy >= 0 && ox >= 0)
                mix(acc, da + mg_out_at(oy, ox, p), w + (ky * p->kernel_w + kx) * pitch, n, per_channel, p);
        }
}

MG_RARE void input_gradient(int16_t *dx, const int16_t *da, const int8_t *w, int32_t pitch, mg_renorm *renorm,
                            const mg_conv_params *p) {
    int32_t acc[BLOCK];
    mg_renorm r = *renorm;
    for (int32_t i = 0; i < p->in_h * p->in_w; i++)
        for (int32_t from = 0; from < p->in_c; from += BLOCK) {
            int32_t n = mg_min(BLOCK, p->in_c - from);
            gather(acc, da, w + from, pitch, n, i / p->in_w, i % p->in_w, p);
            for (int32_t c = 0; c < n; c++)
                *dx++ = mg_renorm_one(&r, acc[c]);
        }
    *renorm = r;
}

__attribute__((noinline, optimize("Os"))) int32_t mg_depthwise_dx_sum(const int16_t *da, int32_t row,
                                                                      int32_t step, const int8_t *w,
                                                                      int32_t pitch, int32_t y, int32_t x,
                                                                      const mg_conv_params *p) {
    const int32_t stride = p->stride;
    int32_t acc = 0, ky = (y + p->pad) % stride;
    for (int32_t oy = (y + p->pad) / stride; ky < p->kernel_h && oy >= 0; ky += stride, oy--) {
        int32_t kx = (x + p->pad) % stride, ox = (x + p->pad) / stride;
        for (; oy < p->out_h && kx < p->kernel_w && ox >= 0; kx += stride, ox--)
            if (ox < p->out_w)
                acc += da[oy * row + ox * step] * w[(ky * p->kernel_w + kx) * pitch];
    }
    return acc;
}

/* Channel by channel, each copied first where there is room: dx may then lie over da. */
MG_RARE void depthwise_gradient(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w, int32_t pitch,
                                mg_renorm *renorm, const mg_conv_params *p) {
    const int32_t pixels = p->out_h * p->out_w, small = pixels <= 2 * p->work, step = small ? 1 : p->out_c;
    int16_t *const plane = (int16_t *)work;
    mg_renorm r = *renorm;
    for (int32_t c = 0; c < p->in_c; c++) {
        const int16_t *const from = small ? plane : da + c;
        for (int32_t i = 0; small && i < pixels; i++)
            plane[i] = da[i * p->out_c + c];
        for (int32_t i = 0; i < p->in_h * p->in_w; i++) {
            int32_t acc =
                mg_depthwise_dx_sum(from, p->out_w * step, step, w + c, pitch, i / p->in_w, i % p->in_w, p);
            dx[i * p->in_c + c] = mg_renorm_one(&r, acc);
        }
    }
    *renorm = r;
}

void mg_conv2d_dx_tile_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w, int32_t pitch,
                           mg_renorm *r, const mg_conv_params *p) {
    if (MG_FAST && p->work && mg_pointwise(p) && p->out_c % 4 == 0)
        mg_conv2d_dx_tile_s16__1x1(dx, work, da, w, pitch, r, p);
    else
        input_gradient(dx, da, w, pitch, r, p);
}

void mg_depthwise_conv2d_dx_tile_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                     int32_t pitch, mg_renorm *r, const mg_conv_params *p) {
    const int usual = MG_FAST && p->work && mg_usual_depthwise(p) && p->pad == p->kernel_w / 2;
    const int pairs = usual && p->in_w >= 2 * p->stride && r->shift <= MG_LANES_SHIFT;
    (pairs ? mg_depthwise_conv2d_dx_tile_s16__lanes : depthwise_gradient)(dx, work, da, w, pitch, r, p);
}

void mg_conv2d_dx_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                      const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_matrix(p)) {
        mg_conv2d_dx_s16__wide(dx, da, w, da_scale, dx_scale, p);
        return;
    }
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    mg_conv2d_dx_tile_s16(dx, work, da, w, p->in_c, &r, p);
    mg_renorm_end(&r, dx_scale, da_scale->exp + p->offset, da_scale->bits);
}

void mg_depthwise_conv2d_dx_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                const mg_scale *da_scale, mg_scale *dx_scale, const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_depthwise(p)) {
        mg_depthwise_conv2d_dx_s16__wide(dx, da, w, da_scale, dx_scale, p);
        return;
    }
    mg_renorm r = mg_renorm_start(dx_scale, MG_GRAD_BITS);
    mg_depthwise_conv2d_dx_tile_s16(dx, work, da, w, p->in_c, &r, p);
    mg_renorm_end(&r, dx_scale, da_scale->exp + p->offset, da_scale->bits);
}

void mg_sums_dx_s16(int16_t *dx, const int32_t *sums, const mg_scale *da_scale, mg_scale *dx_scale,
                    int32_t offset, int32_t n) {
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t i = 0; i < n; i += 2)
        mg_renorm_two(dx + i, &r, (int32_t)mg_load32(sums + i), (int32_t)mg_load32(sums + i + 1));
    mg_renorm_end(&r, dx_scale, da_scale->exp + offset, da_scale->bits);
}
