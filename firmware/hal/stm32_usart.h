/* The serial port of an STM32: 115200 baud, 8N1, received by interrupt. Included by a board.c that has defined
 * USART_BASE and USART_IRQ, and USART_HAS_ISR where the chip has the newer registers (ISR, RDR, TDR: L4, F0, F3, F7 ...)
 * instead of SR and DR (F1, F2, F4).
 */
#include "cortex_m.h"
#include "hal.h"

#ifdef USART_HAS_ISR
#define USART_CR1 REG32(USART_BASE + 0x00u)
#define USART_BRR REG32(USART_BASE + 0x0Cu)
#define USART_STATUS REG32(USART_BASE + 0x1Cu)
#define USART_ICR REG32(USART_BASE + 0x20u)
#define USART_RECEIVED REG32(USART_BASE + 0x24u)
#define USART_SENT REG32(USART_BASE + 0x28u)
#define USART_CR1_UE (1u << 0)
#else
#define USART_STATUS REG32(USART_BASE + 0x00u)
#define USART_RECEIVED REG32(USART_BASE + 0x04u)
#define USART_SENT USART_RECEIVED
#define USART_BRR REG32(USART_BASE + 0x08u)
#define USART_CR1 REG32(USART_BASE + 0x0Cu)
#define USART_CR1_UE (1u << 13)
#endif

#define USART_ORE (1u << 3)
#define USART_RXNE (1u << 5)
#define USART_TC (1u << 6)
#define USART_TXE (1u << 7)
#define USART_CR1_RUN (USART_CR1_UE | (1u << 5) | (1u << 3) | (1u << 2)) /* RXNEIE, TE, RE */
#define BAUD 115200u

/* clock: of the bus that the port is on, in Hz */
static void usart_start(uint32_t clock) {
    USART_BRR = (clock + BAUD / 2u) / BAUD;
    USART_CR1 = USART_CR1_RUN;
    irq_line_enable(USART_IRQ);
}

void hal_uart_put(uint8_t byte) {
    while (!(USART_STATUS & USART_TXE)) {
    }
    USART_SENT = byte;
}

void hal_uart_flush(void) {
    while (!(USART_STATUS & USART_TC)) {
    }
}

/* A byte that came too early to be taken shows as a damaged command; its flag must go, or the interrupt never ends. */
static void usart_interrupt(void) {
#ifdef USART_HAS_ISR
    if (USART_STATUS & USART_ORE) {
        USART_ICR = USART_ORE;
    }
    if (USART_STATUS & USART_RXNE) {
        hal_uart_received((uint8_t)USART_RECEIVED);
    }
#else
    if (USART_STATUS & (USART_RXNE | USART_ORE)) { /* reading the data clears both */
        hal_uart_received((uint8_t)USART_RECEIVED);
    }
#endif
}

BOARD_INTERRUPT(USART_IRQ, usart_interrupt);
