#ifndef COMMANDS_H
#define COMMANDS_H

#include <stdint.h>

/* Runs one command, given without its '%', and prints its reply without the closing "m-ready". Changes `line`. */
void commands_run(char *line);
/* Bytes of a binary block that are still to come: they belong to commands_block_byte(), whatever they look like. */
uint32_t commands_block_left(void);
/* Takes one byte of the block. After the last one it prints the reply, without the closing "m-ready". */
void commands_block_byte(uint8_t byte);
/* Prints "m-lap-us-<n>". */
void commands_timestamp(void);

#endif
