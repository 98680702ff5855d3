/* Products of two rows with two others at once. Two rows lie interleaved, as `pairs`: of four elements of
 * each the words (0, 2) of both, then (1, 3) of both; two int16 in each, aligned to 4. n > 0, n % 4 == 0. */
#ifndef MG_PAIR_H
#define MG_PAIR_H

#include "quad.h"

/* Where the channels of pairs of pixels go. w: weights, pairs that follow each other, to `end`; x: the first
 * of `left` pairs of pixels, each of so many bytes; y, mask: the first pixel's element and byte of the mask;
 * skip, mask_skip: from behind a pair's to the next one's; mask_row: from pixel to pixel. */
typedef struct {
    const int16_t *end;
    uint32_t entry;
    int32_t out_c, zero;
    const int32_t *b, *m;
    const int16_t *w;
    int32_t bytes;
    const uint32_t *x;
    int8_t *y;
    int32_t left, skip;
    uint8_t *mask;
    int32_t mask_row, mask_skip;
} mg_pairs;

/* For sums of n products, and `count` channels (even); x, y, left, mask are given with some pixels, and moved
 * on. */
mg_pairs mg_pairs_of(const int16_t *w, int32_t n, int32_t count, const int32_t *b, const int32_t *m,
                     int32_t out_c, int32_t zero);

/* y = ssat8((b + products) * m / 2^32 + zero). Masked: whole bytes of the mask, count % 8 == 0. */
void mg_pixels_pairs(mg_pairs *out);
void mg_pixels_masked_pairs(mg_pairs *out);

/* `count` pairs, one behind the other: each of two rows of n int8, `pitch` apart, less `zero`. */
void mg_widen_pairs(void *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero, int32_t count);

/* The same of two pairs. */
void mg_widen_pixels(uint32_t *pairs, const int8_t *x, int32_t pitch, int32_t n, int32_t zero);

#endif
