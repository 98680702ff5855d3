/* 32F746GDISCOVERY (MB1191): the ST-LINK's virtual port is wired to USART1. */
#define BOARD_UART 1
#define BOARD_TX_PORT 'A'
#define BOARD_TX_PIN 9
#define BOARD_RX_PORT 'B'
#define BOARD_RX_PIN 7
#define BOARD_UART_AF 7
