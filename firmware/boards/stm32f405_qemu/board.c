/* STM32F405 as QEMU's machine netduinoplus2 emulates it (reference manual RM0090).
 *
 * What QEMU leaves out shapes this file: RCC reads 0, so nothing waits for a clock; the DWT cycle counter stands
 * still, so TIM2 is the tick counter. With `-icount shift=0` it counts one tick an instruction, exact and repeatable.
 */
#define USART_BASE 0x40011000u /* USART1 */
#define USART_IRQ 37u
#define BOARD_NAME "stm32f405-qemu"
#include "emulated_board.h"
#include "stm32_usart.h"

#define RCC_APB1ENR REG32(0x40023840u)
#define RCC_APB2ENR REG32(0x40023844u)
#define TIM2_CR1 REG32(0x40000000u)
#define TIM2_EGR REG32(0x40000014u)
#define TIM2_CNT REG32(0x40000024u)
#define TIM2_ARR REG32(0x4000002Cu)
#define APB2_HZ 16000000u /* the internal oscillator, as after reset */

void hal_init(void) {
    RCC_APB1ENR |= 1u << 0; /* TIM2 */
    RCC_APB2ENR |= 1u << 4; /* USART1 */
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_EGR = 1u;
    TIM2_CR1 = 1u;
    usart_start(APB2_HZ);
}

uint32_t hal_ticks(void) { return TIM2_CNT; }
