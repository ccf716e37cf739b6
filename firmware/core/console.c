#include "console.h"

#include "hal.h"
#include "text.h"

static uint16_t checksum;

void console_checksum_start(void) { checksum = CRC16_START; }
uint16_t console_checksum(void) { return checksum; }

void console_char(char c) {
    checksum = crc16(checksum, (uint8_t)c);
    hal_uart_put((uint8_t)c);
}

void console_text(const char *text) {
    while (*text) {
        console_char(*text++);
    }
}

void console_line(const char *text) {
    console_text(text);
    console_text("\r\n");
}

void console_uint(uint64_t value) {
    char digits[20];
    uint32_t count = 0;
    do {
        digits[count++] = (char)('0' + divide_wide(&value, 10));
    } while (value);
    while (count) {
        console_char(digits[--count]);
    }
}

static void hex_digit(uint32_t digit) { console_char("0123456789abcdef"[digit & 15u]); }

void console_hex8(uint8_t value) {
    hex_digit(value >> 4);
    hex_digit(value);
}

void console_hex32(uint32_t value) {
    for (int shift = 28; shift >= 0; shift -= 4) {
        hex_digit(value >> shift);
    }
}

void console_thousandths(int32_t thousandths) {
    uint32_t magnitude = (uint32_t)thousandths;
    if (thousandths < 0) {
        console_char('-');
        magnitude = 0u - magnitude;
    }
    console_uint(magnitude / 1000u);
    console_char('.');
    magnitude %= 1000u;
    console_char((char)('0' + magnitude / 100u));
    console_char((char)('0' + magnitude / 10u % 10u));
    console_char((char)('0' + magnitude % 10u));
}

static void key(const char *name) {
    console_char(',');
    console_text(name);
    console_char('=');
}

void console_key_uint(const char *name, uint32_t value) {
    key(name);
    console_uint(value);
}

void console_key_text(const char *name, const char *value) {
    key(name);
    console_text(value);
}
