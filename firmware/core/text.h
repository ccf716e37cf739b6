/* Strings and wide numbers, small: newlib's are tuned for speed and would cost 3 kB of flash. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdint.h>

uint32_t text_length(const char *text);
bool text_equal(const char *a, const char *b);
bool text_contains(const char *text, const char *part);

/* Divides *value by `divisor` (1..65535) in place and returns the rest. */
uint32_t divide_wide(uint64_t *value, uint32_t divisor);

#define CRC16_START 0xFFFFu
/* CRC-16/CCITT (polynomial 0x1021): `crc` after one byte more. */
uint16_t crc16(uint16_t crc, uint8_t byte);

#endif
