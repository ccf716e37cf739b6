/* Pins of port A as a serial port's: STM32F4, L4 and whatever else has the GPIO registers at these places. Included by a
 * board.c that has defined GPIOA_BASE.
 */
#include "cortex_m.h"

#define GPIOA_MODER REG32(GPIOA_BASE + 0x00u)
#define GPIOA_PUPDR REG32(GPIOA_BASE + 0x0Cu)
#define GPIOA_AFRL REG32(GPIOA_BASE + 0x20u)
#define GPIOA_AFRH REG32(GPIOA_BASE + 0x24u)
#define ALTERNATE_USART 7u /* of USART1 and USART2 on PA2, PA3, PA9 and PA10 */

static void pin_to_usart(uint32_t pin) {
    volatile uint32_t *const alternate = pin < 8u ? &GPIOA_AFRL : &GPIOA_AFRH;
    const uint32_t shift = pin % 8u * 4u;
    *alternate = (*alternate & ~(0xFu << shift)) | ALTERNATE_USART << shift;
    GPIOA_PUPDR = (GPIOA_PUPDR & ~(3u << (2u * pin))) | 1u << (2u * pin); /* pull-up: an open line is silent */
    GPIOA_MODER = (GPIOA_MODER & ~(3u << (2u * pin))) | 2u << (2u * pin);
}
