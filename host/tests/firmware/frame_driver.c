/* frame.c as a filter. "decode": wire in; per event a u16 size and the frame without its CRC, 0xFFFF for a
 * dropped one. "encode": records of u8 type, u16 seq, u16 size, payload in; wire out. */
#include <stdio.h>
#include <string.h>

#include "frame.h"

static frame_buffer frame;

static void write_out(const uint8_t *bytes, size_t count) {
    fwrite(bytes, 1, count, stdout);
}

static void tell(frame_event event) {
    uint16_t size = event == FRAME_READY ? (uint16_t)(frame.used - FRAME_TAIL) : 0xFFFF;
    write_out((const uint8_t *)&size, sizeof size);
    if (event == FRAME_READY)
        write_out(frame.bytes, size);
}

static void decode(void) {
    for (int byte; (byte = getchar()) != EOF;) {
        frame_event event = frame_take(&frame, (uint8_t)byte);
        if (event != FRAME_MORE)
            tell(event);
    }
}

static void encode(void) {
    struct __attribute__((packed)) {
        uint8_t type;
        uint16_t seq, size;
    } head;
    while (fread(&head, sizeof head, 1, stdin) == 1) {
        size_t got = fread(frame.bytes + FRAME_HEAD, 1, head.size, stdin);
        frame_seal(&frame, head.type, head.seq, got);
        frame_send(&frame, write_out);
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "encode"))
        encode();
    else
        decode();
    return 0;
}
