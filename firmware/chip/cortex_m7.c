/* Cortex-M7: from the reset vector to main, caches, stack guard and paint, and what a fault leaves behind. */
#include "cortex_m7.h"

#include <stdbool.h>

#include "board.h"

extern uint32_t __stack_bottom[], __stack_top[], __data_start[], __data_end[], __state_start[], __state_end[];
extern uint32_t __bss_start[], __bss_end[];
extern const uint32_t __data_load[], __state_load[], __vectors[];

enum { PAINT = 0xA5A5A5A5, GUARD_LOG2 = 5, GUARD_WORDS = (1 << GUARD_LOG2) / 4 };

/* Below the stack pointer only, and volatile: a memset called here would paint its own frame. */
static void paint_stack(void) {
    volatile uint32_t *sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    for (volatile uint32_t *p = __stack_bottom; p < sp; p++)
        *p = PAINT;
}

static void copy(uint32_t *to, const uint32_t *end, const uint32_t *from) {
    while (to < end)
        *to++ = *from++;
}

static void fill_ram(void) {
    copy(__data_start, __data_end, __data_load);
    copy(__state_start, __state_end, __state_load);
    for (uint32_t *to = __bss_start; to < __bss_end;)
        *to++ = 0;
}

_Noreturn void reset_handler(void);

_Noreturn void reset_handler(void) {
    SCB_CPACR |= CPACR_FPU;
    m7_barrier();
    paint_stack();
    fill_ram();
    main();
    m7_reset();
}

uint32_t board_stack_high(void) {
    const uint32_t *p = __stack_bottom + GUARD_WORDS;
    while (p < __stack_top && *p == PAINT)
        p++;
    return (uint32_t)(__stack_top - p) * 4;
}

_Noreturn void m7_reset(void) {
    m7_barrier();
    SCB_AIRCR = AIRCR_SYSRESET;
    for (;;)
        m7_barrier();
}

static void instruction_cache_on(void) {
    SCB_ICIALLU = 0;
    m7_barrier();
    SCB_CCR |= CCR_IC | CCR_BP;
    m7_barrier();
}

/* The data cache wakes with random tags: every line of every way is invalidated first. */
static void data_cache_on(void) {
    SCB_CSSELR = 0;
    m7_barrier();
    uint32_t geometry = SCB_CCSIDR;
    uint32_t sets = (geometry >> 13 & 0x7FFF) + 1, ways = (geometry >> 3 & 0x3FF) + 1;
    for (uint32_t set = 0; set < sets; set++)
        for (uint32_t way = 0; way < ways; way++)
            SCB_DCISW = way << 30 | set << 5; /* four ways, lines of 32 bytes on every Cortex-M7 */
    m7_barrier();
    SCB_CCR |= CCR_DC;
    m7_barrier();
}

void m7_mpu_region(uint32_t number, uint32_t base, uint32_t rasr) {
    MPU_RBAR = base | 1u << 4 | number;
    MPU_RASR = rasr;
}

static void mpu_on(void) {
    /* External memory that no board here has: speculative reads of it may hang the bus. Subregions 0-2 and 7
     * off. */
    m7_mpu_region(0, 0, MPU_NO_ACCESS(32) | 0x87u << 8);
    m7_mpu_region(1, 0, MPU_NO_ACCESS(14)); /* null pointers: ITCM would take the write */
    m7_mpu_region(2, (uint32_t)__stack_bottom, MPU_NO_ACCESS(GUARD_LOG2));
    MPU_CTRL = MPU_ENABLE_WITH_BACKGROUND;
    m7_barrier();
}

static void cycle_counter_on(void) {
    DEMCR |= DEMCR_TRCENA;
    DWT_LAR = 0xC5ACCE55;
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1;
}

void m7_start(void) {
    SCB_VTOR = (uint32_t)__vectors;
    SCB_SHCSR |= SHCSR_FAULTS;
    SCB_CCR |= CCR_DIV_0_TRP;
    mpu_on();
    instruction_cache_on();
    data_cache_on();
    cycle_counter_on();
}

void board_delay(uint32_t ms) {
    for (uint32_t turns = ms * (MG_CPU_HZ / 1000); turns; turns--)
        __asm volatile("");
}

/* The stacked frame is r0-r3, r12, lr, pc, xpsr; after an overflow it may lie in the guard or outside RAM. */
static bool readable(const uint32_t *frame) {
    return frame >= __stack_bottom + GUARD_WORDS && frame + 8 <= __stack_top;
}

_Noreturn __attribute__((used)) static void report_fault(const uint32_t *frame) {
    board_fault fault = {
        .sp = (uint32_t)frame, .cfsr = SCB_CFSR, .hfsr = SCB_HFSR, .bfar = SCB_BFAR, .mmfar = SCB_MMFAR};
    /* Or else the first float instruction here saves the old registers to the old stack. */
    SCB_FPCCR &= ~(uint32_t)FPCCR_LSPACT;
    if (readable(frame)) {
        fault.lr = frame[5];
        fault.pc = frame[6];
    }
    firmware_fault(&fault);
}

/* The old stack may be the fault's cause, so the report runs on its far end: free, or else beyond saving. */
__attribute__((naked)) static void fault_handler(void) {
    __asm volatile("mov r0, sp\n"
                   "ldr r1, =__stack_bottom + 1024\n"
                   "mov sp, r1\n"
                   "b report_fault\n");
}

/* Stack, reset, then the core's exceptions; no interrupt is ever enabled, so the table ends here. */
__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))__stack_top,
    reset_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
    fault_handler,
};
