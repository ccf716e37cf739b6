/* STM32F100RB (Cortex-M3, 8 kB of RAM) as QEMU's machine stm32vldiscovery emulates it (reference manual RM0041).
 *
 * QEMU has neither its clocks nor its timers; what counts is SysTick at 3 MHz, 24 bits wide, its upper bits counted by
 * its interrupt. With `-icount shift=10` an instruction takes 1024 ns, which is 3.072 ticks: enough to be told exactly.
 * The interrupt comes every 5.4 million instructions of an inference and adds its own dozen to what is counted.
 */
#define USART_BASE 0x40013800u /* USART1 */
#define USART_IRQ 37u
#define BOARD_NAME "stm32vldiscovery-qemu"
#define TICK_TIMES 125 /* 1 / 3.072 */
#define TICK_OVER 384
#include "emulated_board.h"
#include "stm32_usart.h"

#define SYST_CSR REG32(0xE000E010u)
#define SYST_RVR REG32(0xE000E014u)
#define SYST_CVR REG32(0xE000E018u)

#define SYST_CSR_RUN 3u /* reference clock, interrupt, enable */
#define SYST_PERIOD 0x01000000u

#define CPU_HZ 24000000u

static volatile uint32_t periods; /* since the last hal_ticks_align() */
static uint32_t aligned_at;

void SysTick_Handler(void) { periods++; }

void hal_init(void) {
    usart_start(CPU_HZ);
    SYST_RVR = SYST_PERIOD - 1u;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_RUN;
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
