/* Types that several kernel families share. */
#ifndef MG_TYPES_H
#define MG_TYPES_H

#include <stdint.h>

/* Scale state of a gradient tensor: value = q * 2^(exp + an offset known at build time).
 * growth: bits by which its sums are expected to outgrow what they are made of. saturated: steps that
 * clipped, up to 32767. bits: length of its largest magnitude, 0..14. */
typedef struct {
    int16_t exp, growth, saturated, bits;
} mg_scale;

/* For kernels that need nothing but a number of elements. */
typedef struct {
    int32_t n;
} mg_count_params;

#endif
