#include "planes.h"

void mg_planes_at(mg_planes *v, int32_t columns, int32_t from, int32_t width, int32_t top, int32_t bottom) {
    v->columns = (columns + 1) & ~1, v->from = from, v->top = top, v->bottom = bottom;
    v->capacity = v->room / v->columns;
    v->capacity = v->capacity < bottom - top ? v->capacity : bottom - top;
    v->first = from < 0 ? -from : 0, v->end = width - from < v->columns ? width - from : v->columns;
    memset(v->rows, 0, (size_t)(v->capacity * mg_pitch(v)));
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
