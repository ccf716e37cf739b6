/* Text out over the serial port. No printf: it would cost more flash than a small model. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

void console_char(char c);
/* CRC-16 of all that was printed since the start, line ends included. */
void console_checksum_start(void);
uint16_t console_checksum(void);
void console_text(const char *text);
/* Text and the end of the line, "\r\n". */
void console_line(const char *text);
void console_uint(uint64_t value);
void console_hex8(uint8_t value);
void console_hex32(uint32_t value);
/* thousandths = 1234 prints "1.234" */
void console_thousandths(int32_t thousandths);
/* ",key=value" */
void console_key_uint(const char *key, uint32_t value);
void console_key_text(const char *key, const char *value);

#endif
