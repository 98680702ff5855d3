/* The port contract: what chip/ gives the firmware, and the board it was built for. */
#ifndef MG_BOARD_H
#define MG_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* MG_BOARD, MG_CPU_HZ and MG_BAUD come from boards/<id>.json; the pins from boards/<id>.h. */
#define BOARD_QUOTE_(x) #x
#define BOARD_QUOTE(x) BOARD_QUOTE_(x)
#define BOARD_HEADER_(x) BOARD_QUOTE_(x.h)
#define BOARD_HEADER(x) BOARD_HEADER_(x)

/* Why the chip started; several may be set. */
enum {
    RESET_PIN = 1,
    RESET_POWER = 2,
    RESET_BROWNOUT = 4,
    RESET_SOFTWARE = 8,
    RESET_WATCHDOG = 16,
    RESET_LOW_POWER = 32,
};

/* From reset state to: MG_CPU_HZ, caches, stack guard, cycle counter, UART listening. */
void board_start(void);

/* RESET_* bits of this start. Cleared in the chip by board_start. */
uint32_t board_reset_cause(void);

/* Bytes that came in since the last call, in order; a wrap of the ring ends a span early. The bytes stay
 * valid while the sender has less than BOARD_UART_WINDOW bytes under way. */
size_t board_uart_read(const uint8_t **bytes);

/* Blocks until the last byte is in the transmitter; needs no memory but its stack. */
void board_uart_write(const uint8_t *bytes, size_t count);

/* Receiver errors (overrun, noise, framing) seen so far. */
uint32_t board_uart_errors(void);

enum { BOARD_UART_RING = 640, BOARD_UART_WINDOW = BOARD_UART_RING - 128 };

/* Deepest stack since reset, bytes, from the paint. */
uint32_t board_stack_high(void);

/* From now on the chip resets itself, cause RESET_WATCHDOG, when it is not fed for 5 to 15 seconds: more than
 * any step takes, and more than the erasure of a flash sector. */
void board_watchdog_on(void);
void board_watchdog_feed(void);

/* Waits until the UART is silent, then resets the chip. */
_Noreturn void board_reset(void);

/* Spins for one to two times `ms` milliseconds, at most 10,000: one turn of a loop a cycle of the core. */
void board_delay(uint32_t ms);

/* The state a fault left behind, zero where it could not be read. */
typedef struct {
    uint32_t pc, lr, sp, cfsr, hfsr, bfar, mmfar;
} board_fault;

/* Called by the chip's fault handler, on a fresh stack; the firmware reports and never returns. */
_Noreturn void firmware_fault(const board_fault *fault);

int main(void);

#endif
