/* The smallest program on QEMU's mps2-an500: run all cases, name those that differ, leave by semihosting. */
#include <stdint.h>
#include <string.h>

#include "cases.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, STOPPED = 0x20026, FAILED = 0x20023 };

static void host(uint32_t call, uintptr_t argument) {
    register uint32_t r0 __asm__("r0") = call;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void fault(void) {
    host(SYS_WRITE0, (uintptr_t) "fault\n");
    host(SYS_EXIT, FAILED);
}

static int run(const test_case *c) {
    int wrong = 0;
    c->call(c->operands, c->fields);
    for (int i = 0; i < c->results; i++)
        wrong |= memcmp(c->found[i], c->expected[i], c->sizes[i]) != 0;
    if (wrong) {
        host(SYS_WRITE0, (uintptr_t)c->name);
        host(SYS_WRITE0, (uintptr_t) "\n");
    }
    return wrong;
}

static void reset(void) {
    int wrong = 0;
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the FPU */
    __asm__ volatile("dsb\n\tisb");
    for (int i = 0; i < case_count; i++)
        wrong += run(cases + i);
    host(SYS_EXIT, wrong ? FAILED : STOPPED);
    for (;;)
        ;
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {
    (void *)0x20400000, (void *)reset, (void *)fault, (void *)fault,
    (void *)fault,      (void *)fault, (void *)fault};
