/* Nucleo-F446RE: STM32F446RE, Cortex-M4F (reference manual RM0390, board manual UM1724).
 *
 * Not run on hardware here: written from the manual, compiled, never flashed.
 * Clock: 180 MHz from the 8 MHz that the ST-LINK gives (HSE bypass), over-drive on. Serial port: USART2 on PA2
 * and PA3, which the ST-LINK carries to USB.
 */
#define CLOCK_MHZ 180u
#define PLL_SOURCE_HSE 1u
#define PLL_M 8u
#define PLL_N 360u
#define PLL_P 2u
#define FLASH_WAIT_STATES 5u
#define APB1_DIVIDE 4u /* APB1 may run at 45 MHz at most */
#define VOLTAGE_SCALE_BITS 3u /* VOS: the fastest that this chip has */
#define OVERDRIVE 1u
#define UART_2_PA2_PA3
#define BOARD_NAME "nucleo-f446re"

#include "../../hal/stm32f4.h"
