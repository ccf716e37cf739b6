/* Nucleo-F401RE: STM32F401RE, Cortex-M4F (reference manual RM0368, board manual UM1724).
 *
 * Not run on hardware here: written from the manual, compiled, never flashed.
 * Clock: 84 MHz from the 8 MHz that the ST-LINK gives (HSE bypass). Serial port: USART2 on PA2 and PA3, which the
 * ST-LINK carries to USB.
 */
#define CLOCK_MHZ 84u
#define PLL_SOURCE_HSE 1u
#define PLL_M 8u
#define PLL_N 336u
#define PLL_P 4u
#define FLASH_WAIT_STATES 2u
#define APB1_DIVIDE 2u /* APB1 may run at 42 MHz at most */
#define VOLTAGE_SCALE_BITS 2u /* VOS: the fastest that this chip has */
#define OVERDRIVE 0u
#define UART_2_PA2_PA3
#define BOARD_NAME "nucleo-f401re"

#include "../../hal/stm32f4.h"
