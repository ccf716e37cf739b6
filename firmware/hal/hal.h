/* What the firmware asks of a board. boards/<name>/board.c implements the functions marked "board"; the rest is common.
 */
#ifndef HAL_H
#define HAL_H

#include <stdint.h>

/* board: shown by the command `name` */
extern const char hal_board_name[];
/* board: what the firmware reports, "instruction" under an emulator, "cycle" on a chip */
extern const char hal_tick_unit[];
/* board: a difference of hal_ticks() times this fraction, rounded, is a number of hal_tick_unit. 1/1 where the counter
 * counts them itself; else every unit must be several ticks, so that rounding is exact. The divisor fits in 16 bits. */
extern const struct hal_tick_scale {
    uint32_t times, over;
} hal_tick_scale;
/* board: units per unit of `m-lap-us`; 1 where the time base is instructions, as an emulator has no microseconds */
extern const uint32_t hal_ticks_per_lap_unit;

/* board: clocks, serial port with its receive interrupt, tick counter. Interrupts are enabled by main(). */
void hal_init(void);
/* board: one byte out; waits until the transmitter takes it */
void hal_uart_put(uint8_t byte);
/* board: returns only when the last byte has left the transmitter, so that a reset cannot cut it */
void hal_uart_flush(void);
/* board: free-running counter, wraps at 2^32 */
uint32_t hal_ticks(void);
/* board, if need be: called before each measurement, so that what the counter itself costs in interrupts comes at the
 * same points of every inference. hal_ticks() goes on from where it stood. */
void hal_ticks_align(void);

/* Called by the board's receive interrupt with each byte. */
void hal_uart_received(uint8_t byte);
/* Next received byte, or -1 where none waits. */
int hal_uart_get(void);
/* Bytes lost since the last call because the receive ring was full. */
uint32_t hal_uart_lost(void);
/* Sleeps until an interrupt comes; returns at once where a received byte waits. */
void hal_wait(void);

#endif
