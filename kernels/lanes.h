/* Four channels at a time, widened to int16: what the depthwise kernels keep of a window, and one of its
 * taps. */
#ifndef MG_LANES_H
#define MG_LANES_H

#include "simd.h"

/* Four channels of one pixel or tap, two lanes a word; which lane is which channel is the kernel's choice. */
typedef struct {
    uint32_t u, v;
} mg_quad;

/* Their sums: of the bottom and the top lanes. */
typedef struct {
    int32_t ub, ut, vb, vt;
} mg_four;

/* Two neighbouring pixels. */
typedef struct {
    mg_four p, q;
} mg_two;

/* t += (x[at], x[at + apart]) * w[tap]; the three places are known at compile time. The
 * pointers come back as they were: operands that an assembly both reads and writes never share a register.
 * Takes twelve of the fourteen registers: call it from a function that does little else. */
MG_INLINE mg_two mg_tap(mg_two t, const mg_quad **x, const mg_quad **w, const int at, const int tap,
                        const int apart) {
#if MG_DSP
    uint32_t w1, x1;
    __asm__("ldr    %[w1], [%[w], %[k]]        \n\t"
            "ldr    %[x1], [%[x], %[i]]        \n\t"
            "smlabb %[pub], %[x1], %[w1], %[pub] \n\t"
            "smlatt %[put], %[x1], %[w1], %[put] \n\t"
            "ldr    %[x1], [%[x], %[j]]        \n\t"
            "smlabb %[qub], %[x1], %[w1], %[qub] \n\t"
            "smlatt %[qut], %[x1], %[w1], %[qut] \n\t"
            "ldr    %[w1], [%[w], %[k] + 4]    \n\t"
            "ldr    %[x1], [%[x], %[i] + 4]    \n\t"
            "smlabb %[pvb], %[x1], %[w1], %[pvb] \n\t"
            "smlatt %[pvt], %[x1], %[w1], %[pvt] \n\t"
            "ldr    %[x1], [%[x], %[j] + 4]    \n\t"
            "smlabb %[qvb], %[x1], %[w1], %[qvb] \n\t"
            "smlatt %[qvt], %[x1], %[w1], %[qvt] \n\t"
            : [pub] "+r"(t.p.ub), [put] "+r"(t.p.ut), [pvb] "+r"(t.p.vb), [pvt] "+r"(t.p.vt),
              [qub] "+r"(t.q.ub), [qut] "+r"(t.q.ut), [qvb] "+r"(t.q.vb), [qvt] "+r"(t.q.vt), [w1] "=&r"(w1),
              [x1] "=&r"(x1), [x] "+r"(*x), [w] "+r"(*w)
            : [k] "i"(8 * tap), [i] "i"(8 * at), [j] "i"(8 * (at + apart))
            : "memory");
#else
    const mg_quad a = (*x)[at], b = (*x)[at + apart], k = (*w)[tap];
    t.p.ub = mg_smlabb(a.u, k.u, t.p.ub), t.p.ut = mg_smlatt(a.u, k.u, t.p.ut);
    t.p.vb = mg_smlabb(a.v, k.v, t.p.vb), t.p.vt = mg_smlatt(a.v, k.v, t.p.vt);
    t.q.ub = mg_smlabb(b.u, k.u, t.q.ub), t.q.ut = mg_smlatt(b.u, k.u, t.q.ut);
    t.q.vb = mg_smlabb(b.v, k.v, t.q.vb), t.q.vt = mg_smlatt(b.v, k.v, t.q.vt);
#endif
    return t;
}

#endif
