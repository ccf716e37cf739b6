#include "stack.h"

#include "cortex_m.h"

#define PATTERN 0xA5C35A3Cu

extern uint32_t _stack_limit[], _stack_top[];

static uint32_t peak;

uint32_t stack_size(void) { return (uint32_t)_stack_top - (uint32_t)_stack_limit; }

uint32_t stack_depth(void) { return (uint32_t)_stack_top - stack_pointer(); }

__attribute__((noinline)) void stack_paint(void) {
    uint32_t *const end = (uint32_t *)stack_pointer();
    for (volatile uint32_t *word = _stack_limit; word < end; word++) {
        *word = PATTERN;
    }
}

uint32_t stack_high_water(void) {
    const volatile uint32_t *word = _stack_limit;
    while (word < _stack_top && *word == PATTERN) {
        word++;
    }
    return (uint32_t)_stack_top - (uint32_t)word;
}

void stack_repaint(void) {
    (void)stack_peak();
    stack_paint();
}

uint32_t stack_peak(void) {
    const uint32_t now = stack_high_water();
    if (now > peak) {
        peak = now;
    }
    return peak;
}
