/* board.h with a pipe for a UART: the firmware's own main as a program of the host. Ends at end of input. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board.h"

const uint8_t __static_bytes[1], __stack_bytes[1];

void board_start(void) {}
uint32_t board_reset_cause(void) {
    return RESET_POWER;
}
uint32_t board_uart_errors(void) {
    return 0;
}
uint32_t board_stack_high(void) {
    return 1234;
}
void board_watchdog_on(void) {}
void board_watchdog_feed(void) {}
void board_delay(uint32_t ms) {
    usleep(ms * 1000);
}
_Noreturn void board_reset(void) {
    exit(42);
}

size_t board_uart_read(const uint8_t **bytes) {
    static uint8_t ring[BOARD_UART_RING];
    ssize_t count = read(0, ring, sizeof ring);
    if (count <= 0)
        exit(0);
    *bytes = ring;
    return (size_t)count;
}

void board_uart_write(const uint8_t *bytes, size_t count) {
    while (count) {
        ssize_t done = write(1, bytes, count);
        if (done <= 0)
            exit(1);
        bytes += done;
        count -= (size_t)done;
    }
}
