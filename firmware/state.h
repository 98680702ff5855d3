/* What the board is and holds: identity, trained state, objects to read and write. */
#ifndef MG_STATE_H
#define MG_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Counts this start in the memory that a reset leaves alone. Call once, after board_start. */
void state_boot(void);

/* Differs from start to start as far as memory kept its charge. */
uint32_t state_boot_id(void);

/* Number of the last training step that changed the state. */
uint32_t state_applied(void);
void state_set_applied(uint32_t step);

/* Between the first WRITE and its COMMIT the state is neither old nor new. */
bool state_dirty(void);

/* RAM that is neither arena nor stack. */
uint32_t state_static_bytes(void);

/* HELLO, READ, WRITE, COMMIT, RESET. */
void state_welcome(const uint8_t *payload, size_t size);
void state_read(const uint8_t *payload, size_t size);
void state_write(const uint8_t *payload, size_t size);
void state_commit(const uint8_t *payload, size_t size);
void state_reset(const uint8_t *payload, size_t size);

#endif
