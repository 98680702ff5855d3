/* Frames on the wire: COBS( type:u8 flags:u8 seq:u16 payload crc32:u32 ) 0x00, little endian.
 * No chip, no globals: compiles anywhere. */
#ifndef MG_FRAME_H
#define MG_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_HEAD = 4,
    FRAME_PAYLOAD = 248,
    FRAME_TAIL = 4,
    FRAME_MAX = FRAME_HEAD + FRAME_PAYLOAD + FRAME_TAIL
};

/* One decoded frame, and the state of the decoder that is filling it. All zero is a good start. */
typedef struct {
    uint8_t bytes[FRAME_MAX]; /* head, payload, crc */
    uint16_t used;
    uint8_t run;   /* bytes left in the current COBS block */
    bool zero_due; /* that block ends in a zero unless the frame does */
    bool broken;   /* over-long: skip to the next delimiter */
    bool started;  /* at least one byte since the last delimiter */
} frame_buffer;

typedef enum { FRAME_MORE, FRAME_READY, FRAME_BAD } frame_event;

/* Take one byte of the wire. READY: bytes[0 .. used-5] are a frame whose CRC is right, valid until the next
 * call. BAD: a frame was dropped. Empty frames (two delimiters) are MORE. */
frame_event frame_take(frame_buffer *f, uint8_t byte);

/* Payload bytes of a READY frame. */
static inline size_t frame_payload_size(const frame_buffer *f) {
    return f->used - (size_t)(FRAME_HEAD + FRAME_TAIL);
}

/* Seal type, seq and `payload` bytes (already at bytes + FRAME_HEAD) with the CRC. */
void frame_seal(frame_buffer *f, uint8_t type, uint16_t seq, size_t payload);

/* Write a sealed frame, encoded and with its delimiter. */
void frame_send(const frame_buffer *f, void (*write)(const uint8_t *bytes, size_t count));

/* CRC-32 as in zlib; start from 0, chain by passing the last result. */
uint32_t frame_crc(uint32_t crc, const void *bytes, size_t count);

#endif
