/* OpenMV Cam H7: USART3 on the header, P4 and P5, for a USB-to-serial adapter; its bootloader stays in flash.
 */
#define BOARD_UART 3
#define BOARD_TX_PORT 'B'
#define BOARD_TX_PIN 10
#define BOARD_RX_PORT 'B'
#define BOARD_RX_PIN 11
#define BOARD_UART_AF 7
