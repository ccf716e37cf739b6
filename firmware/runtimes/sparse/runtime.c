/* Glue between the harness and the C that tfsparse.compiler wrote (model.h). */
#include "runtime.h"

#include <stddef.h>

#include "model.h"

static uint8_t db_buffer[MODEL_INPUT_SIZE]; /* by this name hil.measurer finds it in the ELF */

#ifdef MODEL_FED_BY_ROWS
#define ROW_SIZE MODEL_ROW_SIZE
#else
#define ROW_SIZE 0
#endif

static const runtime_info_t info = {
    .runtime = "sparse",
    .model = MODEL_NAME,
    .input_size = MODEL_INPUT_SIZE,
    .output_size = MODEL_OUTPUT_SIZE,
    .row_size = ROW_SIZE,
    .arena_size = MODEL_ARENA_SIZE,
    .payload_size = MODEL_PAYLOAD_SIZE,
    .output_scale = MODEL_OUTPUT_SCALE,
    .output_zero_point = MODEL_OUTPUT_ZERO_POINT,
    .db = db_buffer,
    .db_capacity = sizeof db_buffer,
};

void runtime_start(void) {}
const runtime_info_t *runtime_info(void) { return &info; }
const int8_t *runtime_output(void) { return model_output(); }

#ifdef MODEL_FED_BY_ROWS
/* Row after row from the stand-in for the sensor: the model holds those that it needs, and taking them over counts. */
int8_t *runtime_input(void) { return NULL; }
int runtime_invoke(void) { return model_invoke((const int8_t *)db_buffer, NULL); }
#else
int8_t *runtime_input(void) { return model_input(); }
int runtime_invoke(void) { return model_invoke(model_input(), NULL); }
#endif
