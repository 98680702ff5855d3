/* Input gradient of a depthwise convolution, four channels at a time. Inputs whose coordinates have the same
 * remainder by the stride meet the same taps, and these read neighbouring outputs: for each such phase the
 * gradient is a stride-1 convolution of da with a part of the kernel, turned round. */
#include "conv.h"
#include "planes.h"
#include "tile.h"

/* Pairs of pixels of da, c elements apart, up to `end` of the first plane. */
static inline void put_pairs(int16_t *to, const int16_t *end, int32_t plane, const int16_t *da, int32_t c) {
    for (; to < end; to += 2, da += 2 * c) {
        const uint32_t a01 = mg_load32(da), a23 = mg_load32(da + 2);
        const uint32_t b01 = mg_load32(da + c), b23 = mg_load32(da + c + 2);
        mg_store32(to, mg_pkhbt(a01, b01)), mg_store32(to + plane, mg_pkhtb(b01, a01));
        mg_store32(to + 2 * plane, mg_pkhbt(a23, b23)), mg_store32(to + 3 * plane, mg_pkhtb(b23, a23));
    }
}

static inline void put_pixel(int16_t *to, int32_t plane, const int16_t *da) {
    for (int k = 0; k < MG_CHANNELS; k++)
        to[k * plane] = da[k];
}

/* Row v->next; da at column 0 of it. */
static void fill(mg_planes *v, const int16_t *da, int32_t c) {
    const int32_t plane = v->columns;
    int32_t i = v->first;
    int16_t *to = mg_row_at(v, v->next);
    da += (v->from + i) * c;
    if (i & 1)
        put_pixel(to + i++, plane, da), da += c;
    put_pairs(to + i, to + (v->end & ~1), plane, da, c);
    if (v->end & 1 && i < v->end)
        put_pixel(to + v->end - 1, plane, da + (v->end - 1 - i) * c);
}

/* Taps of phase j along one axis, the first output's that is met first; the phase begins `reach` outputs
 * before the input's own place. Kernel size / 2 is the padding. */
static inline int32_t reach(const mg_conv_params *p) {
    return p->pad / p->stride;
}

static inline int32_t taps_of(int32_t j, const mg_conv_params *p) {
    return (j + p->pad) / p->stride + reach(p) + 1;
}

/* The tap that phase j has in place i; the kernel's size or more: none. */
static inline int32_t tap_at(int32_t j, int32_t i, const mg_conv_params *p) {
    return j + p->pad + p->stride * (reach(p) - i);
}

/* The words of taps of all phases. */
static int32_t words_of(const mg_conv_params *p) {
    int32_t words = 0;
    for (int32_t phase = 0; phase < p->stride * p->stride; phase++)
        words += taps_of(phase / p->stride, p) * mg_tap_words(taps_of(phase % p->stride, p), 1);
    return words;
}

/* The taps of four channels, phase by phase. */
static void widen(mg_planes *v, const int8_t *w, int32_t pitch, const mg_conv_params *p) {
    const int32_t stride = p->stride, kernel = p->kernel_w, step = stride * pitch;
    uint32_t *to = v->taps;
    for (int32_t phase = 0; phase < stride * stride; phase++) {
        const int32_t y = phase / stride, x = phase % stride, first = tap_at(x, 0, p), taps = taps_of(x, p);
        for (int32_t i = 0; i < taps_of(y, p); i++) {
            const int32_t ky = tap_at(y, i, p);
            const int8_t *at = w + (ky * kernel + first) * pitch;
            uint32_t a = ky < kernel && first < kernel ? mg_load32(at) : 0;
            for (int32_t left = taps; left > 1; left--) {
                const uint32_t b = ky < kernel ? mg_load32(at -= step) : 0;
                mg_put_taps(to++, v->words, a, b), a = b;
            }
            if (taps == 1)
                mg_put_taps(to++, v->words, a, 0);
        }
    }
}

/* One function, so that lines and channels are looped over in one place. */
static __attribute__((noinline)) int32_t run(const mg_lines *s, int32_t taps) {
    return mg_lines_of(s, taps, 1, MG_TO_S16);
}

/* Some lines of one phase, n pixels each, a multiple of a run, `apart` elements from one to the next; dx at
 * the first one, lines are `down` elements apart. */
static void phase(int16_t *dx, mg_lines *s, int32_t taps, int32_t n, int32_t apart, int32_t down) {
    const int32_t size = sizeof *dx;
    s->to = (int8_t *)dx, s->apart = size * apart, s->step = size;
    s->runs = n / MG_RUN, s->beyond = size * (down - n * apart);
    s->zero = run(s, taps);
}

/* The sum of one channel's input: pixel `column` of the window of phase (y, x), whose first row is `row`. */
MG_RARE int32_t sum_at(const int16_t *plane, mg_column w, int32_t row, int32_t column, int32_t y, int32_t x,
                       const mg_planes *v, const mg_conv_params *p) {
    int32_t sum = 0;
    for (int32_t i = mg_max(-row, 0); i < taps_of(y, p) && row + i < p->out_h; i++)
        for (int32_t j = 0; j < taps_of(x, p); j++) {
            const int32_t ky = tap_at(y, i, p), kx = tap_at(x, j, p);
            if (ky < p->kernel_h && kx < p->kernel_w)
                sum += plane[(row + i - v->base) * MG_CHANNELS * v->columns + column + j] *
                       w.w[(ky * p->kernel_w + kx) * w.step];
        }
    return sum;
}

/* The last pixels of the lines, fewer than a run, one by one. */
MG_RARE void rest(int16_t *dx, const mg_planes *v, mg_lines *s, mg_column w, int32_t row, int32_t y,
                  int32_t x, int32_t column, int32_t n, const mg_conv_params *p) {
    mg_renorm r = {.mult = s->mult[0], .magnitude = (uint32_t)s->zero};
    for (int32_t line = 0; line < s->layout->count; line++, dx += p->stride * p->in_w * p->in_c)
        for (int32_t i = column; i < n; i++)
            for (int32_t k = 0; k < MG_CHANNELS; k++) {
                const mg_column tap = {w.w + k, w.step};
                const int32_t sum =
                    sum_at(v->rows + k * v->columns, tap, row + line - reach(p), i, y, x, v, p);
                dx[i * p->stride * p->in_c + k] = mg_renorm_one(&r, sum);
            }
    s->zero = (int32_t)r.magnitude;
}

typedef int16_t part[MG_LINES][MG_RUN]; /* of one channel */

/* The same by a run whose last pixels lie beyond the map: what they are counts for nothing. False where one
 * may have been clipped, so that its magnitude is not known. */
MG_RARE int rest_by_run(int16_t *dx, mg_lines *s, int32_t taps, int32_t column, int32_t n, int32_t apart,
                        int32_t down) {
    part *const some = s->some;
    uint32_t magnitude = 0;
    const int32_t size = sizeof *dx, zero = s->zero;
    s->to = (int8_t *)some, s->apart = size, s->step = sizeof *some;
    s->runs = 1, s->beyond = 0, s->x += column;
    run(s, taps);
    for (int32_t y = 0; y < s->layout->count; y++)
#pragma GCC unroll 1
        for (int32_t x = column; x < n; x++)
#pragma GCC unroll 1
            for (int32_t k = 0; k < MG_CHANNELS; k++) {
                const int32_t q = some[k][y][x - column];
                dx[y * down + x * apart + k] = (int16_t)q;
                magnitude |= (uint32_t)(q ^ (q >> 31));
            }
    s->zero = zero | (int32_t)magnitude;
    return magnitude < (1 << MG_GRAD_MAX_BITS) - 1;
}

/* Four channels, columns `from` to `from` + n - 1 of the inputs. */
static void group(int16_t *dx, const int16_t *da, mg_column w, mg_planes *v, mg_lines *s, mg_layout *layouts,
                  int32_t from, int32_t n, const mg_conv_params *p) {
    const int32_t stride = p->stride, c = p->in_c, row = p->in_w * c;
    v->base = v->next = 0;
    for (int32_t first = 0, end; first < p->in_h; first = end) {
        mg_planes_from(v, first / stride - reach(p));
        for (; v->next < mg_min(v->base + v->capacity, v->bottom); v->next++)
            fill(v, da + v->next * p->out_w * c, c);
        end = v->next == v->bottom ? p->in_h : (v->next * stride - p->pad) / stride * stride;
        end = mg_min(end, first + MG_LINES * stride);
        s->taps = v->taps;
        for (int32_t i = 0; i < stride * stride; i++) {
            const int32_t y = i / stride, x = i % stride, taps = taps_of(x, p), words = mg_tap_words(taps, 1);
            const int32_t count = (end - first - y + stride - 1) / stride;
            mg_layout *const l = layouts + i;
            if (end - first < p->in_h || l->count != count)
                mg_lay(l, v, count, first / stride - reach(p), 1, taps_of(y, p),
                       words * (int32_t)sizeof *s->taps, 1);
            s->x = v->rows, s->layout = l;
            const int32_t pixels = (n - x + stride - 1) / stride, whole = pixels & ~(MG_RUN - 1);
            const int32_t apart = stride * c, down = stride * row;
            int16_t *to = dx + (first + y) * row + (from + x) * c;
            if (count && whole)
                phase(to, s, taps, whole, apart, down);
            if (count && whole < pixels && !rest_by_run(to, s, taps, whole, pixels, apart, down))
                rest(to, v, s, w, first / stride, y, x, whole, pixels, p);
            s->taps += taps_of(y, p) * words;
        }
    }
}

void mg_depthwise_conv2d_dx_tile_s16__4(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                        int32_t pitch, mg_renorm *r, const mg_conv_params *p) {
    mg_planes v = {.words = words_of(p)};
    mg_lines s;
    const int32_t stride = p->stride, phases = stride * stride;
    const int32_t some = p->in_w % (MG_RUN * stride) ? MG_CHANNELS * sizeof(part) / sizeof *work : 0;
    const int32_t before = some + phases * (int32_t)(sizeof(mg_layout) / sizeof *work);
    mg_layout *const layouts = (mg_layout *)(work + some);
    mg_planes_in(&v, work + before, p->work - before);
    s.some = work;
    const int32_t most = taps_of(stride - 1, p);
    const int32_t widest = ((mg_most_columns(&v, most) - most + 1) & ~(MG_RUN - 1)) * stride;
    const int32_t bias[MG_CHANNELS] = {0}, mult[] = {r->mult, r->mult, r->mult, r->mult};
    s.bias = bias, s.mult = mult, s.zero = (int32_t)r->magnitude;
    for (int32_t from = 0; from < p->in_w; from += widest) {
        const int32_t n = mg_min(p->in_w - from, widest),
                      runs = ((n + stride - 1) / stride + MG_RUN - 1) / MG_RUN;
        mg_planes_at(&v, runs * MG_RUN + most - 1, from / stride - reach(p), p->out_w, 0, p->out_h);
        s.words = v.words, s.plane = v.columns, s.pitch = mg_pitch(&v), s.down = 1;
        for (int32_t i = 0; i < phases; i++)
            layouts[i].count = -1;
        for (int32_t c = 0; c < p->in_c; c += MG_CHANNELS) {
            widen(&v, w + c, pitch, p);
            group(dx + c, da + c, (mg_column){w + c, pitch}, &v, &s, layouts, from, n, p);
        }
    }
    r->magnitude = (uint32_t)s.zero;
}
