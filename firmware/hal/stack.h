/* How much stack was used: the free part is painted with a pattern, the lowest word that lost it is the high-water mark.
 * All figures in bytes, counted from the top of the stack.
 */
#ifndef STACK_H
#define STACK_H

#include <stdint.h>

uint32_t stack_size(void);
/* Depth of the caller's frame. */
uint32_t stack_depth(void);
/* Paints everything below the caller: the first time, at reset. */
void stack_paint(void);
/* The same later on; stack_peak() keeps what was reached before. */
void stack_repaint(void);
/* High-water mark since the last painting; equal to stack_size() only where the stack is full to the last word,
 * which counts as an overflow. */
uint32_t stack_high_water(void);
/* High-water mark since reset. */
uint32_t stack_peak(void);

#endif
