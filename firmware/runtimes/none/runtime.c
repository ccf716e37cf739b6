/* No model: the baseline that flash_model and ram_model are counted against. */
#include "runtime.h"

#include <stddef.h>

static uint8_t db_buffer[64];

static const runtime_info_t info = {.runtime = "none", .model = "none", .db = db_buffer, .db_capacity = sizeof db_buffer};

void runtime_start(void) {}
const runtime_info_t *runtime_info(void) { return &info; }
int8_t *runtime_input(void) { return NULL; }
const int8_t *runtime_output(void) { return NULL; }
int runtime_invoke(void) { return 1; }
