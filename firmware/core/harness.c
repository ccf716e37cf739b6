#include "harness.h"

#include <string.h>

#include "hal.h"
#include "runtime.h"
#include "stack.h"

static harness_figures_t figures;

const harness_figures_t *harness_figures(void) { return &figures; }

__attribute__((noinline)) static int invoke_nothing(void) { return 0; }

/* Through a volatile pointer, so that both calls compile to the same instructions and their difference is exact. */
static int (*volatile invoke)(void);

static uint32_t ticks_of(int (*what)(void), int *error) {
    invoke = what;
    const uint32_t start = hal_ticks();
    *error = invoke();
    return hal_ticks() - start;
}

int harness_run(uint32_t count, uint64_t *ticks) {
    int error = 0;
    figures.ticks_empty = ticks_of(invoke_nothing, &error);
    for (uint32_t i = 0; i < count && !error; i++) {
        memcpy(runtime_input(), runtime_info()->db, runtime_info()->input_size);
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
    lap += now - lap_last; /* modulo 2^32, as the counter */
    lap_last = now;
    return lap;
}

void lap_set(uint64_t ticks) {
    lap = ticks;
    lap_last = hal_ticks();
}
