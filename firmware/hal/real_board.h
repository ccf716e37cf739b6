/* What a real board tells of itself: its name, and as its time base cycles, by the DWT unit's counter (ARMv7-M). Included
 * by a board.c that has defined BOARD_NAME and CLOCK_MHZ.
 */
#include "cortex_m.h"
#include "hal.h"

const char hal_board_name[] = BOARD_NAME;
const char hal_tick_unit[] = "cycle";
const struct hal_tick_scale hal_tick_scale = {1, 1};
const uint32_t hal_ticks_per_lap_unit = CLOCK_MHZ;

static void cycle_counter_start(void) {
    DEMCR |= 1u << 24; /* TRCENA */
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1u;
}

uint32_t hal_ticks(void) { return DWT_CYCCNT; }
