/* The receive ring: filled by the interrupt, emptied by main(). A real UART cannot hold its sender back, so bytes that
 * come while a command runs must have a place to wait.
 */
#include "cortex_m.h"
#include "hal.h"

#define RING_SIZE 128u /* a power of two; the longest command line is 80 */

static uint8_t ring[RING_SIZE];
static volatile uint32_t head; /* written by the interrupt only */
static volatile uint32_t tail; /* written by main() only */
static volatile uint32_t lost;

void hal_uart_received(uint8_t byte) {
    if (head - tail == RING_SIZE) {
        lost++;
        return;
    }
    ring[head % RING_SIZE] = byte;
    head++;
}

int hal_uart_get(void) {
    if (head == tail) {
        return -1;
    }
    const uint8_t byte = ring[tail % RING_SIZE];
    tail++;
    return byte;
}

uint32_t hal_uart_lost(void) {
    irq_disable();
    const uint32_t count = lost;
    lost = 0;
    irq_enable();
    return count;
}

void hal_wait(void) {
    /* Asleep rather than spinning: an emulator that counts instructions takes input a hundred times slower while its
     * processor is busy. With interrupts masked WFI still wakes on a pending one: no byte can slip in between the
     * check and the sleep. */
    irq_disable();
    if (head == tail) {
        __asm volatile("wfi" ::: "memory");
    }
    irq_enable();
}
