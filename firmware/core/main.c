#include "cortex_m.h"
#include "hal.h"
#include "protocol.h"
#include "runtime.h"

int main(void) {
    hal_init();
    runtime_start();
    irq_enable();
    protocol_banner();
    for (;;) {
        const int byte = hal_uart_get();
        if (hal_uart_lost()) {
            protocol_lost();
        }
        if (byte < 0) {
            hal_wait();
        } else {
            protocol_byte((uint8_t)byte);
        }
    }
}
