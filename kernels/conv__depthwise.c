/* Depthwise convolution, four channels at a time: the rows that the window meets are kept as int16 with the
 * zero point taken off and zeros around them, so that two pixels by four channels cost fourteen instructions
 * a tap. */
#include "conv.h"
#include "lanes.h"
#include "requant.h"

/* Stack: 3 KB. A map 32 wide fits at once with a 7x7 kernel, a wider one goes by parts. */
enum { PIXELS = 272, MAX_KERNEL = 7 };

/* Rows of the input for some neighbouring outputs: as many slots as the kernel has rows, PIXELS / kernel
 * pixels apart, row iy in slot (iy + pad_top) % kernel. The weights come twice in a row where there are
 * several output rows, so that the slots can be met in the order of memory whichever holds the window's first
 * row. */
typedef struct {
    mg_quad pixels[PIXELS], taps[2 * MAX_KERNEL * MAX_KERNEL];
    int32_t columns, next;
} rows;

static inline mg_quad expand(const int8_t *p, uint32_t minus_zero) {
    uint32_t v = mg_load32(p);
    return (mg_quad){mg_sxtab16(minus_zero, v), mg_sxtab16_ror8(minus_zero, v)};
}

/* n pixels, c bytes apart. */
static inline void expand_all(mg_quad *to, const int8_t *x, int32_t n, int32_t c, uint32_t minus_zero) {
#if MG_DSP
    if (n & 1)
        *to++ = expand(x, minus_zero), x += c;
    const mg_quad *end = to + (n & ~1);
    uint32_t a, b, u, v;
    if (to < end)
        __asm__ volatile("1:                                  \n\t"
                         "ldr     %[a], [%[x]]                \n\t"
                         "ldr     %[b], [%[x], %[c]]          \n\t"
                         "add     %[x], %[x], %[c], lsl #1    \n\t"
                         "sxtab16 %[u], %[zero], %[a]         \n\t"
                         "sxtab16 %[v], %[zero], %[a], ror #8 \n\t"
                         "strd    %[u], %[v], [%[to]], #8     \n\t"
                         "sxtab16 %[u], %[zero], %[b]         \n\t"
                         "sxtab16 %[v], %[zero], %[b], ror #8 \n\t"
                         "strd    %[u], %[v], [%[to]], #8     \n\t"
                         "cmp     %[to], %[end]               \n\t"
                         "bne     1b"
                         : [x] "+r"(x), [to] "+r"(to), [a] "=&r"(a), [b] "=&r"(b), [u] "=&r"(u), [v] "=&r"(v)
                         : [c] "r"(c), [zero] "r"(minus_zero), [end] "r"(end)
                         : "cc", "memory");
#else
    for (int32_t i = 0; i < n; i++, x += c)
        to[i] = expand(x, minus_zero);
#endif
}

/* One input row of four channels, x at its column 0, from column `from` on; x = NULL: a row of padding. */
static void fill(mg_quad *row, const int8_t *x, int32_t from, int32_t columns, const mg_conv_params *p) {
    const uint32_t minus_zero = mg_both(-p->zero_in);
    const int32_t c = p->in_c, last = x && from + columns > p->in_w ? p->in_w - from : columns;
    int32_t i = 0;
    for (; i < columns && (!x || from + i < 0); i++)
        row[i] = (mg_quad){0, 0};
    if (i < last) {
        expand_all(row + i, x + (from + i) * c, last - i, c, minus_zero);
        i = last;
    }
    for (; i < columns; i++)
        row[i] = (mg_quad){0, 0};
}

/* Bring in the rows up to that of tap kernel_h - 1 of output row oy. */
static void advance(rows *r, const int8_t *x, int32_t oy, int32_t from, const mg_conv_params *p) {
    for (; r->next < oy * p->stride - p->pad_top + p->kernel_h; r->next++) {
        int inside = r->next >= 0 && r->next < p->in_h;
        mg_quad *row = r->pixels + (r->next + p->pad_top) % p->kernel_h * (PIXELS / p->kernel_w);
        fill(row, inside ? x + r->next * p->in_w * p->in_c : 0, from, r->columns, p);
    }
}

/* Four channels of one pixel; i: index of the first. */
MG_INLINE void put4(int8_t *y, uint8_t *mask, int32_t i, mg_four t, const int32_t *m, int32_t zero) {
    const int32_t a = mg_smmlar(t.ub, m[0], zero), b = mg_smmlar(t.vb, m[1], zero);
    const int32_t c = mg_smmlar(t.ut, m[2], zero), d = mg_smmlar(t.vt, m[3], zero);
    y += i;
    y[0] = (int8_t)mg_ssat8(a), y[1] = (int8_t)mg_ssat8(b);
    y[2] = (int8_t)mg_ssat8(c), y[3] = (int8_t)mg_ssat8(d);
    if (mask) {
        uint32_t bits = mg_flag_equal(mg_flag_equal(0, a, mg_ssat8(a), 1), b, mg_ssat8(b), 2);
        bits = mg_flag_equal(mg_flag_equal(bits, c, mg_ssat8(c), 4), d, mg_ssat8(d), 8);
        mg_put_bits(mask, i, bits);
    }
}

/* n pixels of an output row, four channels; i: index of the first element; slot: where the window's first row
 * is. */
MG_INLINE void strip(int8_t *y, uint8_t *mask, int32_t i, int32_t n, const rows *r, int32_t slot,
                     const int32_t *b, const int32_t *m, const mg_conv_params *p, const int kernel,
                     const int stride) {
    const int32_t c = p->out_c, zero = p->zero_out;
    const mg_four start = {.ub = b[0], .vb = b[1], .ut = b[2], .vt = b[3]};
    const mg_quad *x = r->pixels, *w = r->taps + (kernel - slot) % kernel * kernel;
    for (int32_t j = 0; j < n; j += 2, i += 2 * c, x += 2 * stride) {
        mg_two t = {start, start};
#pragma GCC unroll 7
        for (int ky = 0; ky < kernel; ky++)
#pragma GCC unroll 7
            for (int kx = 0; kx < kernel; kx++)
                t = mg_tap(t, &x, &w, ky * (PIXELS / kernel) + kx, ky * kernel + kx, stride);
        put4(y, mask, i, t.p, m, zero);
        if (j + 1 < n)
            put4(y, mask, i + c, t.q, m, zero);
    }
}

typedef void strip_function(int8_t *y, uint8_t *mask, int32_t i, int32_t n, const rows *r, int32_t slot,
                            const int32_t *b, const int32_t *m, const mg_conv_params *p);

#define STRIP(kernel, stride)                                                                                \
    static void strip_##kernel##_##stride(int8_t *y, uint8_t *mask, int32_t i, int32_t n, const rows *r,     \
                                          int32_t slot, const int32_t *b, const int32_t *m,                  \
                                          const mg_conv_params *p) {                                         \
        strip(y, mask, i, n, r, slot, b, m, p, kernel, stride);                                              \
    }
STRIP(3, 1)
STRIP(3, 2)
STRIP(5, 1)
STRIP(5, 2)
STRIP(7, 1)
STRIP(7, 2)

static strip_function *const STRIPS[3][2] = {
    {strip_3_1, strip_3_2}, {strip_5_1, strip_5_2}, {strip_7_1, strip_7_2}};

/* Four channels of output columns ox to ox + n - 1. */
static void part(int8_t *y, uint8_t *mask, const int8_t *x, const int32_t *b, const int32_t *m, rows *r,
                 int32_t c, int32_t ox, int32_t n, const mg_conv_params *p) {
    strip_function *run = STRIPS[(p->kernel_w - 3) / 2][p->stride - 1];
    r->next = -p->pad_top, r->columns = (n + n % 2 - 1) * p->stride + p->kernel_w;
    for (int32_t oy = 0; oy < p->out_h; oy++) {
        advance(r, x + c, oy, ox * p->stride - p->pad, p);
        run(y, mask, (oy * p->out_w + ox) * p->out_c + c, n, r, oy * p->stride % p->kernel_h, b + c, m + c,
            p);
    }
}

void mg_depthwise_conv2d_s8__4(int8_t *y, uint8_t *mask, const int8_t *x, const int8_t *w, const int32_t *b,
                               const int32_t *m, const mg_conv_params *p) {
    rows r;
    int32_t widest = ((PIXELS / p->kernel_h - p->kernel_w) / p->stride + 1) & ~1;
    const int32_t taps = p->kernel_h * p->kernel_w;
    mg_clear_bits(mask, p->out_h * p->out_w * p->out_c);
    for (int32_t c = 0; c < p->out_c; c += 4) {
        expand_all(r.taps, w + c, taps, p->in_c, 0);
        if (p->out_h > 1)
            expand_all(r.taps + taps, w + c, taps, p->in_c, 0);
        for (int32_t ox = 0, n; ox < p->out_w; ox += n) {
            n = p->out_w - ox < widest ? p->out_w - ox : widest;
            part(y, mask, x, b, m, &r, c, ox, n, p);
        }
    }
}
