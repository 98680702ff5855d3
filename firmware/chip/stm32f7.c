/* STM32F74x: clock tree and wiring of the board's UART. Register facts: RM0385. */
#include "board.h"
#include "stm32.h"

#include BOARD_HEADER(MG_BOARD)

typedef struct {
    reg32 CR, PLLCFGR, CFGR, CIR, RSTR[8], AHB1ENR, AHB2ENR, AHB3ENR, RESERVED0, APB1ENR, APB2ENR;
} rcc_block;

#define RCC ((rcc_block *)0x40023800u)
#define RCC_CSR REG32(0x40023874u)
#define RCC_DCKCFGR2 REG32(0x40023890u)
#define PWR_CR1 REG32(0x40007000u)
#define PWR_CSR1 REG32(0x40007004u)
#define FLASH_ACR REG32(0x40023C00u)
#define GPIO(letter) ((stm32_gpio *)(0x40020000u + 0x400u * ((letter) - 'A')))

/* The internal 16 MHz oscillator: 1 % at 25 C (DS10916), enough for a UART and no board needs a crystal. */
enum { HSI_HZ = 16000000, PLL_M = 8, PLL_N = 216, PLL_P = 2, PLL_Q = 9 };
_Static_assert(HSI_HZ / PLL_M * PLL_N / PLL_P == MG_CPU_HZ,
               "the PLL numbers and cpu_hz of the board disagree");

enum {
    CR_PLLON = 1 << 24,
    CR_PLLRDY = 1 << 25,
    PLLCFGR_RESERVED = 1 << 29, /* to be kept at its reset value, one */
    CFGR_SW_PLL = 2,
    CFGR_SWS = 3 << 2,
    CFGR_SWS_PLL = 2 << 2,
    CFGR_PPRE1_DIV4 = 5 << 10,
    CFGR_PPRE2_DIV2 = 4 << 13,
    CSR_RMVF = 1 << 24,
    AHB1ENR_DMA1 = 1 << 21,
    AHB1ENR_DMA2 = 1 << 22,
    APB1ENR_USART3 = 1 << 18,
    APB1ENR_PWR = 1 << 28,
    APB2ENR_USART1 = 1 << 4,
    PWR_OD = 1 << 16,
    PWR_ODSW = 1 << 17,
    ACR_7_WAITS = 7,
    ACR_PREFETCH = 1 << 8,
    ACR_ART = 1 << 9,
};

#if BOARD_UART == 3
#define UART ((stm32_usart *)0x40004800u)
#define UART_RECEIVER ((stm32_stream *)0x40026028u) /* DMA1 stream 1, channel 4 */
#define UART_SYSCLK (1u << 4)
#elif BOARD_UART == 1
#define UART ((stm32_usart *)0x40011000u)
#define UART_RECEIVER ((stm32_stream *)0x40026440u) /* DMA2 stream 2, channel 4 */
#define UART_SYSCLK (1u << 0)
#else
#error "chip/stm32f7.c knows the wiring of USART1 and USART3"
#endif
enum { UART_CHANNEL = 4 << 25 };

stm32_iwdg *const stm32_watchdog = (stm32_iwdg *)0x40003000u;

static uint32_t cause;

static void await(reg32 *reg, uint32_t mask, uint32_t value) {
    while ((*reg & mask) != value) {
    }
}

/* RM0385, "Entering over-drive mode": PLL started, over-drive, wait states, then the switch. */
static void clocks_on(void) {
    clock_on(&RCC->APB1ENR, APB1ENR_PWR);
    RCC->PLLCFGR = PLLCFGR_RESERVED | PLL_Q << 24 | (PLL_P / 2 - 1) << 16 | PLL_N << 6 | PLL_M;
    RCC->CR |= CR_PLLON;
    PWR_CR1 |= PWR_OD;
    await(&PWR_CSR1, PWR_OD, PWR_OD);
    PWR_CR1 |= PWR_ODSW;
    await(&PWR_CSR1, PWR_ODSW, PWR_ODSW);
    FLASH_ACR = ACR_ART | ACR_PREFETCH | ACR_7_WAITS;
    await(&FLASH_ACR, 0xF, ACR_7_WAITS);
    RCC->CFGR = CFGR_PPRE1_DIV4 | CFGR_PPRE2_DIV2;
    await(&RCC->CR, CR_PLLRDY, CR_PLLRDY);
    RCC->CFGR |= CFGR_SW_PLL;
    await(&RCC->CFGR, CFGR_SWS, CFGR_SWS_PLL);
}

static void uart_on(void) {
    RCC_DCKCFGR2 = UART_SYSCLK; /* 216 MHz: 0.2 % from 921600 baud, where PCLK1 would be 0.7 % off */
    clock_on(&RCC->AHB1ENR, AHB1ENR_DMA1 | AHB1ENR_DMA2);
    clock_on(&RCC->AHB1ENR, 1u << (BOARD_TX_PORT - 'A') | 1u << (BOARD_RX_PORT - 'A'));
    clock_on(BOARD_UART == 1 ? &RCC->APB2ENR : &RCC->APB1ENR,
             BOARD_UART == 1 ? APB2ENR_USART1 : APB1ENR_USART3);
    stm32_pin(GPIO(BOARD_TX_PORT), BOARD_TX_PIN, BOARD_UART_AF);
    stm32_pin(GPIO(BOARD_RX_PORT), BOARD_RX_PIN, BOARD_UART_AF);
    stm32_uart_start(UART, MG_CPU_HZ, UART_RECEIVER, UART_CHANNEL);
}

static uint32_t read_cause(uint32_t csr) {
    return (csr >> 26 & 1) * RESET_PIN | (csr >> 27 & 1) * RESET_POWER | (csr >> 25 & 1) * RESET_BROWNOUT |
           (csr >> 28 & 1) * RESET_SOFTWARE | ((csr >> 29 | csr >> 30) & 1) * RESET_WATCHDOG |
           (csr >> 31 & 1) * RESET_LOW_POWER;
}

uint32_t board_reset_cause(void) {
    return cause;
}

void board_start(void) {
    cause = read_cause(RCC_CSR);
    RCC_CSR |= CSR_RMVF;
    m7_start();
    clocks_on();
    uart_on();
}
