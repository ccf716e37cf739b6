/* What the harness asks of a runtime: the code that runs a model. runtimes/<name>/runtime.c implements it. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdint.h>

typedef struct {
    const char *runtime; /* "none", "sparse" */
    const char *model;
    uint32_t input_size; /* bytes (int8 elements); 0 = no model */
    uint32_t output_size;
    uint32_t arena_size;
    uint32_t payload_size;
    float output_scale;
    int32_t output_zero_point;
} runtime_info_t;

extern const runtime_info_t runtime_info;

/* The harness's own copy of the input, the stand-in for a sensor: filled by `db`, copied to runtime_input() before each
 * inference. Its size in the ELF is left out of ram_model. */
extern uint8_t db_buffer[];
extern const uint32_t db_capacity;

/* Where runtime_invoke() reads its input; the content is lost during an inference. */
int8_t *runtime_input(void);
const int8_t *runtime_output(void);
/* One inference. 0 = ok, anything else is the runtime's own error number. */
int runtime_invoke(void);

#endif
