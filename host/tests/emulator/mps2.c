/* The same loops on QEMU's mps2-an500: with -icount shift=0 its SysTick ticks once in 40 instructions. */
#include "loops.h"

#define REG(address) (*(volatile uint32_t *)(address))
enum { WRITE0 = 4, EXIT = 0x18, LOW = 0xFFFFFF };
static const uint32_t STOPPED = 0x20026;

extern uint32_t stack_top;

static void host(int operation, const void *argument) {
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(uint32_t value) {
    char text[] = "00000000\n";
    for (int i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    host(WRITE0, text);
}

static void timed(uint32_t (*f)(uint32_t), uint32_t n) {
    REG(0xE000E014) = LOW;
    REG(0xE000E018) = 0;
    REG(0xE000E010) = 5;
    uint32_t before = REG(0xE000E018);
    f(n);
    print((before - REG(0xE000E018)) & LOW);
}

static void start(void) {
    timed(plain_loop, 1000000);
    timed(it_loop, 400000);
    host(EXIT, (const void *)STOPPED);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void)) & stack_top,
    start,
};
