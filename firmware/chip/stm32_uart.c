/* The UART of every board here: received by circular DMA into a ring, sent by polling. No interrupts. */
#include "board.h"
#include "stm32.h"

static uint8_t ring[BOARD_UART_RING] __attribute__((section(".dma"), aligned(32)));
static stm32_usart *uart;
static stm32_stream *receiver;
static uint32_t tail, errors;

void stm32_pin(stm32_gpio *port, uint32_t pin, uint32_t function) {
    uint32_t shift = pin % 8 * 4;
    port->AFR[pin / 8] = (port->AFR[pin / 8] & ~(0xFu << shift)) | function << shift;
    port->OSPEEDR |= 2u << pin * 2;
    port->PUPDR = (port->PUPDR & ~(3u << pin * 2)) | 1u << pin * 2;
    port->MODER = (port->MODER & ~(3u << pin * 2)) | 2u << pin * 2;
}

void stm32_uart_start(stm32_usart *usart, uint32_t clock_hz, stm32_stream *stream, uint32_t request) {
    uart = usart;
    receiver = stream;
    stream->PAR = (uint32_t)&usart->RDR;
    stream->M0AR = (uint32_t)ring;
    stream->NDTR = BOARD_UART_RING;
    stream->CR = request | DMA_CR_HIGH | DMA_CR_MINC | DMA_CR_CIRC;
    stream->CR |= DMA_CR_EN;
    usart->BRR = (clock_hz + MG_BAUD / 2) / MG_BAUD;
    usart->CR3 = USART_CR3_DMAR;
    usart->CR1 = USART_CR1_UE | USART_CR1_RE | USART_CR1_TE;
}

size_t board_uart_read(const uint8_t **bytes) {
    uint32_t head = (BOARD_UART_RING - receiver->NDTR) % BOARD_UART_RING;
    size_t count = (head >= tail ? head : (uint32_t)BOARD_UART_RING) - tail;
    *bytes = ring + tail;
    tail = (tail + count) % BOARD_UART_RING;
    __asm volatile("dmb" ::: "memory"); /* the counter is read before the bytes are looked at */
    return count;
}

void board_uart_write(const uint8_t *bytes, size_t count) {
    while (count--) {
        while (!(uart->ISR & USART_ISR_TXE)) {
        }
        uart->TDR = *bytes++;
    }
}

uint32_t board_uart_errors(void) {
    uint32_t flags = uart->ISR & USART_ISR_ERRORS;
    uart->ICR = flags;
    errors += flags != 0;
    return errors;
}

_Noreturn void board_reset(void) {
    while (!(uart->ISR & USART_ISR_TC)) {
    }
    m7_reset();
}
