/* Partly trained weights: merged whole, or the portable loops. */
#include "conv_part.h"

#include "geometry.h"
#include "requant.h"

void mg_merge_s8(int8_t *y, const int8_t *w, const int8_t *part, const int32_t *index,
                 const mg_merge_params *p) {
    const int32_t last = p->last, trained = p->trained;
    for (int32_t i = 0; i < p->rows; i++, y += last, w += last, part += trained)
        mg_merge_row(y, w, last, part, index, trained);
}

void mg_merge_dx_s8(int8_t *y, const int8_t *w, const int8_t *part, const int32_t *index,
                    const mg_merge_params *p) {
    mg_merge_s8(y, w, part, index, p);
}

#if MG_WIDE
static void merge_all(int8_t *all, const int8_t *w, const int8_t *part, const int32_t *index,
                      const mg_conv_part_params *p) {
    const mg_merge_params size = {p->conv.out_c, p->conv.in_c, p->trained};
    mg_merge_s8(all, w, part, index, &size);
}
#endif

static void part_forward(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                         const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                         const mg_conv_part_params *p) {
    int8_t *const row = (int8_t *)work;
    const int32_t in_c = p->conv.in_c, out_c = p->conv.out_c, pixels = p->conv.in_h * p->conv.in_w;
    mg_clear_bits(mask, pixels * out_c);
    for (int32_t c = 0; c < out_c; c++) {
        mg_merge_row(row, w + c * in_c, in_c, part + c * p->trained, index, p->trained);
        for (int32_t i = 0; i < pixels; i++) {
            int32_t acc = b[c];
            for (int32_t k = 0; k < in_c; k++)
                acc += (x[i * in_c + k] - p->conv.zero_in) * row[k];
            const int32_t t = mg_requant(acc, m[c], 0, p->conv.zero_out), q = mg_ssat8(t);
            y[i * out_c + c] = (int8_t)q;
            if (mask)
                mg_put_bit(mask, i * out_c + c, q == t);
        }
    }
}

void mg_conv2d_part_s8(int8_t *y, uint8_t *mask, int32_t *work, const int8_t *x, const int8_t *w,
                       const int32_t *b, const int32_t *m, const int8_t *part, const int32_t *index,
                       const mg_conv_part_params *p) {
#if MG_WIDE
    if (mg_wide_matrix(&p->conv)) {
        int8_t all[1 << 18];
        merge_all(all, w, part, index, p);
        mg_conv2d_s8__wide(y, mask, x, all, b, m, &p->conv);
        return;
    }
#endif
    const int fast = MG_FAST && p->conv.in_h * p->conv.in_w >= 4;
    (fast ? mg_conv2d_part_s8__quads : part_forward)(y, mask, work, x, w, b, m, part, index, p);
}

static void part_gradient(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                          const mg_scale *da_scale, mg_scale *dx_scale, const int8_t *part,
                          const int32_t *index, const mg_conv_part_params *p) {
    (void)work;
    const int32_t in_c = p->conv.in_c, out_c = p->conv.out_c, pixels = p->conv.in_h * p->conv.in_w,
                  exp = da_scale->exp + p->conv.offset;
    mg_renorm r = mg_renorm_start(dx_scale, da_scale->bits);
    int32_t next = 0;
    for (int32_t c = 0; c < in_c; c++) {
        const mg_column column = mg_column_of(c, &next, w, part, index, p);
        for (int32_t i = 0; i < pixels; i++) {
            int32_t acc = 0;
            for (int32_t k = 0; k < out_c; k++)
                acc += da[i * out_c + k] * column.w[k * column.step];
            dx[i * in_c + c] = mg_renorm_one(&r, acc);
        }
    }
    mg_renorm_end(&r, dx_scale, exp, da_scale->bits);
}

void mg_conv2d_dx_part_s16(int16_t *dx, int32_t *work, const int16_t *da, const int8_t *w,
                           const mg_scale *da_scale, mg_scale *dx_scale, const int8_t *part,
                           const int32_t *index, const mg_conv_part_params *p) {
#if MG_WIDE
    if (mg_wide_matrix(&p->conv)) {
        int8_t all[1 << 18];
        merge_all(all, w, part, index, p);
        mg_conv2d_dx_s16__wide(dx, da, all, da_scale, dx_scale, &p->conv);
        return;
    }
#endif
    (MG_FAST ? mg_conv2d_dx_part_s16__1x1 : part_gradient)(dx, work, da, w, da_scale, dx_scale, part, index,
                                                           p);
}
