#ifndef COMMANDS_H
#define COMMANDS_H

/* Runs one command, given without its '%', and prints its reply without the closing "m-ready". Changes `line`. */
void commands_run(char *line);
/* Prints "m-lap-us-<n>". */
void commands_timestamp(void);

#endif
