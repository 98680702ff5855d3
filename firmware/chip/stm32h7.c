/* STM32H743: clock tree, memories for DMA, and wiring of the board's UART. Register facts: RM0433. */
#include "board.h"
#include "stm32.h"

#include BOARD_HEADER(MG_BOARD)

#define RCC_CR REG32(0x58024400u)
#define RCC_CFGR REG32(0x58024410u)
#define RCC_D1CFGR REG32(0x58024418u)
#define RCC_D2CFGR REG32(0x5802441Cu)
#define RCC_D3CFGR REG32(0x58024420u)
#define RCC_PLLCKSELR REG32(0x58024428u)
#define RCC_PLLCFGR REG32(0x5802442Cu)
#define RCC_PLL1DIVR REG32(0x58024430u)
#define RCC_RSR REG32(0x580244D0u)
#define RCC_AHB1ENR REG32(0x580244D8u)
#define RCC_AHB2ENR REG32(0x580244DCu)
#define RCC_AHB4ENR REG32(0x580244E0u)
#define RCC_APB1LENR REG32(0x580244E8u)
#define RCC_APB4ENR REG32(0x580244F4u)
#define SYSCFG_PWRCR REG32(0x5800042Cu)
#define PWR_CSR1 REG32(0x58024804u)
#define PWR_CR3 REG32(0x5802480Cu)
#define PWR_D3CR REG32(0x58024818u)
#define FLASH_ACR REG32(0x52002000u)
#define DBGMCU_IDCODE REG32(0x5C001000u)
#define AXI_TARG7_FN_MOD REG32(0x51008108u)
#define DMAMUX1_C0CR REG32(0x40020800u)
#define GPIO(letter) ((stm32_gpio *)(0x58020000u + 0x400u * ((letter) - 'A')))

/* The internal 64 MHz oscillator: 0.6 % at 30 C, no board needs a crystal. 400 MHz at voltage scale 1, which
 * every revision reaches; up to 480 MHz at scale 0 on revision V. */
enum { HSI_HZ = 64000000, PLL_M = 8, PLL_P = 2, AHB_DIV = 2, APB_DIV = 2 };
enum { PLL_N = MG_CPU_HZ / (HSI_HZ / PLL_M / PLL_P), SCALE_0 = MG_CPU_HZ > 400000000 };
_Static_assert(MG_CPU_HZ <= 480000000, "no STM32H743 is faster");
_Static_assert(HSI_HZ / PLL_M * PLL_N / PLL_P == MG_CPU_HZ,
               "the PLL numbers and cpu_hz of the board disagree");

enum {
    CR_PLL1ON = 1 << 24,
    CR_PLL1RDY = 1 << 25,
    CFGR_SW_PLL1 = 3,
    CFGR_SWS = 7 << 3,
    CFGR_SWS_PLL1 = 3 << 3,
    D1CFGR_HPRE_DIV2 = 8,
    D1CFGR_D1PPRE_DIV2 = 4 << 4,
    D2CFGR_PPRE1_DIV2 = 4 << 4,
    D2CFGR_PPRE2_DIV2 = 4 << 8,
    D3CFGR_PPRE_DIV2 = 4 << 4,
    PLLCFGR_RANGE_8_16 = 3 << 2,
    PLLCFGR_P_ON = 1 << 16,
    RSR_RMVF = 1 << 16,
    AHB1ENR_DMA1 = 1 << 0,
    APB1LENR_USART3 = 1 << 18,
    CSR1_ACTVOSRDY = 1 << 13,
    CR3_LDO = 1 << 1,
    D3CR_VOSRDY = 1 << 13,
    D3CR_VOS1 = 3 << 14,
    REVISION_X = 0x2001,
    READ_ISS_OVERRIDE = 1 << 0,
    ACR_WAITS = SCALE_0 ? 4 : 2,
    APB4ENR_SYSCFG = 1 << 1,
    PWRCR_OVERDRIVE = 1 << 0,
    ACR_HIGH_FREQUENCY = 2 << 4,
};
#define AHB2ENR_SRAM123 (7u << 29)

#if BOARD_UART != 3
#error "chip/stm32h7.c knows the wiring of USART3"
#endif
#define UART ((stm32_usart *)0x40004800u)
#define UART_RECEIVER ((stm32_stream *)0x40020010u) /* DMA1 stream 0, fed by DMAMUX1 channel 0 */
enum {
    DMAMUX_USART3_RX = 45,
    DMA_CR_BUFFERABLE = 1 << 20 /* without it a USART can lock the stream (ES0392) */
};

stm32_iwdg *const stm32_watchdog = (stm32_iwdg *)0x58004800u;

static uint32_t cause;

static void await(reg32 *reg, uint32_t mask, uint32_t value) {
    while ((*reg & mask) != value) {
    }
}

static void voltage_scale_1(void) {
    PWR_CR3 = CR3_LDO; /* may be written once; voltage scaling waits for it */
    await(&PWR_CSR1, CSR1_ACTVOSRDY, CSR1_ACTVOSRDY);
    PWR_D3CR = D3CR_VOS1;
    await(&PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY);
}

/* RM0433, "Voltage scaling": from scale 1 only. */
static void voltage_scale_0(void) {
    clock_on(&RCC_APB4ENR, APB4ENR_SYSCFG);
    SYSCFG_PWRCR = PWRCR_OVERDRIVE;
    await(&PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY);
}

static void pll_on(void) {
    RCC_PLLCKSELR = PLL_M << 4;
    RCC_PLLCFGR = PLLCFGR_P_ON | PLLCFGR_RANGE_8_16;
    RCC_PLL1DIVR = (PLL_P - 1) << 9 | (PLL_N - 1);
    RCC_CR |= CR_PLL1ON;
    await(&RCC_CR, CR_PLL1RDY, CR_PLL1RDY);
}

static void clocks_on(void) {
    voltage_scale_1();
    if (SCALE_0)
        voltage_scale_0();
    pll_on();
    FLASH_ACR = ACR_HIGH_FREQUENCY | ACR_WAITS;
    await(&FLASH_ACR, 0xF, ACR_WAITS);
    RCC_D1CFGR = D1CFGR_D1PPRE_DIV2 | D1CFGR_HPRE_DIV2;
    RCC_D2CFGR = D2CFGR_PPRE1_DIV2 | D2CFGR_PPRE2_DIV2;
    RCC_D3CFGR = D3CFGR_PPRE_DIV2;
    RCC_CFGR = CFGR_SW_PLL1;
    await(&RCC_CFGR, CFGR_SWS, CFGR_SWS_PLL1);
}

/* DMA1 cannot reach the DTCM, so its ring is in SRAM1, which the data cache must leave alone. */
static void dma_memory_on(void) {
    clock_on(&RCC_AHB2ENR, AHB2ENR_SRAM123);
    m7_mpu_region(3, 0x30000000u, MPU_UNCACHED(19));
}

static void uart_on(void) {
    clock_on(&RCC_AHB1ENR, AHB1ENR_DMA1);
    clock_on(&RCC_AHB4ENR, 1u << (BOARD_TX_PORT - 'A') | 1u << (BOARD_RX_PORT - 'A'));
    clock_on(&RCC_APB1LENR, APB1LENR_USART3);
    stm32_pin(GPIO(BOARD_TX_PORT), BOARD_TX_PIN, BOARD_UART_AF);
    stm32_pin(GPIO(BOARD_RX_PORT), BOARD_RX_PIN, BOARD_UART_AF);
    DMAMUX1_C0CR = DMAMUX_USART3_RX;
    stm32_uart_start(UART, MG_CPU_HZ / AHB_DIV / APB_DIV, UART_RECEIVER, DMA_CR_BUFFERABLE);
}

static uint32_t read_cause(uint32_t rsr) {
    return (rsr >> 22 & 1) * RESET_PIN | (rsr >> 23 & 1) * RESET_POWER | (rsr >> 21 & 1) * RESET_BROWNOUT |
           (rsr >> 24 & 1) * RESET_SOFTWARE | ((rsr >> 26 | rsr >> 28) & 1) * RESET_WATCHDOG |
           (rsr >> 30 & 1) * RESET_LOW_POWER;
}

uint32_t board_reset_cause(void) {
    return cause;
}

/* Before revision X, reads of the AXI SRAM may be corrupted unless one is issued at a time (ES0392). */
static void axi_sram_workaround(void) {
    if (DBGMCU_IDCODE >> 16 < REVISION_X)
        AXI_TARG7_FN_MOD = READ_ISS_OVERRIDE;
}

void board_start(void) {
    cause = read_cause(RCC_RSR);
    RCC_RSR |= RSR_RMVF;
    axi_sram_workaround();
    dma_memory_on();
    m7_start();
    clocks_on();
    uart_on();
}
