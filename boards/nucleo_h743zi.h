/* NUCLEO-H743ZI (MB1137): the ST-LINK's virtual port is wired to USART3. */
#define BOARD_UART 3
#define BOARD_TX_PORT 'D'
#define BOARD_TX_PIN 8
#define BOARD_RX_PORT 'D'
#define BOARD_RX_PIN 9
#define BOARD_UART_AF 7
