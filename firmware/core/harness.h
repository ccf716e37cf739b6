/* Runs inferences and keeps what was measured: ticks, stack, output. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

typedef struct {
    uint32_t ticks;        /* of the last inference, the cost of the reading itself included */
    uint32_t ticks_empty;  /* the same around a call that does nothing: subtract it */
    uint32_t stack_idle;   /* depth of the stack where the inference is called */
    uint32_t stack_invoke; /* high-water mark during the inference */
} harness_figures_t;

/* Runs `count` inferences on the input (`db` of runtime_info()) and adds their ticks, the empty cost taken off, to *ticks.
 * Returns 0, or the first error number of the runtime. */
int harness_run(uint32_t count, uint64_t *ticks);

const harness_figures_t *harness_figures(void);

/* The clock behind `m-lap-us`, in ticks since reset. */
uint64_t lap_now(void);
/* Sets the clock. Around inferences: to its start plus the ticks of harness_run(), so that printing the time, loading
 * inputs and painting the stack take no time. */
void lap_set(uint64_t ticks);

#endif
