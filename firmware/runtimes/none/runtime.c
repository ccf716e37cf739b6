/* No model: the baseline that flash_model and ram_model are counted against. */
#include "runtime.h"

#include <stddef.h>

const runtime_info_t runtime_info = {"none", "none", 0, 0, 0, 0, 0.0f, 0};

uint8_t db_buffer[64];
const uint32_t db_capacity = sizeof db_buffer;

int8_t *runtime_input(void) { return NULL; }
const int8_t *runtime_output(void) { return NULL; }
int runtime_invoke(void) { return 1; }
