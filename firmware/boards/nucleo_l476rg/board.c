/* Nucleo-L476RG: STM32L476RG, Cortex-M4F (reference manual RM0351, board manual UM1724).
 *
 * Not run on hardware here: written from the manual, compiled, never flashed.
 * Clock: 80 MHz from the internal 16 MHz through the PLL. Serial port: USART2 on PA2 and PA3, which the ST-LINK carries to
 * USB.
 */
#include "cortex_m.h"
#include "hal.h"

#define RCC_CR REG32(0x40021000u)
#define RCC_CFGR REG32(0x40021008u)
#define RCC_PLLCFGR REG32(0x4002100Cu)
#define RCC_AHB2ENR REG32(0x4002104Cu)
#define RCC_APB1ENR1 REG32(0x40021058u)
#define FLASH_ACR REG32(0x40022000u)
#define GPIOA_MODER REG32(0x48000000u)
#define GPIOA_PUPDR REG32(0x4800000Cu)
#define GPIOA_AFRL REG32(0x48000020u)
#define USART2_CR1 REG32(0x40004400u)
#define USART2_BRR REG32(0x4000440Cu)
#define USART2_ISR REG32(0x4000441Cu)
#define USART2_ICR REG32(0x40004420u)
#define USART2_RDR REG32(0x40004424u)
#define USART2_TDR REG32(0x40004428u)

#define RCC_CR_HSION (1u << 8)
#define RCC_CR_HSIRDY (1u << 10)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
/* 16 MHz / M=1 * N=10 / R=2 = 80 MHz; the VCO at 160 MHz. */
#define RCC_PLLCFGR_80MHZ (2u | 0u << 4 | 10u << 8 | 1u << 24 | 0u << 25)
#define RCC_CFGR_SW_PLL 3u
#define RCC_CFGR_SWS (3u << 2)
#define RCC_CFGR_SWS_PLL (3u << 2)
#define FLASH_ACR_80MHZ (4u | 1u << 8 | 1u << 9 | 1u << 10) /* four wait states, prefetch and caches */
#define FLASH_ACR_LATENCY 7u

#define USART_CR1_RUN ((1u << 0) | (1u << 5) | (1u << 3) | (1u << 2)) /* UE, RXNEIE, TE, RE */
#define USART_ISR_ORE (1u << 3)
#define USART_ISR_RXNE (1u << 5)
#define USART_ISR_TC (1u << 6)
#define USART_ISR_TXE (1u << 7)

#define USART2_IRQ 38u
#define CLOCK_MHZ 80u
#define BAUD 115200u

const char hal_board_name[] = "nucleo-l476rg";
const char hal_tick_unit[] = "cycle";
const struct hal_tick_scale hal_tick_scale = {1, 1};
const uint32_t hal_ticks_per_lap_unit = CLOCK_MHZ;

static void clock_start(void) {
    RCC_CR |= RCC_CR_HSION;
    while (!(RCC_CR & RCC_CR_HSIRDY)) {
    }
    FLASH_ACR = FLASH_ACR_80MHZ; /* voltage range 1 is what the chip resets to */
    while ((FLASH_ACR & FLASH_ACR_LATENCY) != 4u) {
    }
    RCC_PLLCFGR = RCC_PLLCFGR_80MHZ;
    RCC_CR |= RCC_CR_PLLON;
    while (!(RCC_CR & RCC_CR_PLLRDY)) {
    }
    RCC_CFGR = RCC_CFGR_SW_PLL; /* both buses undivided */
    while ((RCC_CFGR & RCC_CFGR_SWS) != RCC_CFGR_SWS_PLL) {
    }
}

void hal_init(void) {
    clock_start();
    RCC_AHB2ENR |= 1u << 0;   /* GPIOA */
    RCC_APB1ENR1 |= 1u << 17; /* USART2 */
    (void)RCC_APB1ENR1;
    GPIOA_AFRL = (GPIOA_AFRL & ~0x0000FF00u) | 0x00007700u;       /* PA2, PA3: alternate function 7 */
    GPIOA_PUPDR = (GPIOA_PUPDR & ~(0xFu << 4)) | (0x5u << 4);     /* pull-up: an open line is silent */
    GPIOA_MODER = (GPIOA_MODER & ~(0xFu << 4)) | (0xAu << 4);
    USART2_BRR = (CLOCK_MHZ * 1000000u + BAUD / 2u) / BAUD;
    USART2_CR1 = USART_CR1_RUN;
    irq_line_enable(USART2_IRQ);
    cycle_counter_start();
}

void hal_uart_put(uint8_t byte) {
    while (!(USART2_ISR & USART_ISR_TXE)) {
    }
    USART2_TDR = byte;
}

void hal_uart_flush(void) {
    while (!(USART2_ISR & USART_ISR_TC)) {
    }
}

uint32_t hal_ticks(void) { return DWT_CYCCNT; }

static void usart2_interrupt(void) {
    if (USART2_ISR & USART_ISR_ORE) {
        USART2_ICR = USART_ISR_ORE; /* lost bytes show as a damaged command */
    }
    if (USART2_ISR & USART_ISR_RXNE) {
        hal_uart_received((uint8_t)USART2_RDR);
    }
}

typedef void (*vector_t)(void);

__attribute__((section(".isr_vector.irq"), used)) static const vector_t irq_vectors[USART2_IRQ + 1u] = {
    [USART2_IRQ] = usart2_interrupt,
};
