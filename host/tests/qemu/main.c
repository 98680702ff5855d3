/* Bare metal on QEMU's mps2-an500 (a Cortex-M7): trains on noise, prints each loss and the state as hex. */
#include "model.h"

extern uint32_t stack_top, bss_start, bss_end, data_start, data_end, data_load;
int main(void);

static void call(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void print_hex(const uint8_t *bytes, uint32_t count) {
    char text[3] = {0, 0, 0};
    for (uint32_t i = 0; i < count; i++) {
        text[0] = "0123456789abcdef"[bytes[i] >> 4];
        text[1] = "0123456789abcdef"[bytes[i] & 15];
        call(4, text); /* SYS_WRITE0 */
    }
    call(4, "\n");
}

__attribute__((noreturn)) void start(void) {
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;)
        *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;)
        *to++ = 0;
    *(volatile uint32_t *)0xE000ED88 = 0xFu << 20; /* CPACR: the FPU */
    __asm__ volatile("dsb\nisb");
    main();
    static const uint32_t exited[2] = {0x20026, 0};
    call(0x20, exited); /* SYS_EXIT_EXTENDED, ApplicationExit */
    for (;;) {
    }
}

int main(void) {
    uint32_t noise = 1;
    for (uint32_t step = 0; step < STEP_COUNT; step++) {
        mg_result result;
        for (uint32_t i = 0; i < MG_INPUT_BYTES; i++) {
            noise = noise * 1103515245u + 12345u;
            const int8_t byte = (int8_t)(noise >> 16);
            mg_take(&byte, i, 1);
        }
        mg_step(step % MG_CLASSES, 0.01f, &result);
        print_hex((const uint8_t *)&result.loss, sizeof result.loss);
    }
    print_hex((const uint8_t *)&mg_state, MG_STATE_BYTES);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {&stack_top, start};
