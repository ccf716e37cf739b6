/* STM32F100RB (Cortex-M3, 8 kB of RAM) as QEMU's machine stm32vldiscovery emulates it (reference manual RM0041).
 *
 * QEMU has neither its clocks nor its timers; what counts is SysTick at 3 MHz, 24 bits wide, its upper bits counted by
 * its interrupt. With `-icount shift=10` an instruction takes 1024 ns, which is 3.072 ticks: enough to be told exactly.
 * The interrupt comes every 5.4 million instructions of an inference and adds its own dozen to what is counted.
 */
#include "cortex_m.h"
#include "hal.h"

#define USART1_SR REG32(0x40013800u)
#define USART1_DR REG32(0x40013804u)
#define USART1_BRR REG32(0x40013808u)
#define USART1_CR1 REG32(0x4001380Cu)
#define SYST_CSR REG32(0xE000E010u)
#define SYST_RVR REG32(0xE000E014u)
#define SYST_CVR REG32(0xE000E018u)

#define USART_SR_RXNE (1u << 5)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RUN ((1u << 13) | (1u << 5) | (1u << 3) | (1u << 2)) /* UE, RXNEIE, TE, RE */
#define SYST_CSR_RUN 3u                                                /* reference clock, interrupt, enable */
#define SYST_PERIOD 0x01000000u

#define USART1_IRQ 37u
#define CPU_HZ 24000000u
#define BAUD 115200u

const char hal_board_name[] = "stm32vldiscovery-qemu";
const char hal_tick_unit[] = "instruction";
const struct hal_tick_scale hal_tick_scale = {125, 384}; /* 1 / 3.072 */
const uint32_t hal_ticks_per_lap_unit = 1;

static volatile uint32_t periods; /* since the last hal_ticks_align() */
static uint32_t aligned_at;

void SysTick_Handler(void) { periods++; }

void hal_init(void) {
    USART1_BRR = (CPU_HZ + BAUD / 2u) / BAUD;
    USART1_CR1 = USART_CR1_RUN;
    irq_line_enable(USART1_IRQ);
    SYST_RVR = SYST_PERIOD - 1u;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_RUN;
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

uint32_t hal_ticks(void) {
    uint32_t before, count;
    do {
        before = periods;
        count = SYST_PERIOD - 1u - SYST_CVR;
    } while (before != periods);
    return aligned_at + before * SYST_PERIOD + count;
}

void hal_ticks_align(void) {
    aligned_at = hal_ticks();
    SYST_CVR = 0; /* any write: the next count is the reload value */
    periods = 0;
}

static void usart1_interrupt(void) {
    if (USART1_SR & USART_SR_RXNE) {
        hal_uart_received((uint8_t)USART1_DR);
    }
}

typedef void (*vector_t)(void);

__attribute__((section(".isr_vector.irq"), used)) static const vector_t irq_vectors[USART1_IRQ + 1u] = {
    [USART1_IRQ] = usart1_interrupt,
};
