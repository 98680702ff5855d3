/* Windows of a convolution, laid out one behind the other. */
#ifndef MG_WINDOWS_H
#define MG_WINDOWS_H

#include "geometry.h"
#include "simd.h"

/* n bytes, the last word perhaps once more; the empty assembly keeps the compiler from calling memcpy. */
static inline void mg_copy(int8_t *to, const int8_t *from, int32_t n) {
    for (int32_t i = 0; i < n; i += n < 4 ? 1 : 4) {
        const int32_t at = i + 4 <= n ? i : n - 4;
        if (n < 4)
            to[i] = from[i];
        else
            mg_store32(to + at, mg_load32(from + at));
        __asm__("" : "+r"(to));
    }
}

/* Four runs of n bytes, word by word, the last word perhaps once more: `step` apart there, `pitch` here. */
static inline void mg_copy_four(int8_t *to, int32_t pitch, const int8_t *from, int32_t step, int32_t n) {
    for (int32_t i = 0; i < n; i += 4) {
        const int32_t at = i + 4 <= n ? i : n - 4;
        for (int32_t k = 0; k < 4; k++)
            mg_store32(to + k * pitch + at, mg_load32(from + k * step + at));
    }
}

/* Rows first <= ky < last of a window; what lies outside the map reads as the zero point. */
static inline void mg_lay_one(int8_t *to, const int8_t *x, int32_t at, int32_t first, int32_t last,
                              const mg_conv_params *p) {
    const mg_taps rows = mg_rows(at / p->out_w, p), cols = mg_columns(at % p->out_w, p);
    const int32_t line = p->kernel_w * p->in_c, n = (cols.last - cols.first) * p->in_c;
    if (rows.first > first || rows.last < last || n < line)
        memset(to, p->zero_in, (size_t)((last - first) * line));
    for (int32_t ky = first; ky < last; ky++)
        if (ky >= rows.first && ky < rows.last)
            mg_copy(to + (ky - first) * line + cols.first * p->in_c,
                    x + mg_in_at(rows.at + ky, cols.at + cols.first, p), n);
}

/* Rows first <= ky < last of four windows from pixel `at` on, `pitch` bytes apart. */
static __attribute__((noinline)) void mg_lay_out(int8_t *to, int32_t pitch, const int8_t *x, int32_t at,
                                                 int32_t first, int32_t last, const mg_conv_params *p) {
    const int32_t line = p->kernel_w * p->in_c, step = p->stride * p->in_c, ox = at % p->out_w;
    const int32_t left = ox * p->stride - p->pad, right = left + 3 * p->stride + p->kernel_w;
    const int32_t top = at / p->out_w * p->stride - p->pad_top;
    const int inside = top + first >= 0 && top + last <= p->in_h && left >= 0 && right <= p->in_w;
    if (inside && ox + 3 < p->out_w && line >= 4) {
        x += mg_in_at(top + first, left, p);
        for (int32_t ky = first; ky < last; ky++, to += line, x += p->in_w * p->in_c)
            mg_copy_four(to, pitch, x, step, line);
        return;
    }
    for (int32_t k = 0; k < 4; k++)
        mg_lay_one(to + k * pitch, x, at + k, first, last, p);
}

#endif
