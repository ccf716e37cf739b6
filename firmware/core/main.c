#include "cortex_m.h"
#include "hal.h"
#include "protocol.h"

int main(void) {
    hal_init();
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
