/* Input gradient of a depthwise convolution, four channels at a time. Inputs whose coordinates (plus pad)
 * have the same remainder by the stride meet the same taps, and these read neighbouring outputs: for each
 * such phase the gradient is a stride-1 convolution of da with a part of the kernel, turned round. */
#include "conv.h"
#include "geometry.h"
#include "lanes.h"
#include "requant.h"

enum { PIXELS = 272, TAPS = 128 }; /* 3.2 KB of stack */

/* size: taps a row of a phase. Rows of da for some neighbouring inputs, row oy in slot (oy + size) % size,
 * PIXELS / size apart; column 0 is output column `from`. taps: for each phase (y, x) size * size of them,
 * twice, so that the slots can be met in the order of memory. */
typedef struct {
    mg_quad pixels[PIXELS], taps[TAPS];
    int32_t size, columns, from, next;
} rows;

static inline mg_quad widen(const int8_t *w) {
    uint32_t v = mg_load32(w), even = mg_sxtb16(v), odd = mg_sxtb16_ror8(v);
    return (mg_quad){mg_pkhbt(even, odd), mg_pkhtb(odd, even)};
}

/* The taps of phase (y, x), last row and column first; zero where the phase has fewer than size. */
static void phase_taps(mg_quad *taps, const int8_t *w, int32_t size, int32_t y, int32_t x,
                       const mg_conv_params *p) {
    for (int32_t i = 0; i < size * size; i++) {
        int32_t ky = y + p->stride * (size - 1 - i / size), kx = x + p->stride * (size - 1 - i % size);
        int inside = ky < p->kernel_h && kx < p->kernel_w;
        taps[i] = taps[size * size + i] =
            inside ? widen(w + (ky * p->kernel_w + kx) * p->in_c) : (mg_quad){0, 0};
    }
}

/* n pixels of da, c elements apart, or zeros. */
static void fill(mg_quad *row, const int16_t *da, int32_t n, int32_t c) {
    for (int32_t i = 0; i < n; i++, da += c)
        row[i] = (mg_quad){mg_load32(da), mg_load32(da + 2)};
}

static void clear(mg_quad *row, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        row[i] = (mg_quad){0, 0};
}

/* Bring in the rows up to oy; those outside the map are zeros, as are columns. */
static void advance(rows *r, const int16_t *da, int32_t oy, const mg_conv_params *p) {
    const int32_t first = r->from < 0 ? -r->from : 0, end = mg_min(p->out_w - r->from, r->columns);
    for (; r->next <= oy; r->next++) {
        mg_quad *row = r->pixels + (r->next + r->size) % r->size * (PIXELS / r->size);
        if (r->next < 0 || r->next >= p->out_h) {
            clear(row, r->columns);
            continue;
        }
        clear(row, first);
        fill(row + first, da + mg_out_at(r->next, r->from + first, p), end - first, p->out_c);
        clear(row + end, r->columns - end);
    }
}

static inline void put4(int16_t *dx, mg_four t, mg_renorm *r) {
    dx[0] = mg_renorm_one(r, t.ub), dx[1] = mg_renorm_one(r, t.ut);
    dx[2] = mg_renorm_one(r, t.vb), dx[3] = mg_renorm_one(r, t.vt);
}

/* n inputs of one phase, `apart` elements apart; da at the first one's window. */
MG_INLINE void strip(int16_t *dx, int32_t n, int32_t apart, const mg_quad *da, const mg_quad *w,
                     mg_renorm *renorm, const int size) {
    mg_renorm r = *renorm;
    for (; n > 0; n -= 2, dx += 2 * apart, da += 2) {
        mg_two t = {{0, 0, 0, 0}, {0, 0, 0, 0}};
#pragma GCC unroll 7
        for (int y = 0; y < size; y++)
#pragma GCC unroll 7
            for (int x = 0; x < size; x++)
                t = mg_tap(t, &da, &w, y * (PIXELS / size) + x, y * size + x, 1);
        put4(dx, t.p, &r);
        if (n > 1)
            put4(dx + apart, t.q, &r);
    }
    *renorm = r;
}

typedef void strip_function(int16_t *dx, int32_t n, int32_t apart, const mg_quad *da, const mg_quad *w,
                            mg_renorm *r);

#define STRIP(size)                                                                                          \
    static void strip_##size(int16_t *dx, int32_t n, int32_t apart, const mg_quad *da, const mg_quad *w,     \
                             mg_renorm *r) {                                                                 \
        strip(dx, n, apart, da, w, r, size);                                                                 \
    }
STRIP(2)
STRIP(3)
STRIP(4)
STRIP(5)
STRIP(7)

static strip_function *const STRIPS[] = {
    [2] = strip_2, [3] = strip_3, [4] = strip_4, [5] = strip_5, [7] = strip_7};

/* Four channels of input row y, phase x: the inputs that read output columns first to last last. dx at the
 * map's first element of these channels. */
static void phase_row(int16_t *dx, const rows *r, mg_renorm *renorm, int32_t y, int32_t x, int32_t first,
                      int32_t last, const mg_conv_params *p) {
    const int32_t s = p->stride, size = r->size, u = y + p->pad, slot = (u / s + 1) % size;
    const mg_quad *w = r->taps + (u % s * s + x) * 2 * size * size + (size - slot) % size * size;
    int32_t low = first * s + x < p->pad ? first + 1 : first;
    int32_t high = last * s + x - p->pad < p->in_w ? last : last - 1;
    int32_t at = y * p->in_w + low * s + x - p->pad;
    STRIPS[size](dx + at * p->in_c, high - low + 1, s * p->in_c, r->pixels + low - first, w, renorm);
}

/* Four channels of the inputs whose last reader lies in output columns first to last. */
static void part(int16_t *dx, const int16_t *da, rows *r, mg_renorm *renorm, int32_t first, int32_t last,
                 const mg_conv_params *p) {
    r->from = first - r->size + 1, r->columns = last - first + 1 + r->size;
    r->next = p->pad / p->stride - r->size + 1;
    for (int32_t y = 0; y < p->in_h; y++) {
        advance(r, da, (y + p->pad) / p->stride, p);
        for (int32_t x = 0; x < p->stride; x++)
            phase_row(dx, r, renorm, y, x, first, last, p);
    }
}

void mg_depthwise_conv2d_dx_s16__4(int16_t *dx, const int16_t *da, const int8_t *w, const mg_scale *da_scale,
                                   mg_scale *dx_scale, const mg_conv_params *p) {
    rows r;
    const int32_t s = p->stride, size = r.size = (p->kernel_w + s - 1) / s, exp = da_scale->exp + p->offset;
    const int32_t widest = PIXELS / size - size, first = p->pad / s, end = (p->in_w - 1 + p->pad) / s + 1;
    mg_renorm renorm = mg_renorm_start(dx_scale, da_scale->bits);
    for (int32_t c = 0; c < p->in_c; c += 4) {
        for (int32_t i = 0; i < s * s; i++)
            phase_taps(r.taps + i * 2 * size * size, w + c, size, i / s, i % s, p);
        for (int32_t at = first; at < end; at += widest)
            part(dx + c, da + c, &r, &renorm, at, (end - at < widest ? end : at + widest) - 1, p);
    }
    mg_renorm_end(&renorm, dx_scale, exp);
}
