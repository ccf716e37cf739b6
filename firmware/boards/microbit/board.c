/* BBC micro:bit: nRF51822 (Cortex-M0, 16 kB of RAM) as QEMU's machine microbit emulates it (nRF51 Series Reference Manual).
 *
 * TIMER0 at 16 MHz counts. With `-icount shift=10` an instruction takes 1024 ns, which is 16.384 ticks: enough to be told
 * exactly.
 */
#define BOARD_NAME "microbit-qemu"
#define TICK_TIMES 125 /* 1 / 16.384 */
#define TICK_OVER 2048
#include "emulated_board.h"
#include "cortex_m.h"
#include "hal.h"

#define UART_BASE 0x40002000u
#define UART_STARTRX REG32(UART_BASE + 0x000u)
#define UART_STARTTX REG32(UART_BASE + 0x008u)
#define UART_RXDRDY REG32(UART_BASE + 0x108u)
#define UART_TXDRDY REG32(UART_BASE + 0x11Cu)
#define UART_INTENSET REG32(UART_BASE + 0x304u)
#define UART_ENABLE REG32(UART_BASE + 0x500u)
#define UART_PSELTXD REG32(UART_BASE + 0x50Cu)
#define UART_PSELRXD REG32(UART_BASE + 0x514u)
#define UART_RXD REG32(UART_BASE + 0x518u)
#define UART_TXD REG32(UART_BASE + 0x51Cu)
#define UART_BAUDRATE REG32(UART_BASE + 0x524u)
#define TIMER0_BASE 0x40008000u
#define TIMER0_START REG32(TIMER0_BASE + 0x000u)
#define TIMER0_CAPTURE0 REG32(TIMER0_BASE + 0x040u)
#define TIMER0_MODE REG32(TIMER0_BASE + 0x504u)
#define TIMER0_BITMODE REG32(TIMER0_BASE + 0x508u)
#define TIMER0_PRESCALER REG32(TIMER0_BASE + 0x510u)
#define TIMER0_CC0 REG32(TIMER0_BASE + 0x540u)

#define UART_IRQ 2u
#define UART_ENABLED 4u
#define UART_115200 0x01D7E000u
#define UART_RXDRDY_BIT (1u << 2)
#define PIN_TX 24u
#define PIN_RX 25u
#define TIMER_32_BITS 3u

void hal_init(void) {
    UART_PSELTXD = PIN_TX;
    UART_PSELRXD = PIN_RX;
    UART_BAUDRATE = UART_115200;
    UART_ENABLE = UART_ENABLED;
    UART_STARTTX = 1;
    UART_STARTRX = 1;
    UART_INTENSET = UART_RXDRDY_BIT;
    irq_line_enable(UART_IRQ);
    TIMER0_MODE = 0;
    TIMER0_BITMODE = TIMER_32_BITS;
    TIMER0_PRESCALER = 0;
    TIMER0_START = 1;
}

void hal_uart_put(uint8_t byte) {
    UART_TXDRDY = 0;
    UART_TXD = byte;
    while (!UART_TXDRDY) {
    }
}

void hal_uart_flush(void) {} /* hal_uart_put() has waited for the end of its byte */

uint32_t hal_ticks(void) {
    TIMER0_CAPTURE0 = 1;
    return TIMER0_CC0;
}

static void uart_interrupt(void) {
    /* The event must be gone before the byte is taken: taking it makes room for the next one. */
    while (UART_RXDRDY) {
        UART_RXDRDY = 0;
        hal_uart_received((uint8_t)UART_RXD);
    }
}

BOARD_INTERRUPT(UART_IRQ, uart_interrupt);
