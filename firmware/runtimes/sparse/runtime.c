/* Glue between the harness and the C that tfsparse.compiler wrote (model.h). */
#include "runtime.h"

#include <stddef.h>

#include "model.h"

const runtime_info_t runtime_info = {
    "sparse",           MODEL_NAME,         MODEL_INPUT_SIZE,        MODEL_OUTPUT_SIZE, MODEL_ARENA_SIZE,
    MODEL_PAYLOAD_SIZE, MODEL_OUTPUT_SCALE, MODEL_OUTPUT_ZERO_POINT,
};

uint8_t db_buffer[MODEL_INPUT_SIZE];
const uint32_t db_capacity = sizeof db_buffer;

int8_t *runtime_input(void) { return model_input(); }
const int8_t *runtime_output(void) { return model_output(); }
int runtime_invoke(void) { return model_invoke(model_input(), NULL); }
