/* A fault is reported over the serial port with its registers, then the chip restarts: never a silent hang. */
#include "console.h"
#include "cortex_m.h"
#include "hal.h"

extern uint32_t _stack_limit[], _stack_top[];

/* Bytes the report itself may need below the faulting frame. */
#define REPORT_STACK 256u

static void put_register(const char *name, uint32_t value) {
    console_text(name);
    console_text("=0x");
    console_hex32(value);
}

__attribute__((used, noreturn)) static void fault_report(const uint32_t *frame) {
    const uint32_t room = (uint32_t)frame - (uint32_t)_stack_limit;
    const int overflow = frame < _stack_limit; /* below RAM: the bus fault that the stack's place provokes */
    console_text("\r\ne-[");
    console_text(overflow ? "Stack overflow: " : "Hard fault: ");
    put_register("sp", (uint32_t)frame);
    /* The exception frame: r0-r3, r12, lr, pc, xpsr. After an overflow it could not be written. */
    if (!overflow && room + 32u <= (uint32_t)_stack_top - (uint32_t)_stack_limit) {
        put_register(" pc", frame[6]);
        put_register(" lr", frame[5]);
        put_register(" r0", frame[0]);
    }
#if __ARM_ARCH >= 7
    put_register(" cfsr", SCB_CFSR);
    put_register(" hfsr", SCB_HFSR);
    put_register(" bfar", SCB_BFAR);
    put_register(" mmfar", SCB_MMFAR);
#endif
    console_line("]");
    hal_uart_flush();
    system_reset();
}

/* Where too little stack is left for the report it starts again at the top: what lies there is lost anyway. */
__attribute__((naked)) void HardFault_Handler(void) {
    __asm volatile("cpsid i\n"
                   "mrs r0, msp\n"
                   "ldr r1, =_stack_limit\n"
                   "ldr r2, =%c0\n"
                   "add r1, r1, r2\n"
                   "cmp r0, r1\n"
                   "bhs 1f\n"
                   "ldr r1, =_stack_top\n"
                   "mov sp, r1\n"
                   "1: bl fault_report\n"
                   ".ltorg\n" ::"i"(REPORT_STACK));
}
