/* The blocks that the F7 and H7 families share: pins, USART, DMA streams. Layouts from RM0385 and RM0433. */
#ifndef MG_STM32_H
#define MG_STM32_H

#include <stdint.h>

#include "cortex_m7.h"

typedef struct {
    reg32 MODER, OTYPER, OSPEEDR, PUPDR, IDR, ODR, BSRR, LCKR, AFR[2];
} stm32_gpio;

typedef struct {
    reg32 CR1, CR2, CR3, BRR, GTPR, RTOR, RQR, ISR, ICR, RDR, TDR;
} stm32_usart;

typedef struct {
    reg32 CR, NDTR, PAR, M0AR, M1AR, FCR;
} stm32_stream;

typedef struct {
    reg32 KR, PR, RLR, SR;
} stm32_iwdg;

/* Where the family has it. */
extern stm32_iwdg *const stm32_watchdog;

enum {
    USART_CR1_UE = 1 << 0,
    USART_CR1_RE = 1 << 2,
    USART_CR1_TE = 1 << 3,
    USART_CR3_DMAR = 1 << 6,
    USART_ISR_ERRORS = 0xE, /* framing, noise, overrun; ICR clears by the same bits */
    USART_ISR_TC = 1 << 6,
    USART_ISR_TXE = 1 << 7,
    DMA_CR_EN = 1 << 0,
    DMA_CR_CIRC = 1 << 8,
    DMA_CR_MINC = 1 << 10,
    DMA_CR_HIGH = 2 << 16,
};

/* Gate a clock on, and wait out the two cycles that the block needs before its first access. */
static inline void clock_on(reg32 *enable, uint32_t bit) {
    *enable |= bit;
    (void)*enable;
}

/* Give a pin to its alternate function, fast, pulled up: an unplugged receiver hears silence. */
void stm32_pin(stm32_gpio *port, uint32_t pin, uint32_t function);

/* `clock_hz` drives the USART; `stream` is its receive stream, `request` the bits that route it there. */
void stm32_uart_start(stm32_usart *usart, uint32_t clock_hz, stm32_stream *stream, uint32_t request);

#endif
