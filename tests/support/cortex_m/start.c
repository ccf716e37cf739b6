/* The least that a Cortex-M under QEMU needs: vectors, FPU on, .bss and .data, semihosting. */
#include <stdint.h>
#include <string.h>

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
int main(void);

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void write_text(const char *text)
{
    semihosting(0x04, text); /* SYS_WRITE0 */
}

static void leave(uint32_t code)
{
    const uint32_t arguments[2] = {0x20026, code}; /* ADP_Stopped_ApplicationExit */
    semihosting(0x20, arguments);                  /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

static void reset(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: full access to the FPU */
#endif
    memcpy(&data_start, &data_load, (size_t)((char *)&data_end - (char *)&data_start));
    memset(&bss_start, 0, (size_t)((char *)&bss_end - (char *)&bss_start));
    leave((uint32_t)main());
}

static void fault(void)
{
    write_text("fault\n");
    leave(3);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, reset, fault, fault, fault, fault, fault,
};
