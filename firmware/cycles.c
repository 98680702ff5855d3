#include "cycles.h"

#include "mark.h"
#include "model.h"

enum { BITS = 11 };

/* In a section of its own, so that the rest of RAM has the same size for every model. */
uint16_t mg_marks[MG_NODES] __attribute__((section(".marks")));

/* The cycle counter when the step began, or, until then, minus what the rows of the sample took; at the end
 * of the forward pass; at the last mark. */
static uint32_t began, turned, ended;

uint32_t cycles_forward(void) {
    return turned - began;
}

uint32_t cycles_total(void) {
    return ended - began;
}

#ifndef MG_HOST

#define CYCCNT (*(volatile uint32_t *)0xE0001004u)

void mg_feed_begin(void) {
    began = 0;
}

void mg_feed_start(void) {
    began += CYCCNT;
}

void mg_feed_end(void) {
    began -= CYCCNT;
}

void mg_mark_start(void) {
    ended = began += CYCCNT;
}

void mg_mark(int i) {
    const uint32_t now = CYCCNT, cycles = now - ended;
    const int shift = cycles >> BITS ? 32 - BITS - __builtin_clz(cycles) : 0;
    mg_marks[i] = (uint16_t)((uint32_t)shift << BITS | cycles >> shift);
    ended = now;
    if (i == MG_FORWARD_NODES - 1)
        turned = now;
}

#endif
