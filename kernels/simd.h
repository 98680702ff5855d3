/* The Cortex-M7 DSP instructions that the kernels use, and C twins with the same bits for every other
 * machine. Names are the instructions' own. A word holds two int16 lanes (low = B, high = T) or four int8. */
#ifndef MG_SIMD_H
#define MG_SIMD_H

#include <stdint.h>
#include <string.h>

/* The loops written in assembly need an optimiser that knows all trip counts; without one the twins serve. */
#if defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__)
#define MG_DSP 1
#pragma GCC optimize("O3")
#else
#define MG_DSP 0
#endif

/* Whether the dispatchers take the variants made for the DSP instructions; tests set it to run their C twins.
 */
#ifndef MG_FAST
#define MG_FAST MG_DSP
#endif

/* Whether the dispatchers take the variants for machines with wide vectors and a large stack: the host. */
#ifndef MG_WIDE
#define MG_WIDE 0
#endif

/* For functions whose arguments must become constants or stay in registers. */
#define MG_INLINE static inline __attribute__((always_inline))

/* For what takes no time, or none where there is a variant. */
#define MG_RARE static __attribute__((noinline, optimize("Os")))

/* Any alignment: one LDR or STR on the chip (never LDRD or LDM, which would fault). */
static inline uint32_t mg_load32(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline void mg_store32(void *p, uint32_t v) {
    memcpy(p, &v, 4);
}

#if MG_DSP

#define MG_INSN_RR(name, insn)                                                                               \
    static inline uint32_t mg_##name(uint32_t a, uint32_t b) {                                               \
        uint32_t r;                                                                                          \
        __asm__(insn : "=r"(r) : "r"(a), "r"(b));                                                            \
        return r;                                                                                            \
    }
#define MG_INSN_RRA(name, insn)                                                                              \
    static inline int32_t mg_##name(uint32_t a, uint32_t b, int32_t acc) {                                   \
        int32_t r;                                                                                           \
        __asm__(insn " %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));                                \
        return r;                                                                                            \
    }
#define MG_INSN_R(name, type, insn)                                                                          \
    static inline type mg_##name(type a) {                                                                   \
        type r;                                                                                              \
        __asm__(insn : "=r"(r) : "r"(a));                                                                    \
        return r;                                                                                            \
    }

#else

static inline int32_t mg_bottom(uint32_t a) {
    return (int16_t)(uint16_t)a;
}
static inline int32_t mg_top(uint32_t a) {
    return (int16_t)(uint16_t)(a >> 16);
}
static inline uint32_t mg_lanes(int32_t top, int32_t bottom) {
    return (uint32_t)top << 16 | (uint16_t)bottom;
}
static inline int32_t mg_wrap_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}
static inline int32_t mg_clip(int32_t a, int32_t low, int32_t high) {
    return a < low ? low : a > high ? high : a;
}

#endif

/* acc + a.B * b.B + a.T * b.T */
#if MG_DSP
MG_INSN_RRA(smlad, "smlad")
MG_INSN_RRA(smlabb, "smlabb")
MG_INSN_RRA(smlabt, "smlabt")
MG_INSN_RRA(smlatb, "smlatb")
MG_INSN_RRA(smlatt, "smlatt")
#else
static inline int32_t mg_smlabb(uint32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, mg_bottom(a) * mg_bottom(b));
}
static inline int32_t mg_smlabt(uint32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, mg_bottom(a) * mg_top(b));
}
static inline int32_t mg_smlatb(uint32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, mg_top(a) * mg_bottom(b));
}
static inline int32_t mg_smlatt(uint32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, mg_top(a) * mg_top(b));
}
static inline int32_t mg_smlad(uint32_t a, uint32_t b, int32_t acc) {
    return mg_smlatt(a, b, mg_smlabb(a, b, acc));
}
#endif

/* Bytes 0 and 2 (sxtb16) or 1 and 3 (sxtb16_ror8) as two int16; the sxtab16 forms add lane by lane to a. */
#if MG_DSP
MG_INSN_R(sxtb16, uint32_t, "sxtb16 %0, %1")
MG_INSN_R(sxtb16_ror8, uint32_t, "sxtb16 %0, %1, ror #8")
MG_INSN_RR(sxtab16, "sxtab16 %0, %1, %2")
MG_INSN_RR(sxtab16_ror8, "sxtab16 %0, %1, %2, ror #8")
#else
static inline uint32_t mg_sxtab16(uint32_t a, uint32_t b) {
    return mg_lanes(mg_top(a) + (int8_t)(uint8_t)(b >> 16), mg_bottom(a) + (int8_t)(uint8_t)b);
}
static inline uint32_t mg_sxtab16_ror8(uint32_t a, uint32_t b) {
    return mg_sxtab16(a, b >> 8);
}
static inline uint32_t mg_sxtb16(uint32_t b) {
    return mg_sxtab16(0, b);
}
static inline uint32_t mg_sxtb16_ror8(uint32_t b) {
    return mg_sxtab16(0, b >> 8);
}
#endif

/* pkhbt: low lane of a, low lane of b on top. pkhtb: high lane of a stays on top, high lane of b below. */
#if MG_DSP
MG_INSN_RR(pkhbt, "pkhbt %0, %1, %2, lsl #16")
MG_INSN_RR(pkhtb, "pkhtb %0, %1, %2, asr #16")
#else
static inline uint32_t mg_pkhbt(uint32_t a, uint32_t b) {
    return mg_lanes(mg_bottom(b), mg_bottom(a));
}
static inline uint32_t mg_pkhtb(uint32_t a, uint32_t b) {
    return mg_lanes(mg_top(a), mg_top(b));
}
#endif

/* Signed saturation to 8 and 15 bits. */
#if MG_DSP
MG_INSN_R(ssat8, int32_t, "ssat %0, #8, %1")
MG_INSN_R(ssat15, int32_t, "ssat %0, #15, %1")
MG_INSN_R(ssat16, int32_t, "ssat %0, #16, %1")
#else
static inline int32_t mg_ssat8(int32_t a) {
    return mg_clip(a, -128, 127);
}
static inline int32_t mg_ssat15(int32_t a) {
    return mg_clip(a, -16384, 16383);
}
static inline int32_t mg_ssat16(int32_t a) {
    return mg_clip(a, -32768, 32767);
}
#endif

/* acc + (a * b.B >> 16), acc + (a * b.T >> 16) */
#if MG_DSP
static inline int32_t mg_smlawb(int32_t a, uint32_t b, int32_t acc) {
    int32_t r;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
static inline int32_t mg_smlawt(int32_t a, uint32_t b, int32_t acc) {
    int32_t r;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
#else
static inline int32_t mg_smlawb(int32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, (int32_t)((int64_t)a * mg_bottom(b) >> 16));
}
static inline int32_t mg_smlawt(int32_t a, uint32_t b, int32_t acc) {
    return mg_wrap_add(acc, (int32_t)((int64_t)a * mg_top(b) >> 16));
}
#endif

/* Bits 15 to 30 of two words. */
#if MG_DSP
static inline uint32_t mg_middles(int32_t low, int32_t high) {
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #15" : "=r"(r) : "r"(high * 2), "r"(low));
    return r;
}
#else
static inline uint32_t mg_middles(int32_t low, int32_t high) {
    return mg_lanes(high >> 15, low >> 15);
}
#endif

/* Magnitudes of two int16, unsigned. */
#if MG_DSP
static inline uint32_t mg_abs16(uint32_t a) {
    uint32_t r;
    __asm__("ssub16 %0, %2, %1 \n\t sel %0, %0, %1" : "=&r"(r) : "r"(a), "r"(0));
    return r;
}
#else
static inline uint32_t mg_abs16(uint32_t a) {
    return mg_lanes(__builtin_abs(mg_top(a)), __builtin_abs(mg_bottom(a)));
}
#endif

/* The same int16 in both lanes. */
static inline uint32_t mg_both(int32_t a) {
    return ((uint32_t)a & 0xFFFF) * 0x00010001u;
}

/* smmlar: acc + (a * b + 2^31 >> 32); smmulr: the same with acc = 0. Rounds half up. */
#if MG_DSP
static inline int32_t mg_smmlar(int32_t a, int32_t b, int32_t acc) {
    int32_t r;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}
static inline int32_t mg_smmulr(int32_t a, int32_t b) {
    int32_t r;
    __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
#else
static inline int32_t mg_smmulr(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}
static inline int32_t mg_smmlar(int32_t a, int32_t b, int32_t acc) {
    return mg_wrap_add(acc, mg_smmulr(a, b));
}
#endif

#endif
