/* quad.h in C, with the same bits, for machines without the DSP instructions. */
#include "quad.h"

#if !MG_DSP

/* Words of four elements of a row. */
static uint64_t load_s8(const int8_t *w) {
    const uint32_t v = mg_load32(w);
    return (uint64_t)mg_sxtb16_ror8(v) << 32 | mg_sxtb16(v);
}

static uint64_t load_s16(const int16_t *w) {
    return (uint64_t)mg_load32(w + 2) << 32 | mg_load32(w);
}

static void step(int32_t *sums, uint64_t w, const uint32_t *quads) {
    for (int k = 0; k < 4; k++)
        sums[k] = mg_smlad((uint32_t)(w >> 32), quads[4 + k], mg_smlad((uint32_t)w, quads[k], sums[k]));
}

#define QUADS(name, type, load)                                                                              \
    void name(int32_t *sums, const type *row, const uint32_t *quads, mg_rows_of rows) {                      \
        for (int32_t j = 0; j < rows.count; j++, row += rows.apart, sums += rows.step)                       \
            for (int32_t i = 0; i < rows.n; i += 4)                                                          \
                step(sums, load(row + i), quads + 2 * i);                                                    \
    }

static void requantise(mg_pixels *out, const int32_t *sums, int32_t c, int masked) {
    for (int32_t k = 0; k < 4; k++) {
        const int32_t t = mg_smmlar(sums[k], out->m[c], out->zero);
        out->y[c + k * out->out_c] = (int8_t)mg_ssat8(t);
        uint8_t *bits = masked ? out->mask + k * out->mask_row + c / 8 : 0;
        if (masked)
            *bits = (uint8_t)((c % 8 ? *bits : 0) | (mg_ssat8(t) == t) << c % 8);
    }
}

#define PIXELS(name, type, load, masked)                                                                     \
    void name(mg_pixels *out, const type *w, int32_t n, int32_t count) {                                     \
        for (int32_t c = 0; c < count; c++, w += n) {                                                        \
            int32_t sums[4] = {out->b[c], out->b[c], out->b[c], out->b[c]};                                  \
            for (int32_t i = 0; i < n; i += 4)                                                               \
                step(sums, load(w + i), out->quads + 2 * i);                                                 \
            requantise(out, sums, c, masked);                                                                \
        }                                                                                                    \
    }

void mg_widen_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n, int32_t zero) {
    const uint32_t less = mg_both(-zero);
    for (int32_t i = 0; i < n; i += 4, quads += 8)
        for (int32_t k = 0; k < 4; k++) {
            const uint32_t v = mg_load32(x + k * pitch + i);
            quads[k] = mg_sxtab16(less, v), quads[4 + k] = mg_sxtab16_ror8(less, v);
        }
}

void mg_transpose_quads(uint32_t *quads, const int8_t *x, int32_t pitch, int32_t n) {
    for (int32_t i = 0; i < n; i += 2, x += 2 * pitch)
        for (int32_t k = 0; k < 4; k++)
            *quads++ = mg_pkhbt((uint32_t)x[k], (uint32_t)x[pitch + k]);
}

void mg_quads_renorm_s16(int16_t *dx, const int16_t *row, const uint32_t *quads, mg_rows_of rows,
                         mg_renorm *r) {
    for (int32_t j = 0; j < rows.count; j++, row += rows.apart, dx += rows.step) {
        int32_t sums[4] = {0};
        for (int32_t i = 0; i < rows.n; i += 4)
            step(sums, load_s16(row + i), quads + 2 * i);
        mg_renorm_two(dx, r, sums[0], sums[1]);
        mg_renorm_two(dx + 2, r, sums[2], sums[3]);
    }
}

QUADS(mg_quads_s8, int8_t, load_s8)
QUADS(mg_quads_s16, int16_t, load_s16)
PIXELS(mg_pixels_s8, int8_t, load_s8, 0)
PIXELS(mg_pixels_masked_s8, int8_t, load_s8, 1)

#endif
