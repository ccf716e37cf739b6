/* What an emulated board tells of itself: its name, and as its time base instructions, by whatever timer its board.c
 * reads. Included by a board.c that has defined BOARD_NAME and, where an instruction is several ticks of that timer, the
 * fraction TICK_TIMES / TICK_OVER.
 */
#include "hal.h"

#ifndef TICK_OVER
#define TICK_TIMES 1
#define TICK_OVER 1
#endif

const char hal_board_name[] = BOARD_NAME;
const char hal_tick_unit[] = "instruction";
const struct hal_tick_scale hal_tick_scale = {TICK_TIMES, TICK_OVER};
const uint32_t hal_ticks_per_lap_unit = 1;
