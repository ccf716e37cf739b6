#include "protocol.h"

#include <stdbool.h>

#include "commands.h"
#include "console.h"

#define LINE_MAX 80u

static char line[LINE_MAX + 1];
static uint32_t length;
static bool too_long, lost;

static void ready(void) { console_line("m-ready"); }

void protocol_banner(void) {
    console_line("m-timestamp-mode-performance");
    commands_timestamp();
    console_line("m-init-done");
    ready();
}

void protocol_byte(uint8_t byte) {
    if (commands_block_left()) {
        commands_block_byte(byte);
        if (!commands_block_left()) {
            lost = false; /* the block's checksum has told */
            ready();
        }
    } else if (byte == '%') {
        line[length] = '\0';
        if (lost) {
            console_line("e-[Bytes were lost: send the command again]");
        } else if (too_long) {
            console_line("e-[Command longer than 80 characters]");
        } else {
            commands_run(line);
        }
        length = 0;
        too_long = lost = false;
        ready();
    } else if (byte < ' ' || byte > '~') {
        /* Line ends that a terminal adds, and noise. */
    } else if (length < LINE_MAX) {
        line[length++] = (char)byte;
    } else {
        too_long = true;
    }
}

void protocol_lost(void) { lost = true; }
