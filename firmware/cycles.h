/* What a step takes, node by node. */
#ifndef MG_CYCLES_H
#define MG_CYCLES_H

#include <stdint.h>

/* Cycles of each node, rounded down to 11 bits: those bits, and above them by how many to shift them left.
 * What ran while the sample came in counts as if it had run last before node 0's end. */
extern uint16_t mg_marks[];

/* Of the forward pass, and up to the last mark. */
uint32_t cycles_forward(void);
uint32_t cycles_total(void);

#endif
