/* Clock, serial port and cycle counter of STM32F4 boards; included by a board.c that has defined what differs.
 *
 * Registers: RM0390 (F446), RM0368 (F401), RM0383 (F411): RCC in chapter 6, PWR 5, FLASH 3, GPIO 7 or 8, USART 19 to 25.
 */
#define RCC_CR REG32(0x40023800u)
#define RCC_PLLCFGR REG32(0x40023804u)
#define RCC_CFGR REG32(0x40023808u)
#define RCC_AHB1ENR REG32(0x40023830u)
#define RCC_APB1ENR REG32(0x40023840u)
#define RCC_APB2ENR REG32(0x40023844u)
#define PWR_CR REG32(0x40007000u)
#define PWR_CSR REG32(0x40007004u)
#define FLASH_ACR REG32(0x40023C00u)
#define GPIOA_BASE 0x40020000u

#define RCC_CR_HSEON (1u << 16)
#define RCC_CR_HSERDY (1u << 17)
#define RCC_CR_HSEBYP (1u << 18)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR_SRC_HSE (1u << 22)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS (3u << 2)
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_APB1ENR_PWR (1u << 28)
#define PWR_CR_ODEN (1u << 16)
#define PWR_CR_ODSWEN (1u << 17)
#define PWR_CSR_ODRDY (1u << 16)
#define PWR_CSR_ODSWRDY (1u << 17)
#define FLASH_ACR_CACHES ((1u << 8) | (1u << 9) | (1u << 10)) /* prefetch, instruction and data cache */

#define APB1_HZ (CLOCK_MHZ * 1000000u / APB1_DIVIDE)
#define APB2_HZ (CLOCK_MHZ * 1000000u / 2u)

#if defined(UART_2_PA2_PA3)
#define USART_BASE 0x40004400u
#define USART_IRQ 38u
#define USART_HZ APB1_HZ
#define PIN_TX 2u
#define PIN_RX 3u
#elif defined(UART_1_PA9_PA10)
#define USART_BASE 0x40011000u
#define USART_IRQ 37u
#define USART_HZ APB2_HZ
#define PIN_TX 9u
#define PIN_RX 10u
#else
#error "name the serial port in board.c"
#endif

#include "real_board.h"
#include "stm32_pins.h"
#include "stm32_usart.h"

static void clock_start(void) {
    RCC_APB1ENR |= RCC_APB1ENR_PWR;
    (void)RCC_APB1ENR; /* a peripheral answers two cycles after its clock has been switched on */
    PWR_CR = (PWR_CR & ~(3u << 14)) | VOLTAGE_SCALE_BITS << 14;
#if PLL_SOURCE_HSE
    RCC_CR |= RCC_CR_HSEBYP;
    RCC_CR |= RCC_CR_HSEON;
    while (!(RCC_CR & RCC_CR_HSERDY)) {
    }
#endif
    /* PLLQ = 8 keeps its clock, which nothing uses, below the 48 MHz that it may have; PLLR = 2 as after reset. */
    RCC_PLLCFGR = PLL_M | PLL_N << 6 | (PLL_P / 2u - 1u) << 16 | (PLL_SOURCE_HSE ? RCC_PLLCFGR_SRC_HSE : 0u) |
                  8u << 24 | 2u << 28;
    RCC_CR |= RCC_CR_PLLON;
#if OVERDRIVE
    PWR_CR |= PWR_CR_ODEN;
    while (!(PWR_CSR & PWR_CSR_ODRDY)) {
    }
    PWR_CR |= PWR_CR_ODSWEN;
    while (!(PWR_CSR & PWR_CSR_ODSWRDY)) {
    }
#endif
    while (!(RCC_CR & RCC_CR_PLLRDY)) {
    }
    FLASH_ACR = FLASH_WAIT_STATES | FLASH_ACR_CACHES;
    while ((FLASH_ACR & 0xFu) != FLASH_WAIT_STATES) {
    }
    /* APB2 at half the clock, APB1 at its divisor: 4 = by 2, 5 = by 4. */
    RCC_CFGR = 4u << 13 | (APB1_DIVIDE == 4u ? 5u : 4u) << 10 | RCC_CFGR_SW_PLL;
    while ((RCC_CFGR & RCC_CFGR_SWS) != RCC_CFGR_SWS_PLL) {
    }
}

void hal_init(void) {
    clock_start();
    RCC_AHB1ENR |= 1u << 0; /* GPIOA */
#if defined(UART_2_PA2_PA3)
    RCC_APB1ENR |= 1u << 17;
    (void)RCC_APB1ENR;
#else
    RCC_APB2ENR |= 1u << 4;
    (void)RCC_APB2ENR;
#endif
    pin_to_usart(PIN_TX);
    pin_to_usart(PIN_RX);
    usart_start(USART_HZ);
    cycle_counter_start();
}
