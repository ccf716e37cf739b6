/* STM32F405 as QEMU's machine netduinoplus2 emulates it (reference manual RM0090).
 *
 * What QEMU leaves out shapes this file: RCC reads 0, so nothing waits for a clock; the DWT cycle counter stands
 * still, so TIM2 is the tick counter. With `-icount shift=0` it counts one tick an instruction, exact and repeatable.
 */
#include "cortex_m.h"
#include "hal.h"

#define RCC_APB1ENR REG32(0x40023840u)
#define RCC_APB2ENR REG32(0x40023844u)
#define USART1_SR REG32(0x40011000u)
#define USART1_DR REG32(0x40011004u)
#define USART1_BRR REG32(0x40011008u)
#define USART1_CR1 REG32(0x4001100Cu)
#define TIM2_CR1 REG32(0x40000000u)
#define TIM2_EGR REG32(0x40000014u)
#define TIM2_CNT REG32(0x40000024u)
#define TIM2_ARR REG32(0x4000002Cu)

#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RUN ((1u << 13) | (1u << 5) | (1u << 3) | (1u << 2)) /* UE, RXNEIE, TE, RE */

#define USART1_IRQ 37u
#define APB2_HZ 16000000u /* the internal oscillator, as after reset */
#define BAUD 115200u

const char hal_board_name[] = "stm32f405-qemu";
const char hal_tick_unit[] = "instruction";
const struct hal_tick_scale hal_tick_scale = {1, 1};
const uint32_t hal_ticks_per_lap_unit = 1;

void hal_init(void) {
    RCC_APB1ENR |= 1u << 0; /* TIM2 */
    RCC_APB2ENR |= 1u << 4; /* USART1 */
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_EGR = 1u;
    TIM2_CR1 = 1u;
    USART1_BRR = (APB2_HZ + BAUD / 2u) / BAUD;
    USART1_CR1 = USART_CR1_RUN;
    irq_line_enable(USART1_IRQ);
}

void hal_uart_put(uint8_t byte) {
    while (!(USART1_SR & USART_SR_TXE)) {
    }
    USART1_DR = byte;
}

void hal_uart_flush(void) {
    while (!(USART1_SR & USART_SR_TC)) {
    }
}

uint32_t hal_ticks(void) { return TIM2_CNT; }

static void usart1_interrupt(void) {
    if (USART1_SR & USART_SR_RXNE) {
        hal_uart_received((uint8_t)USART1_DR);
    }
}

typedef void (*vector_t)(void);

__attribute__((section(".isr_vector.irq"), used)) static const vector_t irq_vectors[USART1_IRQ + 1u] = {
    [USART1_IRQ] = usart1_interrupt,
};
