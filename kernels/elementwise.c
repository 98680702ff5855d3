#include "elementwise.h"

#include "requant.h"

/* Four elements; m: m1 and m2 in one word. */
static inline void add4(int8_t *y, const int8_t *a, const int8_t *b, uint32_t m, const mg_add_params *p) {
    uint32_t a4 = mg_load32(a), b4 = mg_load32(b);
    uint32_t a02 = mg_sxtb16(a4), a13 = mg_sxtb16_ror8(a4), b02 = mg_sxtb16(b4), b13 = mg_sxtb16_ror8(b4);
    int32_t s0 = mg_smlad(mg_pkhbt(a02, b02), m, p->c) >> p->sh;
    int32_t s1 = mg_smlad(mg_pkhbt(a13, b13), m, p->c) >> p->sh;
    int32_t s2 = mg_smlad(mg_pkhtb(b02, a02), m, p->c) >> p->sh;
    int32_t s3 = mg_smlad(mg_pkhtb(b13, a13), m, p->c) >> p->sh;
    y[0] = (int8_t)mg_ssat8(s0), y[1] = (int8_t)mg_ssat8(s1);
    y[2] = (int8_t)mg_ssat8(s2), y[3] = (int8_t)mg_ssat8(s3);
}

void mg_add_s8(int8_t *y, const int8_t *a, const int8_t *b, const mg_add_params *p) {
    const mg_add_params q = *p;
    int32_t i = 0;
    for (; MG_FAST && i + 4 <= q.n; i += 4)
        add4(y + i, a + i, b + i, mg_pkhbt((uint32_t)q.m1, (uint32_t)q.m2), &q);
    for (; i < q.n; i++)
        y[i] = (int8_t)mg_ssat8((a[i] * q.m1 + b[i] * q.m2 + q.c) >> q.sh);
}

void mg_scale_dx_s16(int16_t *dx, const int16_t *dy, const mg_scale_dx_params *p) {
    const int32_t n = p->n, m = p->m;
    int32_t i = 0;
    for (; i + 2 <= n; i += 2)
        mg_store32(dx + i, mg_scale_two(mg_load32(dy + i), m, m));
    for (; i < n; i++)
        dx[i] = mg_scale_by(dy[i], m);
}

/* How far a summand of exponent e moves right to be aligned with the larger one. */
static int32_t sum_shift(int32_t top, int32_t e) {
    return top - e < 24 ? top - e : 24;
}

void mg_sum_dx_s16(int16_t *dx, const int16_t *a, const int16_t *b, const mg_scale *a_scale,
                   const mg_scale *b_scale, mg_scale *dx_scale, const mg_sum_dx_params *p) {
    int32_t ea = a_scale->exp + p->offset_a, eb = b_scale->exp + p->offset_b;
    int32_t top = ea > eb ? ea : eb, shift_a = sum_shift(top, ea), shift_b = sum_shift(top, eb);
    int32_t bits_a = a_scale->bits - shift_a, bits_b = b_scale->bits - shift_b;
    const int32_t bits = (bits_a > bits_b ? bits_a : bits_b) + 8;
    mg_renorm r = mg_renorm_start(dx_scale, bits);
    for (int32_t i = 0; i < p->n; i++)
        dx[i] = mg_renorm_one(&r, (a[i] * 256 >> shift_a) + (b[i] * 256 >> shift_b));
    mg_renorm_end(&r, dx_scale, top - 8, bits);
}

void mg_gather_s8(int8_t *y, const int8_t *x, const int32_t *index, const mg_gather_params *p) {
    const mg_gather_params q = *p;
    for (int32_t i = 0; i < q.n; i++, x += q.c, y += q.k)
        for (int32_t j = 0; j < q.k; j++)
            y[j] = x[index[j]];
}

void mg_gather_dx_s16(int16_t *y, const int16_t *x, const int32_t *index, const mg_gather_params *p) {
    const mg_gather_params q = *p;
    for (int32_t i = 0; i < q.n; i++, x += q.c, y += q.k)
        for (int32_t j = 0; j < q.k; j++)
            y[j] = x[index[j]];
}

void mg_gather_planes_s8(int8_t *y, const int8_t *x, const int32_t *index, const mg_gather_params *p) {
    const mg_gather_params q = *p;
    for (int32_t j = 0; j < q.k; j++)
        for (int32_t i = 0, at = index[j]; i < q.n; i++, at += q.c)
            *y++ = x[at];
}
