/* The time stamp between two nodes: the cycle counter on the chip, a callback on the host. */
#ifndef MG_MARK_H
#define MG_MARK_H

#include <stdint.h>

/* Cycle counter before node 0 and after each node: node i took mg_marks[i + 1] - mg_marks[i]. */
extern uint32_t mg_marks[];

#ifdef MG_HOST

/* Called after node `i`; the library's user may set it. */
__attribute__((weak)) void (*mg_on_node)(int);

static inline void mg_mark_start(void) {}

static inline void mg_mark(int i) {
    if (mg_on_node)
        mg_on_node(i);
}

#else

#define MG_CYCCNT (*(volatile uint32_t *)0xE0001004u)

static inline void mg_mark_start(void) {
    mg_marks[0] = MG_CYCCNT;
}

static inline void mg_mark(int i) {
    mg_marks[i + 1] = MG_CYCCNT;
}

#endif
#endif
