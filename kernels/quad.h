/* Products of one row with four others at once. The four lie interleaved, as `quads`: for each two products
 * of a row one word of each, two int16 in it; [n / 2][4], aligned to 4. n > 0, n % 4 == 0.
 *
 * Rows of int8 meet them in the order in which SXTB16 widens: elements 4i and 4i + 2, then 4i + 1 and 4i + 3.
 * Rows of int16, aligned to 4, meet them in their own order. */
#ifndef MG_QUAD_H
#define MG_QUAD_H

#include "requant.h"
#include "simd.h"

/* `count` rows (> 0), `apart` elements from each other; their sums lie `step` from each other. */
typedef struct {
    int32_t n, count, apart, step;
} mg_rows_of;

/* sums[j * step + k] += row j times quad k. */
void mg_quads_s8(int32_t *sums, const int8_t *row, const uint32_t *quads, mg_rows_of rows);
void mg_quads_s16(int32_t *sums, const int16_t *row, const uint32_t *quads, mg_rows_of rows);

/* dx[j * step + k] = row j times quad k, renormalised; rows aligned to 4. */
void mg_quads_renorm_s16(int16_t *dx, const int16_t *row, const uint32_t *quads, mg_rows_of rows,
                         mg_renorm *r);

/* Where the channels of four pixels go, from the current channel on: biases, multipliers, the first pixel's
 * element, bytes from pixel to pixel, zero point; and the first pixel's byte of the mask, likewise. */
typedef struct {
    uint32_t bits[4];
    const void *end;
    const int32_t *b, *m;
    int8_t *y;
    int32_t out_c, zero;
    uint32_t entry;
    const uint32_t *quads;
    uint8_t *mask;
    int32_t mask_row;
} mg_pixels;

/* y = ssat8((b + row times quad) * m / 2^32 + zero) for four pixels and `count` channels, whose rows of
 * weights follow each other. Masked: count % 8 == 0, whole bytes of the mask. `out` is undefined afterwards.
 */
void mg_pixels_s8(mg_pixels *out, const int8_t *w, int32_t n, int32_t count);
void mg_pixels_masked_s8(mg_pixels *out, const int8_t *w, int32_t n, int32_t count);

/* Four rows of n int8, `pitch` apart, each element less `zero` -> quads in the order for rows of int8. */
void mg_widen_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n, int32_t zero);

/* Four neighbouring columns of n rows of int8, `pitch` apart -> quads in the rows' own order. */
void mg_transpose_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n);

#endif
