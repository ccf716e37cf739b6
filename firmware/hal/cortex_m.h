/* The parts of the Cortex-M system control space that the firmware uses (ARMv6-M, ARMv7-M). */
#ifndef CORTEX_M_H
#define CORTEX_M_H

#include <stdint.h>

#define REG32(address) (*(volatile uint32_t *)(address))

#define SCB_AIRCR REG32(0xE000ED0Cu)
#define SCB_CFSR REG32(0xE000ED28u)
#define SCB_HFSR REG32(0xE000ED2Cu)
#define SCB_MMFAR REG32(0xE000ED34u)
#define SCB_BFAR REG32(0xE000ED38u)
#define SCB_CPACR REG32(0xE000ED88u)
#define DEMCR REG32(0xE000EDFCu)
#define DWT_CTRL REG32(0xE0001000u)
#define DWT_CYCCNT REG32(0xE0001004u)
#define NVIC_ISER(n) REG32(0xE000E100u + 4u * (n))

#define AIRCR_KEY_SYSRESETREQ 0x05FA0004u

static inline void irq_disable(void) { __asm volatile("cpsid i" ::: "memory"); }
static inline void irq_enable(void) { __asm volatile("cpsie i" ::: "memory"); }

static inline void irq_line_enable(uint32_t line) { NVIC_ISER(line / 32u) = 1u << (line % 32u); }

/* The board's part of the vector table, where it has one interrupt: `handler` for `line`, nothing below. */
typedef void (*vector_t)(void);
#define BOARD_INTERRUPT(line, handler)                                                                                 \
    __attribute__((section(".isr_vector.irq"), used)) static const vector_t irq_vectors[(line) + 1u] = {               \
        [line] = handler,                                                                                              \
    }

static inline uint32_t stack_pointer(void) {
    uint32_t value;
    __asm volatile("mov %0, sp" : "=r"(value));
    return value;
}

__attribute__((noreturn)) static inline void system_reset(void) {
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_KEY_SYSRESETREQ;
    for (;;) {
    }
}

#endif
