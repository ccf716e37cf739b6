"""Models written by hand in C, for what no compiled model does: crash, hang, overflow, take a known time."""

from __future__ import annotations

from pathlib import Path

from hil.build import ModelSource

HEADER = """\
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_NAME "handmade"
#define MODEL_INPUT_SIZE {inputs}
#define MODEL_OUTPUT_SIZE {outputs}
#define MODEL_ARENA_SIZE ({inputs} + {outputs})
#define MODEL_PAYLOAD_SIZE 0
#define MODEL_MACS 0
#define MODEL_INPUT_SCALE 1.0f
#define MODEL_INPUT_ZERO_POINT 0
#define MODEL_OUTPUT_SCALE {scale}f
#define MODEL_OUTPUT_ZERO_POINT {zero}
int8_t *model_input(void);
const int8_t *model_output(void);
int model_invoke(const int8_t *in, int8_t *out);
#endif
"""

SOURCE = """\
#include "model.h"
#include <stddef.h>
static int8_t arena[MODEL_ARENA_SIZE];
int8_t *model_input(void) {{ return arena; }}
const int8_t *model_output(void) {{ return arena + MODEL_INPUT_SIZE; }}
{helpers}
int model_invoke(const int8_t *in, int8_t *out) {{
    int8_t *result = arena + MODEL_INPUT_SIZE;
    (void)in, (void)out, (void)result;
    {body}
    return 0;
}}
"""

ECHO = "for (int i = 0; i < MODEL_OUTPUT_SIZE; i++) result[i] = in[i];"


def handmade_model(
    folder: Path,
    body: str = ECHO,
    helpers: str = "",
    inputs: int = 16,
    outputs: int = 4,
    scale: float = 0.5,
    zero: int = 0,
) -> ModelSource:
    """Write model.h and model.c with the given body of model_invoke (`in`, `result`); by default it copies input."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.h").write_text(HEADER.format(inputs=inputs, outputs=outputs, scale=scale, zero=zero))
    (folder / "model.c").write_text(SOURCE.format(helpers=helpers, body=body))
    return ModelSource.in_folder(folder)
