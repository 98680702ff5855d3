/* Loops of a known number of instructions, for every engine that counts. */
#ifndef LOOPS_H
#define LOOPS_H

#include <stdint.h>

/* 2 + 3 n + 1 instructions from entry to return */
__attribute__((naked, noinline)) static uint32_t plain_loop(uint32_t n) {
    __asm volatile("mov r1, #0\n mov r2, #0\n"
                   "1: add r1, r1, r0\n subs r0, #1\n bne 1b\n"
                   "bx lr\n");
}

/* 1 + 10 n + 2: two or three of the ten are predicated off in a round, and count */
__attribute__((naked, noinline)) static uint32_t it_loop(uint32_t n) {
    __asm volatile("mov r1, #0\n"
                   "1: tst r0, #1\n"
                   "itete eq\n"
                   "addeq r1, #3\n"
                   "addne r1, #5\n"
                   "lsleq r1, r1, #1\n"
                   "lslne r1, r1, #2\n"
                   "it ne\n eorne r1, r1, r0\n"
                   "subs r0, #1\n bne 1b\n"
                   "mov r0, r1\n bx lr\n");
}

#endif
