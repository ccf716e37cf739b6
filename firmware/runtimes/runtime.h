/* What the harness asks of a runtime: the code that runs a model. runtimes/<name>/ implements it. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *runtime; /* "none", "sparse", "tflm" */
    const char *model;
    uint32_t input_size; /* bytes (int8 elements); 0 = no model */
    uint32_t output_size;
    uint32_t row_size; /* bytes of a row, where the model takes its input row by row and never holds it all; else 0 */
    uint32_t arena_size;
    uint32_t payload_size;
    float output_scale;
    int32_t output_zero_point;
    /* The harness's own copy of the input, the stand-in for a sensor: filled by the command `db`, copied to
     * runtime_input() before each inference, or read row by row during it. It does not count into ram_model. */
    uint8_t *db;
    uint32_t db_capacity;
    /* Only of a runtime that reads its model from a flash slot (tflm); else 0. */
    uint32_t arena_head; /* bytes of activations */
    uint32_t arena_tail; /* bytes of what lives as long as the interpreter */
    uint32_t slot_crc;   /* CRC-32 of the model in the slot: which one it is */
    int failure;         /* 0, or why the model in the slot cannot run: what runtime_invoke() then returns */
} runtime_info_t;

/* Once, before anything else here: makes the model ready. */
void runtime_start(void);
const runtime_info_t *runtime_info(void);
/* Where runtime_invoke() reads its input; the content is lost during an inference. NULL: it takes its rows from `db`. */
int8_t *runtime_input(void);
const int8_t *runtime_output(void);
/* One inference. 0 = ok, anything else is the runtime's own error number. */
int runtime_invoke(void);

#ifdef __cplusplus
}
#endif

#endif
