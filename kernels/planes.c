#include "planes.h"

/* Zeros beside the map in all rows, by words, before pixels come; the empty assembly keeps the compiler from
 * calling memset. */
static void clear_sides(mg_planes *v) {
    const int32_t words = v->columns / 2, left = (v->first + 1) / 2, right = v->end / 2;
    uint32_t *row = (uint32_t *)(void *)v->rows;
    for (int32_t n = MG_CHANNELS * v->capacity; n > 0; n--, row += words) {
#pragma GCC unroll 1
        for (int32_t i = 0; i < left; i++) {
            row[i] = 0;
            __asm__("" : : : "memory");
        }
#pragma GCC unroll 1
        for (int32_t i = right; i < words; i++) {
            row[i] = 0;
            __asm__("" : : : "memory");
        }
    }
}

void mg_planes_at(mg_planes *v, int32_t columns, int32_t from, int32_t width, int32_t top, int32_t bottom) {
    v->columns = (columns + 1) & ~1, v->from = from, v->top = top, v->bottom = bottom;
    v->capacity = v->room / v->columns;
    v->capacity = v->capacity < bottom - top ? v->capacity : bottom - top;
    v->first = from < 0 ? -from : 0, v->end = width - from < v->columns ? width - from : v->columns;
    v->cleared = top < 0 && v->capacity == bottom - top;
    if (v->cleared)
        memset(v->rows, 0, (size_t)(v->capacity * mg_pitch(v)));
    else
        clear_sides(v);
}

void mg_lay(mg_layout *l, const mg_planes *v, int32_t count, int32_t at, int32_t down, int32_t height,
            int32_t row, int32_t stride) {
    mg_line *line = l->lines - 1;
    const int32_t pitch = mg_pitch(v);
    l->count = count, l->from = at - v->base;
    for (; count > 0; count--, at += down) {
        const int32_t first = at < v->top ? v->top - at : 0;
        const int32_t last = v->bottom - at < height ? v->bottom - at : height;
        if (line >= l->lines && line->taps == first * row && line->end == last * row)
            line->count++;
        else
            *++line =
                (mg_line){(int16_t)((at + first - v->base) * pitch), (int16_t)(first * row),
                          (int16_t)(last * row), (int16_t)((last - first) * pitch - 2 * MG_RUN * stride), 1};
    }
    l->parts = (int32_t)(line + 1 - l->lines);
}
