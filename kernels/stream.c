#include "stream.h"

#include "simd.h"

/* n bytes, n > 0 and n % 32 == 0, on words. */
static inline void move_words(int8_t *to, const int8_t *from, int32_t n) {
#if MG_DSP
    const int8_t *end = from + n;
    __asm__ volatile("1:                                     \n\t"
                     "ldmia %[from]!, {r3-r6, r8-r10, r12}   \n\t"
                     "stmia %[to]!, {r3-r6, r8-r10, r12}     \n\t"
                     "cmp   %[from], %[end]                  \n\t"
                     "bne   1b"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [end] "r"(end)
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "cc", "memory");
#else
    memmove(to, from, (size_t)n);
#endif
}

void mg_move_down(int8_t *to, const int8_t *from, int32_t n) {
    const int32_t blocks = ((uintptr_t)to | (uintptr_t)from) % 4 == 0 ? n & ~31 : 0;
    if (blocks)
        move_words(to, from, blocks);
    for (int32_t i = blocks; i < n; i++) {
        to[i] = from[i];
        __asm__("" : : : "memory"); /* keeps the compiler from calling memmove */
    }
}
