/* Nucleo-L476RG: STM32L476RG, Cortex-M4F (reference manual RM0351, board manual UM1724).
 *
 * Not run on hardware here: written from the manual, compiled, never flashed.
 * Clock: 80 MHz from the internal 16 MHz through the PLL. Serial port: USART2 on PA2 and PA3, which the ST-LINK carries to
 * USB.
 */
#define USART_BASE 0x40004400u /* USART2 */
#define USART_IRQ 38u
#define USART_HAS_ISR
#define GPIOA_BASE 0x48000000u
#define BOARD_NAME "nucleo-l476rg"
#define CLOCK_MHZ 80u
#include "real_board.h"
#include "stm32_pins.h"
#include "stm32_usart.h"

#define RCC_CR REG32(0x40021000u)
#define RCC_CFGR REG32(0x40021008u)
#define RCC_PLLCFGR REG32(0x4002100Cu)
#define RCC_AHB2ENR REG32(0x4002104Cu)
#define RCC_APB1ENR1 REG32(0x40021058u)
#define FLASH_ACR REG32(0x40022000u)

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
    pin_to_usart(2);
    pin_to_usart(3);
    usart_start(CLOCK_MHZ * 1000000u);
    cycle_counter_start();
}
