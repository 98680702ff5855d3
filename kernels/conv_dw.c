/* Weight and bias gradients: the portable loops, and the choice among the variants. */
#include "conv_dw_sgd.h"
#include "geometry.h"
#include "requant.h"

/* Channels summed at once, on the stack. */
enum { BLOCK = 32 };

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
MG_RARE void tap_gradient(int32_t *dw, const int16_t *da, int32_t step, const int8_t *x, int32_t n,
                          int32_t ky, int32_t kx, const mg_conv_params *p) {
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

/* Whether the variant takes it. */
static int pointwise_pairs(const mg_conv_params *p) {
    return MG_FAST && mg_pointwise(p) && p->out_c % 2 == 0 && p->in_h * p->in_w <= 256;
}

static int fours(const mg_conv_params *p) {
    return MG_FAST && p->out_c % 4 == 0 && p->out_h * p->out_w <= 256;
}

void mg_conv2d_dw_s32(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                      const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_matrix(p)) {
        mg_conv2d_dw_s32__wide(dw, da, x, p);
        return;
    }
    if (p->work && pointwise_pairs(p)) {
        mg_conv2d_dw_s32__1x1(dw, work, da, x, p);
        return;
    }
    if (fours(p)) {
        mg_conv2d_dw_s32__4(dw, da, x, p);
        return;
    }
    for (int32_t co = 0; co < p->out_c; co++)
        for (int32_t ky = 0; ky < p->kernel_h; ky++)
            for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c)
                for (int32_t from = 0; from < p->in_c; from += BLOCK)
                    tap_gradient(dw + from, da + co, 0, x + from, mg_min(BLOCK, p->in_c - from), ky, kx, p);
}

static void blocks(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                   const mg_conv_params *p) {
    const int32_t taps = p->kernel_h * p->kernel_w;
    for (int32_t c = 0; c < p->out_c; c++)
        for (int32_t tap = 0; tap < taps; tap++)
            for (int32_t from = 0; from < p->in_c; from += BLOCK) {
                const int32_t n = mg_min(BLOCK, p->in_c - from);
                tap_gradient(work, da + c, 0, x + from, n, tap / p->kernel_w, tap % p->kernel_w, p);
                sink->take(sink, work, (mg_dw_block){c, 1, tap * p->in_c + from, n, 1, 0});
            }
}

#if MG_WIDE
/* All at once, on a large stack. */
static void __attribute__((noinline))
whole(const mg_dw_sink *sink, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    int32_t dw[1 << 18];
    const int32_t taps = p->kernel_h * p->kernel_w * p->in_c;
    mg_conv2d_dw_s32__wide(dw, da, x, p);
    sink->take(sink, dw, (mg_dw_block){0, p->out_c, 0, taps, 1, taps});
}
#endif

void mg_conv2d_dw_blocks(const mg_dw_sink *sink, int32_t *work, const int16_t *da, const int8_t *x,
                         int32_t planes, const mg_conv_params *p) {
    if (planes) {
        mg_conv2d_dw_blocks__planes(sink, work, da, x, p);
        return;
    }
#if MG_WIDE
    if (mg_wide_matrix(p)) {
        whole(sink, da, x, p);
        return;
    }
#endif
    if (pointwise_pairs(p))
        mg_conv2d_dw_blocks__1x1(sink, work, da, x, p);
    else if (fours(p))
        mg_conv2d_dw_blocks__4(sink, work, da, x, p);
    else
        blocks(sink, work, da, x, p);
}

void mg_depthwise_conv2d_dw_s32(int32_t *dw, const int16_t *da, const int8_t *x, const mg_conv_params *p) {
    if (MG_WIDE && mg_wide_depthwise(p)) {
        mg_depthwise_conv2d_dw_s32__wide(dw, da, x, p);
        return;
    }
    if (MG_FAST && p->in_c % 4 == 0 && p->out_h * p->out_w <= 256) {
        mg_depthwise_conv2d_dw_s32__4(dw, da, x, p);
        return;
    }
    for (int32_t ky = 0; ky < p->kernel_h; ky++)
        for (int32_t kx = 0; kx < p->kernel_w; kx++, dw += p->in_c)
            for (int32_t c = 0; c < p->in_c; c += BLOCK)
                tap_gradient(dw + c, da + c, 1, x + c, mg_min(BLOCK, p->in_c - c), ky, kx, p);
}

/* Sums of four channels over n pixels, `apart` elements from one to the next. */
static void sum4(int32_t *db, const int16_t *da, int32_t n, int32_t apart) {
    const uint32_t ones = mg_both(1);
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (; n >= 2; n -= 2, da += 2 * apart) {
        const uint32_t p01 = mg_load32(da), p23 = mg_load32(da + 2);
        const uint32_t q01 = mg_load32(da + apart), q23 = mg_load32(da + apart + 2);
        s0 = mg_smlad(mg_pkhbt(p01, q01), ones, s0), s1 = mg_smlad(mg_pkhtb(q01, p01), ones, s1);
        s2 = mg_smlad(mg_pkhbt(p23, q23), ones, s2), s3 = mg_smlad(mg_pkhtb(q23, p23), ones, s3);
    }
    if (n)
        s0 += da[0], s1 += da[1], s2 += da[2], s3 += da[3];
    db[0] = s0, db[1] = s1, db[2] = s2, db[3] = s3;
}

void mg_conv2d_db_s32(int32_t *db, const int16_t *da, const mg_clamp_params *p) {
    const int32_t n = p->n, channels = p->c;
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4)
        sum4(db + c, da + c, n, channels);
    for (; c < channels; c++) {
        db[c] = 0;
        for (int32_t i = 0; i < n; i++)
            db[c] += da[i * channels + c];
    }
}
