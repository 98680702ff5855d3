/* Input gradient of a depthwise convolution, two channels at a time; da of them is kept as words among zeros.
 * Inputs whose coordinates have the same remainder by the stride meet the same taps, and these read
 * neighbouring outputs: for each such phase the gradient is a stride-1 convolution of da with a part of the
 * kernel, turned round. */
#include "geometry.h"
#include "lanes.h"
#include "tile.h"

/* Columns `from` to from + n - 1 and rows first to end - 1 of dx. Of da, `words` begin at column `column` and
 * row `top`, and end before row `bottom`; the map's own begin at `to`: `rows` of `columns`, from element `at`
 * on, `gap` elements from a row's end to the next. */
typedef struct {
    uint32_t *words, *to;
    int32_t from, n, first, end, column, top, bottom, at, rows, columns, gap;
} piece;

/* places: where in the kernel the taps of all phases are, `count`; taps: those of two pairs of channels,
 * multiplied by `factor`; wide: taps in a row of phase 0 and 1; unrolled: 3 x 3 of a map that is whole and
 * even; lines, if not: those whose phase along a line is 0, then the others, `counts` of them. */
typedef struct {
    const mg_conv_params *p;
    const int16_t *da;
    const int8_t *w;
    int32_t pitch, factor, unrolled, count, wide[2], counts[2];
    int32_t *places;
    uint32_t *taps;
    mg_lane_line *lines;
    piece t;
} plan;

/* Rows of taps of phase j, the first output's that is met first; the phase begins `reach` outputs before the
 * input's own place. Kernel size / 2 is the padding. */
static inline int32_t reach(const mg_conv_params *p) {
    return p->pad / p->stride;
}

static inline int32_t taps_of(int32_t j, const mg_conv_params *p) {
    return (j + p->pad) / p->stride + reach(p) + 1;
}

/* The tap that phase j has in place i; outside the kernel: none. */
static inline int32_t tap_at(int32_t j, int32_t i, const mg_conv_params *p) {
    return j + p->pad + p->stride * (reach(p) - i);
}

/* Places, phase by phase; those outside the kernel are -1. */
static __attribute__((noinline)) void place(plan *v, int32_t *memory) {
    const mg_conv_params *const p = v->p;
    const int32_t kernel = p->kernel_w, stride = p->stride;
    int32_t *to = v->places = memory;
    for (int32_t y = 0; y < stride; y++)
        for (int32_t x = 0; x < stride; x++) {
            const int32_t end = tap_at(y, taps_of(y, p), p);
            for (int32_t ky = tap_at(y, 0, p); ky > end; ky -= stride)
                for (int32_t i = 0, kx = tap_at(x, 0, p); i < v->wide[x]; i++, kx -= stride)
                    *to++ = ky < kernel && kx >= 0 && kx < kernel ? (ky * kernel + kx) * v->pitch : -1;
        }
    v->count = (int32_t)(to - memory), v->taps = (uint32_t *)to;
}

/* Of four channels. */
static __attribute__((noinline)) void widen(const plan *v, const int8_t *w) {
    const int32_t *at = v->places, *const end = at + v->count;
    const uint32_t factor = (uint32_t)v->factor;
    uint32_t *to = v->taps, *other = to + v->count;
#pragma GCC unroll 3
    do {
        const int32_t from = *at++;
        const uint32_t w4 = from < 0 ? 0 : mg_load32(w + from);
        const uint32_t w02 = mg_sxtb16(w4), w13 = mg_sxtb16_ror8(w4);
        const int32_t w2 = mg_smlatb(w02, factor, 0), w3 = mg_smlatb(w13, factor, 0);
        *to++ = mg_pkhbt((uint32_t)mg_smlabb(w02, factor, 0), (uint32_t)mg_smlabb(w13, factor, 0));
        *other++ = mg_pkhbt((uint32_t)w2, (uint32_t)w3);
    } while (at != end);
}

/* Two channels of da, `step` elements from one pixel to the next. */
static __attribute__((noinline)) void copy(const piece *t, const int16_t *da, int32_t step) {
    const int32_t columns = t->columns, skip = MG_PITCH - columns;
    uint32_t *to = t->to;
    int32_t left = t->rows;
    da += t->at;
#if MG_DSP
    if (columns % 4 == 0 && t->gap == 0) {
        const uint32_t *end = to + columns;
        __asm__ volatile(
            "1: \n\t ldr r4, [%[da]] \n\t ldr r5, [%[da], %[two]] \n\t"
            "ldr r6, [%[da], %[two], lsl #1] \n\t ldr r7, [%[da], %[six]] \n\t"
            "stmia %[to]!, {r4-r7} \n\t add %[da], %[da], %[two], lsl #2 \n\t"
            "cmp %[to], %[end] \n\t bne 1b \n\t add %[to], %[to], %[skip] \n\t"
            "add %[end], %[end], %[pitch] \n\t subs %[left], %[left], #1 \n\t bne 1b"
            : [to] "+&r"(to), [da] "+&r"(da), [end] "+&r"(end), [left] "+&r"(left)
            : [two] "r"(2 * step), [six] "r"(6 * step), [skip] "r"(4 * skip), [pitch] "i"(4 * MG_PITCH)
            : "r4", "r5", "r6", "r7", "cc", "memory");
        return;
    }
#endif
    for (; left > 0; left--, to += skip, da += t->gap)
        for (const uint32_t *const end = to + columns; to != end; da += step)
            *to++ = mg_load32(da);
}

/* n outputs, the first one's window beginning in row `row` of the words; taps: of its phase. */
static mg_lane_line line_of(int32_t row, int32_t rows, int32_t high, int32_t wide, int32_t taps, int32_t n) {
    const int32_t first = mg_max(-row, 0), last = mg_min(rows - row, high), size = sizeof(uint32_t);
    const int32_t x = size * (row + first) * MG_PITCH;
    return (mg_lane_line){.x = x,
                          .end = x + size * n,
                          .back = size * ((last - first) * MG_PITCH - 2),
                          .taps = size * (taps + first * wide),
                          .taps_end = size * (taps + last * wide)};
}

/* Of an odd number of outputs the last two come once more. */
static __attribute__((noinline)) void lay(plan *v) {
    const mg_conv_params *const p = v->p;
    const piece *const t = &v->t;
    const int32_t stride = p->stride, size = sizeof(int16_t), step = size * stride * p->in_c;
    mg_lane_line *to = v->lines;
    for (int32_t x = 0; x < stride; x++) {
        const int32_t n = (t->n - x + stride - 1) / stride;
        const mg_lane_line *const begin = to;
        for (int32_t y = 0; y < stride; y++) {
            const int32_t taps =
                y * taps_of(0, p) * (v->wide[0] + v->wide[1]) + x * taps_of(y, p) * v->wide[0];
            int32_t row = t->first / stride - reach(p) - t->top, at = t->first + y;
            for (; at < t->end; at += stride, row++) {
                *to = line_of(row, t->bottom - t->top, taps_of(y, p), v->wide[x], taps, n & ~1);
                to->to = size * mg_in_at(at, t->from + x, p);
                if (n % 2) {
                    to[1] = *to, to++;
                    to->to += (n - 2) * step, to->x += 4 * (n - 2), to->end = to->x + 8;
                }
                to++;
            }
        }
        v->counts[x] = (int32_t)(to - begin);
    }
}

/* Channels that clip, by the portable loops, from the words. */
MG_RARE void once_more(int16_t *dx, const plan *v, int32_t c, mg_renorm *r) {
    const piece *const t = &v->t;
    for (int32_t k = 0; k < 2; k++, c++) {
        const int16_t *const da = (const int16_t *)t->words + k - 2 * (t->top * MG_PITCH + t->column);
        for (int32_t y = t->first; y < t->end; y++)
            for (int32_t x = t->from; x < t->from + t->n; x++) {
                const int32_t sum = mg_depthwise_dx_sum(da, 2 * MG_PITCH, 2, v->w + c, v->pitch, y, x, v->p);
                dx[mg_in_at(y, x, v->p) + c] = mg_renorm_one(r, sum);
            }
    }
    mg_forget_clipping();
}

/* Two channels by lines; returns what the words tell about magnitudes. */
static uint32_t by_lines(int16_t *dx, const uint32_t *taps, const plan *v) {
    mg_lane_run r = {.start = {MG_HALF, MG_HALF}, .dx = dx, .words = v->t.words, .all_taps = taps};
    r.to.apart = v->p->stride * v->p->in_c * (int32_t)sizeof *dx, r.line = v->lines, r.left = v->counts[0];
    const uint32_t bits = mg_lane_lines_of(&r, v->wide[0]);
    if (v->p->stride == 1)
        return bits;
    r.line += r.left, r.left = v->counts[1];
    return bits | mg_lane_lines_of(&r, v->wide[1]);
}

static mg_lane_lines lines_3x3(const uint32_t *x, const plan *v) {
    const int32_t stride = v->p->stride, n = v->t.n / stride, bytes = 4 * (stride == 2 ? n : MG_PITCH - n);
    return (mg_lane_lines){{2 * v->p->in_c, x + n}, {bytes, v->t.end - v->t.first}};
}

static __attribute__((noinline)) uint32_t of_3x3(int16_t *dx, const uint32_t *taps, const uint32_t *x,
                                                 const mg_lane_lines *lines, int32_t stride) {
    mg_lane_lines l = *lines;
    return stride == 2 ? mg_lane_lines_3x3_2(&l, dx, x, taps) : mg_lane_lines_3x3(&l, dx, x, taps);
}

/* All channels of a piece. */
static void all_of(int16_t *dx, plan *v, mg_renorm *r) {
    const piece *const t = &v->t;
    const int32_t channels = v->p->in_c, stride = v->p->stride, unrolled = v->unrolled;
    int16_t *const first = dx + mg_in_at(t->first, 0, v->p);
    const uint32_t *const x = t->words + (stride == 1 ? 2 * MG_PITCH : 0);
    const mg_lane_lines l = lines_3x3(x, v);
    uint32_t magnitude = 0;
    memset(t->words, 0, (size_t)((t->bottom - t->top) * MG_PITCH) * sizeof *t->words);
    if (!unrolled)
        lay(v);
    mg_forget_clipping();
    for (int32_t c = 0; c < channels; c += 2) {
        const uint32_t *const taps = v->taps + (c % 4 ? v->count : 0);
        if (c % 4 == 0)
            widen(v, v->w + c);
        copy(t, v->da + c, channels);
        const uint32_t bits = unrolled ? of_3x3(first + c, taps, x, &l, stride) : by_lines(dx + c, taps, v);
        if (mg_has_clipped(bits))
            once_more(dx, v, c, r);
        else
            magnitude |= bits;
    }
    r->magnitude |= mg_lane_magnitude(magnitude);
}

/* Rows and columns of a piece, of which `from`, n, first and top are known, with `room` for rows. */
static void begin(piece *t, int32_t room, int32_t bottom, const mg_conv_params *p) {
    const int32_t row = mg_max(t->top, 0);
    t->bottom = mg_min(t->top + room, bottom), t->rows = mg_min(t->bottom, p->out_h) - row;
    t->end = p->in_h;
    if (t->bottom < bottom)
        t->end = (t->bottom - taps_of(p->stride - 1, p) + reach(p) + 1) * p->stride;
    t->column = t->from / p->stride - reach(p);
    const int32_t column = mg_max(t->column, 0);
    t->columns = mg_min(t->column + MG_PITCH, p->out_w) - column;
    t->at = mg_out_at(row, column, p), t->gap = (p->out_w - t->columns) * p->out_c;
    t->to = t->words + (row - t->top) * MG_PITCH + column - t->column;
}

/* Pieces of so many columns that their phases fit in a row; the last one begins early enough to have as many.
 */
void mg_depthwise_conv2d_dx_tile_s16__lanes(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                            int32_t pitch, mg_renorm *r, const mg_conv_params *p) {
    const int32_t stride = p->stride;
    plan v = {.p = p, .da = da, .w = w, .pitch = pitch, .factor = 1 << (MG_DOWN - r->shift)};
    v.unrolled = p->kernel_w == 3 && p->in_w % 2 == 0 && p->in_w <= (MG_PITCH - 2) * stride;
    for (int32_t j = 0; j < stride; j++)
        v.wide[j] = mg_max(taps_of(j, p), v.unrolled ? 0 : 3);
    place(&v, work);
    const int32_t most = MG_PITCH - v.wide[stride - 1];
    const int32_t fit = p->in_w <= (most + 1) * stride ? p->in_w : most * stride;
    const int32_t twice = fit < p->in_w || p->in_w % (2 * stride) ? 2 : 1;
    const int32_t lines = v.unrolled ? 0 : twice * stride * stride;
    const int32_t room =
        (p->work - 3 * v.count) / (MG_PITCH + lines * (int32_t)(sizeof *v.lines / sizeof *work));
    v.lines = (mg_lane_line *)(v.taps + 2 * v.count), v.t.words = (uint32_t *)(v.lines + room * lines);
    for (int32_t from = 0; from < p->in_w; from += fit) {
        v.t.from = mg_min(from, (p->in_w - fit) / stride * stride);
        v.t.n = mg_min(p->in_w - v.t.from, fit + stride - 1);
        for (v.t.first = 0; v.t.first < p->in_h; v.t.first = v.t.end) {
            v.t.top = mg_max(v.t.first / stride - reach(p), v.unrolled ? -reach(p) : 0);
            begin(&v.t, room, p->out_h + v.unrolled, p);
            all_of(dx, &v, r);
        }
    }
}
