/* The core's registers that we touch, by their names in the architecture manual. */
#ifndef MG_CORTEX_M7_H
#define MG_CORTEX_M7_H

#include <stdint.h>

typedef volatile uint32_t reg32;

#define REG32(address) (*(reg32 *)(address))

#define SCB_VTOR REG32(0xE000ED08u)
#define SCB_AIRCR REG32(0xE000ED0Cu)
#define SCB_CCR REG32(0xE000ED14u)
#define SCB_SHCSR REG32(0xE000ED24u)
#define SCB_CFSR REG32(0xE000ED28u)
#define SCB_HFSR REG32(0xE000ED2Cu)
#define SCB_MMFAR REG32(0xE000ED34u)
#define SCB_BFAR REG32(0xE000ED38u)
#define SCB_CCSIDR REG32(0xE000ED80u)
#define SCB_CSSELR REG32(0xE000ED84u)
#define SCB_CPACR REG32(0xE000ED88u)
#define SCB_FPCCR REG32(0xE000EF34u)
#define SCB_ICIALLU REG32(0xE000EF50u)
#define SCB_DCISW REG32(0xE000EF60u)

#define MPU_CTRL REG32(0xE000ED94u)
#define MPU_RBAR REG32(0xE000ED9Cu)
#define MPU_RASR REG32(0xE000EDA0u)

#define DEMCR REG32(0xE000EDFCu)
#define DWT_CTRL REG32(0xE0001000u)
#define DWT_CYCCNT REG32(0xE0001004u)
#define DWT_LAR REG32(0xE0001FB0u)

enum {
    AIRCR_SYSRESET = 0x05FA0004,
    CCR_DIV_0_TRP = 1 << 4,
    CCR_DC = 1 << 16,
    CCR_IC = 1 << 17,
    CCR_BP = 1 << 18,
    CPACR_FPU = 0xF << 20,
    DEMCR_TRCENA = 1 << 24,
    FPCCR_LSPACT = 1 << 0,
    SHCSR_FAULTS = 7 << 16, /* usage, bus and memory faults get their own vectors */
    MPU_ENABLE_WITH_BACKGROUND = 5,
};

/* RASR: no access at all; and plain memory that the data cache leaves alone. 2^log2 bytes. */
#define MPU_NO_ACCESS(log2) (1u << 28 | ((log2)-1u) << 1 | 1u)
#define MPU_UNCACHED(log2) (1u << 28 | 3u << 24 | 1u << 19 | 1u << 18 | ((log2)-1u) << 1 | 1u)

/* Higher regions win where two overlap. Takes effect with m7_start. */
void m7_mpu_region(uint32_t number, uint32_t base, uint32_t rasr);

/* Faults, stack guard, caches and the cycle counter on. */
void m7_start(void);

_Noreturn void m7_reset(void);

static inline void m7_barrier(void) {
    __asm volatile("dsb\n isb" ::: "memory");
}

#endif
