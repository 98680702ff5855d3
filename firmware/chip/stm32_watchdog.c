/* The independent watchdog, on its own oscillator: a core that hangs is reset. Layout: RM0385, RM0433. */
#include "board.h"
#include "stm32.h"

enum {
    KEY_START = 0xCCCC,
    KEY_ACCESS = 0x5555,
    KEY_FEED = 0xAAAA,
    DIV_256 = 6,
    /* 8 s at the nominal 32 kHz; 5.4 s at the fastest that the data sheets allow. */
    TICKS = 8 * 32000 / 256,
};

void board_watchdog_on(void) {
    stm32_watchdog->KR = KEY_START;
    stm32_watchdog->KR = KEY_ACCESS;
    stm32_watchdog->PR = DIV_256;
    stm32_watchdog->RLR = TICKS;
    board_watchdog_feed();
}

void board_watchdog_feed(void) {
    stm32_watchdog->KR = KEY_FEED;
}
