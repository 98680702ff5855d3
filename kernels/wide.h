/* Parts of the kernels for machines with wide vectors (the host): products of int32 matrices a tile at a
 * time, and what becomes of their sums. The compiler's own vector types, so that any machine will do. */
#ifndef MG_WIDE_H
#define MG_WIDE_H

#include "geometry.h"
#include "requant.h"

/* A tile: sums of MG_ROWS rows by MG_LANES columns, which stay in registers. */
enum { MG_LANES = 16, MG_ROWS = 8 };

typedef int8_t mg_lanes8 __attribute__((vector_size(MG_LANES)));
typedef int16_t mg_lanes16 __attribute__((vector_size(2 * MG_LANES)));
typedef int32_t mg_lanes32 __attribute__((vector_size(4 * MG_LANES)));

static inline int32_t mg_round_up(int32_t n, int32_t to) {
    return (n + to - 1) / to * to;
}

/* The first n numbers, 0 in the lanes after them. */
MG_INLINE void mg_load8(mg_lanes16 *to, const int8_t *x, int32_t n) {
    mg_lanes8 v = {0};
    if (n >= MG_LANES)
        memcpy(&v, x, sizeof v);
    else
        memcpy(&v, x, (size_t)n);
    *to = __builtin_convertvector(v, mg_lanes16);
}

MG_INLINE void mg_load16(mg_lanes16 *to, const int16_t *x, int32_t n) {
    mg_lanes16 v = {0};
    if (n >= MG_LANES)
        memcpy(&v, x, sizeof v);
    else
        memcpy(&v, x, (size_t)n * sizeof *x);
    *to = v;
}

MG_INLINE void mg_store16(int16_t *to, const mg_lanes16 *v, int32_t n) {
    if (n >= MG_LANES)
        memcpy(to, v, sizeof *v);
    else
        memcpy(to, v, (size_t)n * sizeof *to);
}

MG_INLINE void mg_store_sums(int32_t *to, const mg_lanes32 *v, int32_t n) {
    if (n >= MG_LANES)
        memcpy(to, v, sizeof *v);
    else
        memcpy(to, v, (size_t)n * sizeof *to);
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
                mg_store_sums(c + (i + r) * n + j, s + r, n - j);
        }
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bits are packed through the first byte of a word");

/* Flags of 0 or 1, n of them, to bits; the spare bits of the last byte are 0. */
static inline void mg_pack_flags(uint8_t *bits, const uint8_t *flags, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, flags + i, (size_t)mg_min(8, n - i));
        bits[i >> 3] = (uint8_t)(eight * UINT64_C(0x0102040810204080) >> 56); /* byte k to bit k */
    }
}

/* Bits of a mask to flags that are 0 where the bit is; 8 at a time. */
static inline void mg_unpack_flags(uint8_t *flags, const uint8_t *bits, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        uint64_t eight = bits[i >> 3] * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        memcpy(flags + i, &eight, 8);
    }
}

/* MG_LANES sums -> activations and flags that are 1 where they were not clamped. */
MG_INLINE void mg_activate_lanes(int8_t *y, uint8_t *flags, const int32_t *sum, const int32_t *b,
                                 const int32_t *m, const mg_conv_params *p) {
    mg_lanes32 q, inside;
    for (int l = 0; l < MG_LANES; l++) {
        const int32_t t = mg_requant(sum[l] + b[l], m[l], p->shift, p->zero_out);
        q[l] = mg_ssat8(t), inside[l] = q[l] == t;
    }
    const mg_lanes8 narrow = __builtin_convertvector(q, mg_lanes8);
    const mg_lanes8 flag = __builtin_convertvector(inside, mg_lanes8);
    memcpy(y, &narrow, sizeof narrow);
    memcpy(flags, &flag, sizeof flag);
}

/* n of the numbers, then zeros up to a multiple of MG_LANES. */
static inline void mg_pad32(int32_t *to, const int32_t *x, int32_t n) {
    memset(to, 0, (size_t)mg_round_up(n, MG_LANES) * sizeof *to);
    memcpy(to, x, (size_t)n * sizeof *to);
}

/* Sums of n pixels -> activations and their mask, which begins at a byte. MG_LANES more sums are read, as a
 * pixel's last lanes belong to the next one, which comes after and is right. */
static inline void mg_activate(int8_t *y, uint8_t *mask, const int32_t *sum, const int32_t *b,
                               const int32_t *m, int32_t n, const mg_conv_params *p) {
    const int32_t channels = p->out_c, all = mg_round_up(channels, MG_LANES);
    int32_t bias[all], mult[all];
    int8_t q[n * channels + MG_LANES];
    uint8_t flags[n * channels + MG_LANES];
    mg_pad32(bias, b, channels), mg_pad32(mult, m, channels);
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0, at = i * channels; c < channels; c += MG_LANES)
            mg_activate_lanes(q + at + c, flags + at + c, sum + at + c, bias + c, mult + c, p);
    memcpy(y, q, (size_t)(n * channels));
    if (mask)
        mg_pack_flags(mask, flags, n * channels);
}

/* da = mg_scale_by(da, m) where the flag is not 0, else 0; |da| <= 2^14, so without int64. */
MG_INLINE void mg_clamp_lanes(mg_lanes16 *da, const uint8_t *flags, const mg_lanes32 *m) {
    mg_lanes8 flag;
    memcpy(&flag, flags, sizeof flag);
    const mg_lanes32 q = __builtin_convertvector(*da, mg_lanes32);
    const mg_lanes32 low = q * (*m & 0xFFFF) + (INT32_C(1) << 30);
    const mg_lanes32 scaled = (q * (*m >> 16) + (low >> 16)) >> 15;
    *da = __builtin_convertvector(scaled, mg_lanes16) & __builtin_convertvector(flag != 0, mg_lanes16);
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
