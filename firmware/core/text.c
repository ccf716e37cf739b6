#include "text.h"

uint32_t text_length(const char *text) {
    const char *end = text;
    while (*end) {
        end++;
    }
    return (uint32_t)(end - text);
}

bool text_equal(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool text_contains(const char *text, const char *part) {
    for (; *text; text++) {
        uint32_t i = 0;
        while (part[i] && text[i] == part[i]) {
            i++;
        }
        if (!part[i]) {
            return true;
        }
    }
    return false;
}

uint32_t divide_wide(uint64_t *value, uint32_t divisor) {
    /* Long division in digits of 16 bits: rest < 2^16, so rest * 2^16 + digit fits in 32 bits. */
    uint64_t quotient = 0;
    uint32_t rest = 0;
    for (int shift = 48; shift >= 0; shift -= 16) {
        const uint32_t part = (rest << 16) | (uint32_t)((*value >> shift) & 0xFFFFu);
        quotient = (quotient << 16) | (part / divisor);
        rest = part % divisor;
    }
    *value = quotient;
    return rest;
}

uint16_t crc16(uint16_t crc, uint8_t byte) {
    /* Bit by bit: a table would cost 512 bytes. */
    crc ^= (uint16_t)(byte << 8);
    for (int bit = 0; bit < 8; bit++) {
        crc = (uint16_t)(crc & 0x8000u ? (uint32_t)crc << 1 ^ 0x1021u : (uint32_t)crc << 1);
    }
    return crc;
}
