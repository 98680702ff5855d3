/* Parts of the kernels for machines with wide vectors (the host): products of int32 matrices a tile at a
 * time, and what becomes of their sums. The compiler's own vector types, so that any machine will do. */
#ifndef MG_WIDE_H
#define MG_WIDE_H

#include "geometry.h"
#include "requant.h"

/* A tile: sums of MG_ROWS rows by MG_LANES columns, which stay in registers. */
enum { MG_LANES = 16, MG_ROWS = 8 };

typedef int16_t mg_lanes16 __attribute__((vector_size(2 * MG_LANES)));
typedef int32_t mg_lanes32 __attribute__((vector_size(4 * MG_LANES)));

static inline int32_t mg_round_up(int32_t n, int32_t to) {
    return (n + to - 1) / to * to;
}

/* Left matrix: element (r, k) at at[r * row + k * step]; rows up to a multiple of MG_ROWS can be read. */
typedef struct {
    const int32_t *at;
    int32_t row, step;
} mg_left;

/* sum[r] = sum over n k of a(r, k) * b[k] */
MG_INLINE void mg_tile(mg_lanes32 *sum, mg_left a, const mg_lanes16 *b, int32_t n) {
    mg_lanes32 s[MG_ROWS] = {{0}};
    for (int32_t k = 0; k < n; k++) {
        const mg_lanes32 w = __builtin_convertvector(b[k], mg_lanes32);
#pragma GCC unroll 8
        for (int r = 0; r < MG_ROWS; r++)
            s[r] += a.at[r * a.row + k * a.step] * w;
    }
    memcpy(sum, s, sizeof s);
}

/* c[m][n] = a b, b in panels [n / MG_LANES rounded up][k]. */
static inline void mg_product(int32_t *c, mg_left a, const mg_lanes16 *b, int32_t m, int32_t k, int32_t n) {
    for (int32_t j = 0; j < n; j += MG_LANES, b += k)
        for (int32_t i = 0; i < m; i += MG_ROWS) {
            mg_lanes32 s[MG_ROWS];
            mg_tile(s, (mg_left){a.at + i * a.row, a.row, a.step}, b, k);
            for (int32_t r = 0; r < mg_min(MG_ROWS, m - i); r++)
                memcpy(c + (i + r) * n + j, s + r, (size_t)mg_min(MG_LANES, n - j) * sizeof *c);
        }
}

/* Flags of 0 or 1, n of them, to bits; the spare bits of the last byte are 0. */
static inline void mg_pack_flags(uint8_t *bits, const uint8_t *flags, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        uint32_t byte = 0;
        for (int32_t k = 0; k < mg_min(8, n - i); k++)
            byte |= (uint32_t)flags[i + k] << k;
        bits[i >> 3] = (uint8_t)byte;
    }
}

/* Sums of n pixels -> activations and their mask, which begins at a byte. */
static inline void mg_activate(int8_t *y, uint8_t *mask, const int32_t *sum, const int32_t *b,
                               const int32_t *m, int32_t n, const mg_conv_params *p) {
    const int32_t channels = p->out_c, shift = p->shift, zero = p->zero_out;
    uint8_t flags[n * channels];
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < channels; c++) {
            int32_t t = mg_requant(sum[i * channels + c] + b[c], m[c], shift, zero), q = mg_ssat8(t);
            y[i * channels + c] = (int8_t)q;
            flags[i * channels + c] = q == t;
        }
    if (mask)
        mg_pack_flags(mask, flags, n * channels);
}

/* n sums -> gradients; the same as mg_renorm_one of each, whose multiplier is a power of two. */
static inline void mg_renorm_all(mg_renorm *r, int16_t *dx, const int32_t *sum, int32_t n) {
    const int32_t shift = r->shift;
    uint32_t magnitude = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t t = ((sum[i] >> (shift - 1)) + 1) >> 1;
        magnitude |= (uint32_t)(t ^ (t >> 31));
        dx[i] = (int16_t)mg_ssat15(t);
    }
    r->magnitude |= magnitude;
}

/* int64 sums -> int32, saturated. */
static inline void mg_saturate_all(int32_t *dw, const int64_t *total, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        dw[i] = (int32_t)(total[i] > INT32_MAX ? INT32_MAX : total[i] < INT32_MIN ? INT32_MIN : total[i]);
}

#endif
