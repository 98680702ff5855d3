/* Frames over the board's UART: the host asks, we answer under the question's number. */
#ifndef MG_LINK_H
#define MG_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"
#include "frame.h"
#include "messages.h"

/* A question; the payload is valid until the answer is begun. */
typedef struct {
    uint8_t type;
    const uint8_t *payload;
    size_t size;
} link_question;

/* True when a whole question has come in. Never blocks. */
bool link_poll(link_question *question);

/* Where the answer's payload goes, up to FRAME_PAYLOAD bytes: over the question's. */
void *link_answer(void);

/* Send the first `size` bytes of the answer. Blocks until it is in the transmitter. */
void link_send(uint8_t type, size_t size);

/* Answer with an ERROR: the schema's code, what was found, what was wanted. */
void link_refuse(int code, uint32_t detail, uint32_t expected);

uint32_t link_crc_errors(void);

/* Acknowledge, then reset the chip. */
_Noreturn void link_reset(void);

/* Send a FAULT about twice a second and obey nothing but RESET. */
_Noreturn void link_fault(const mg_msg_fault *fault);

#endif
