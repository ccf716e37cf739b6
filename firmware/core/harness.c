#include "harness.h"

#include <string.h>

#include "hal.h"
#include "runtime.h"
#include "stack.h"
#include "text.h"

__attribute__((weak)) void hal_ticks_align(void) {}

static harness_figures_t figures;

const harness_figures_t *harness_figures(void) { return &figures; }

__attribute__((noinline)) static int invoke_nothing(void) { return 0; }

/* Through a volatile pointer, so that both calls compile to the same instructions and their difference is exact. */
static int (*volatile invoke)(void);

/* A difference of hal_ticks() in the board's unit. */
static uint32_t in_units(uint32_t ticks) {
    uint64_t scaled = (uint64_t)ticks * hal_tick_scale.times + hal_tick_scale.over / 2u;
    divide_wide(&scaled, hal_tick_scale.over);
    return (uint32_t)scaled;
}

static uint32_t ticks_of(int (*what)(void), int *error) {
    invoke = what;
    hal_ticks_align();
    const uint32_t start = hal_ticks();
    *error = invoke();
    return in_units(hal_ticks() - start);
}

int harness_run(uint32_t count, uint64_t *ticks) {
    int error = 0;
    figures.ticks_empty = ticks_of(invoke_nothing, &error);
    for (uint32_t i = 0; i < count && !error; i++) {
        int8_t *const input = runtime_input();
        if (input) {
            memcpy(input, runtime_info()->db, runtime_info()->input_size);
        }
        stack_repaint();
        figures.ticks = ticks_of(runtime_invoke, &error);
        figures.stack_idle = stack_depth();
        figures.stack_invoke = stack_high_water();
        *ticks += figures.ticks - figures.ticks_empty;
    }
    return error;
}

static uint64_t lap;
static uint32_t lap_last;

uint64_t lap_now(void) {
    const uint32_t now = hal_ticks();
    lap += in_units(now - lap_last); /* modulo 2^32, as the counter */
    lap_last = now;
    return lap;
}

void lap_set(uint64_t ticks) {
    lap = ticks;
    lap_last = hal_ticks();
}
