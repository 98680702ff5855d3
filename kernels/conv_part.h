/* Convolutions whose weights are partly trained: a frozen plane w as in conv.h, and in RAM `part` with the
 * input channels that train, [CO][KH][KW][trained]; index: which ones, ascending. What the plane has in their
 * place is never used. */
#ifndef MG_CONV_PART_H
#define MG_CONV_PART_H

#include "conv.h"
#include "simd.h"

/* rows of `last` weights, of which `trained` are in the part. */
typedef struct {
    int32_t rows, last, trained;
} mg_merge_params;

typedef struct {
    mg_conv_params conv;
    int32_t trained;
} mg_conv_part_params;

/* The whole weights; one function for both passes. */
void mg_merge_s8(int8_t *y, const int8_t *w, const int8_t *part, const int32_t *index,
                 const mg_merge_params *p);
void mg_merge_dx_s8(int8_t *y, const int8_t *w, const int8_t *part, const int32_t *index,
                    const mg_merge_params *p);

/* conv.h's mg_conv2d_s8 for kernel 1, stride 1, pad 0, shift 0, in_c % 4 == 0, in_c <= 640, out_c % 2 == 0.
 * It needs work in any case. */
void mg_conv2d_part_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                       const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                       const mg_conv_part_params *p);

/* For at least 4 pixels. */
void mg_conv2d_part_s8__quads(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                              const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                              const mg_conv_part_params *p);

/* conv.h's mg_conv2d_dx_s16 for kernel 1, stride 1, pad 0, in_c % 2 == 0, out_c % 4 == 0, out_c <= 640.
 * It needs work in any case. */
void mg_conv2d_dx_part_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                           const mg_scale *da_scale, mg_scale *dx_scale, const int8_t *part,
                           const int32_t *index, const mg_conv_part_params *p);
void mg_conv2d_dx_part_s16__1x1(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                                const mg_scale *da_scale, mg_scale *dx_scale, const int8_t *part,
                                const int32_t *index, const mg_conv_part_params *p);

/* One row: of n weights of the plane, those in the part replaced. */
static inline void mg_merge_row(int8_t *to, const int8_t *w, int32_t n, const int8_t *part,
                                const int32_t *index, int32_t trained) {
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        mg_store32(to + i, mg_load32(w + i));
        __asm__("" : "+r"(to)); /* or the compiler would call memcpy */
    }
    for (; i < n; i++)
        to[i] = w[i];
    for (int32_t j = 0; j < trained; j++)
        to[index[j]] = part[j];
}

/* The weights of one input channel of a pointwise convolution: the first, and how far the next is. */
typedef struct {
    const int8_t *w;
    int32_t step;
} mg_column;

/* Of channel c; *next: first place in the index that is not below c, for channels that ascend. */
static inline mg_column mg_column_of(int32_t c, int32_t *next, const int8_t *w, const int8_t *part,
                                     const int32_t *index, const mg_conv_part_params *p) {
    while (*next < p->trained && index[*next] < c)
        ++*next;
    if (*next < p->trained && index[*next] == c)
        return (mg_column){part + *next, p->trained};
    return (mg_column){w + c, p->conv.in_c};
}

#endif
