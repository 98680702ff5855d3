/* What the depthwise kernels keep of a map while they work: four channels, each a plane of int16 rows, with
 * zeros beside the map. */
#ifndef MG_PLANES_H
#define MG_PLANES_H

#include "geometry.h"
#include "move.h"
#include "runs.h"

enum { MG_CHANNELS = 4, MG_LINES = 8, MG_PARTS = 7 };

/* Rows base to next - 1 of the map, each `columns` (even) of four planes, as many as `capacity`; columns
 * first to end - 1 lie inside the map, where column 0 is `from`, and rows top (0, or less if some above the
 * map are kept, as zeros) to bottom - 1 are those that windows meet. room: pixels that there is memory for.
 * taps: of each channel, `words` words. cleared: all rows that windows meet are kept, and were zero. */
typedef struct {
    uint32_t *taps;
    int16_t *rows;
    int32_t room, columns, capacity, base, next, from, first, end, top, bottom, words, cleared;
} mg_planes;

/* Bytes from a row to the next. */
static inline int32_t mg_pitch(const mg_planes *v) {
    return MG_CHANNELS * v->columns * (int32_t)sizeof *v->rows;
}

/* The row, even if it is not there. */
static inline int16_t *mg_row_at(mg_planes *v, int32_t row) {
    return v->rows + (row - v->base) * MG_CHANNELS * v->columns;
}

/* Taps and rows go where there is memory of n words. */
static inline void mg_planes_in(mg_planes *v, int32_t *memory, int32_t n) {
    const int32_t taps = MG_CHANNELS * v->words;
    v->taps = (uint32_t *)memory, v->rows = (int16_t *)(memory + taps),
    v->room = (n - taps) * 2 / MG_CHANNELS;
}

/* The most columns of which `rows` rows fit. */
static inline int32_t mg_most_columns(const mg_planes *v, int32_t rows) {
    return v->room / rows & ~1;
}

/* Columns `from` on of a map of so many columns; zeros beside it. */
void mg_planes_at(mg_planes *v, int32_t columns, int32_t from, int32_t width, int32_t top, int32_t bottom);

/* Whether row v->next is one of the map; if not, it is made zero. */
static inline int mg_row_inside(mg_planes *v, int32_t height) {
    const int inside = v->next >= 0 && v->next < height;
    if (!inside && !v->cleared)
        memset(mg_row_at(v, v->next), 0, (size_t)mg_pitch(v));
    return inside;
}

/* Forget the rows before `first`, if others need their place. */
static inline void mg_planes_from(mg_planes *v, int32_t first) {
    if (first > v->base && v->next < v->bottom) {
        mg_move_down((int8_t *)v->rows, (int8_t *)mg_row_at(v, first), (v->next - first) * mg_pitch(v));
        v->base = first;
    }
}

/* Two taps of four channels as a word of each, `words` apart. */
static inline void mg_put_taps(uint32_t *to, int32_t words, uint32_t a, uint32_t b) {
    const uint32_t a02 = mg_sxtb16(a), a13 = mg_sxtb16_ror8(a), b02 = mg_sxtb16(b), b13 = mg_sxtb16_ror8(b);
    to[0] = mg_pkhbt(a02, b02), to[words] = mg_pkhbt(a13, b13);
    to[2 * words] = mg_pkhtb(b02, a02), to[3 * words] = mg_pkhtb(b13, a13);
}

/* How some lines meet the rows that are kept, in parts; from: the first window's first row, counted from
 * v->base. */
typedef struct {
    mg_line lines[MG_PARTS];
    int32_t parts, count, from;
} mg_layout;

/* Some lines of four channels. x: of the first channel, row v->base; to: the first
 * channel's outputs, `step` bytes before the next one's; words: of taps a channel; beyond: bytes from behind
 * a line's outputs to the next line's; down: rows from a line to the next; bits: or NULL; zero: see mg_run;
 * some: outputs of lines shorter than a run. */
typedef struct {
    const mg_layout *layout;
    int32_t runs, pitch, plane, words, down, apart, step, beyond, zero;
    const int16_t *x;
    const uint32_t *taps;
    int8_t *to;
    uint32_t *bits;
    const int32_t *bias, *mult;
    void *some;
} mg_lines;

/* So many lines, whose windows, `height` rows high, begin at rows at, at + down ...; row: bytes of a row of
 * taps. */
void mg_lay(mg_layout *l, const mg_planes *v, int32_t count, int32_t at, int32_t down, int32_t height,
            int32_t row, int32_t stride);

MG_INLINE void mg_lines_of(const mg_lines *s, const int taps, const int stride, const mg_kind kind) {
    const int32_t pitch = s->pitch;
    const mg_line *const begin = s->layout->lines, *const end = begin + s->layout->parts;
    const int16_t *x = s->x;
    const uint32_t *w = s->taps;
    mg_run r;
    r.scale.zero = s->zero, r.to.apart = s->apart, r.count.runs = s->runs;
    r.next.x = s->down * pitch - s->runs * 2 * MG_RUN * stride, r.next.to = s->beyond;
    for (int32_t k = 0; k < MG_CHANNELS; k++, x += s->plane, w += s->words) {
        r.start.bias = r.start.again = s->bias[k], r.scale.mult = s->mult[k];
        r.to.first = s->to + k * s->step, r.bits = s->bits;
        for (const mg_line *line = begin; line < end; line++)
            mg_runs(&r, x, line, w, pitch, taps, stride, kind);
    }
}

/* The same for windows of 3 x 3, all of whose rows are met. */
MG_INLINE void mg_lines_of_3x3(const mg_lines *s, const int stride, const mg_kind kind) {
#if MG_DSP
    const int32_t pitch = s->pitch, runs = s->runs, lines = s->layout->count;
    const int16_t *x = s->x + s->layout->lines[0].x / 2;
    const uint32_t *w = s->taps;
    uint32_t a, b, c, d, p, q, k, l, m, n;
    int32_t end = runs;
    mg_run r;
    mg_turn next, *const turn = &next;
    r.start.bias = r.start.again = s->bias[0], r.scale.zero = s->zero, r.scale.mult = s->mult[0];
    r.to.first = s->to, r.to.apart = s->apart, r.bits = next.bits = s->bits;
    r.next.x = s->down * pitch - runs * 2 * MG_RUN * stride, r.next.to = s->beyond;
    r.count.lines = next.lines = lines, r.count.runs = runs, next.channels = MG_CHANNELS;
    next.bias = s->bias + 1, next.mult = s->mult + 1, next.words = s->words * (int32_t)sizeof *w;
    next.x = s->plane * 2 - lines * s->down * pitch;
    next.to = s->step - lines * (runs * MG_RUN * s->apart + s->beyond);
    if (stride == 1)
        MG_RUNS_OF(MG_RUNS_3X3, MG_WINDOW_3_1);
    else
        MG_RUNS_OF(MG_RUNS_3X3, MG_WINDOW_3_2);
#else
    mg_lines_of(s, 3, stride, kind);
#endif
}

#endif
