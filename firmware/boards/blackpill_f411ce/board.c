/* Black Pill F411CE: STM32F411CE, Cortex-M4F (reference manual RM0383).
 *
 * Not run on hardware here: written from the manual, compiled, never flashed.
 * Clock: 96 MHz from the internal 16 MHz, as crystals differ between makers. Serial port: USART1 on PA9 (TX) and
 * PA10 (RX); a USB-to-serial adapter of 3.3 V is needed.
 */
#define CLOCK_MHZ 96u
#define PLL_SOURCE_HSE 0u
#define PLL_M 16u
#define PLL_N 192u
#define PLL_P 2u
#define FLASH_WAIT_STATES 3u
#define APB1_DIVIDE 2u /* APB1 may run at 50 MHz at most */
#define VOLTAGE_SCALE_BITS 3u /* VOS: the fastest that this chip has */
#define OVERDRIVE 0u
#define UART_1_PA9_PA10
#define BOARD_NAME "blackpill-f411ce"

#include "../../hal/stm32f4.h"
