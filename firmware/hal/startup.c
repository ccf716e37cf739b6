/* From reset to main(): the vector table's common part, .data, .bss, the FPU. */
#include <string.h>

#include "cortex_m.h"
#include "stack.h"

extern uint32_t _data_start[], _data_end[], _data_load[], _bss_start[], _bss_end[], _stack_top[];

int main(void);
void HardFault_Handler(void);
/* Only of boards that count with it. */
__attribute__((weak)) void SysTick_Handler(void);

void Reset_Handler(void) {
    memcpy(_data_start, _data_load, (size_t)((char *)_data_end - (char *)_data_start));
    memset(_bss_start, 0, (size_t)((char *)_bss_end - (char *)_bss_start));
#ifdef __ARM_FP
    SCB_CPACR |= 0xFu << 20; /* full access to the floating-point unit */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    stack_paint();
    main();
    system_reset();
}

/* Exceptions 0..15; the board's interrupts follow in .isr_vector.irq. Every fault that is not enabled on its own
 * escalates to the hard fault; what nobody expects ends there as well, because it must be reported, not ignored. */
__attribute__((section(".isr_vector"), used)) static const vector_t core_vectors[16] = {
    (vector_t)_stack_top, Reset_Handler,
    HardFault_Handler,    HardFault_Handler,
    HardFault_Handler,    HardFault_Handler,
    HardFault_Handler,    0,
    0,                    0,
    0,                    HardFault_Handler,
    HardFault_Handler,    0,
    HardFault_Handler,    SysTick_Handler,
};
