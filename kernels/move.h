/* Bytes that move down within a buffer. */
#ifndef MG_MOVE_H
#define MG_MOVE_H

#include <stdint.h>

/* n bytes to a lower address; they may overlap. */
void mg_move_down(int8_t *to, const int8_t *from, int32_t n);

#endif
