/* MLPerf Tiny's serial protocol: commands end in '%', replies are lines, each command's reply ends with "m-ready". */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

/* The lines that tell the host that the firmware is up. */
void protocol_banner(void);
/* Takes one received byte; runs the command that it completes. */
void protocol_byte(uint8_t byte);
/* The port lost bytes: what is being received is not to be trusted, so it is refused at its end. */
void protocol_lost(void);

#endif
