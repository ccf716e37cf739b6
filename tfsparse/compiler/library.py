"""A compiled network as a library folder that PlatformIO and the Arduino IDE take as it is.

DIR/library.json        PlatformIO            DIR/src/        model.c, model.h, the kernels
DIR/library.properties  Arduino               DIR/examples/   main/main.c for any C compiler, an Arduino sketch
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tfsparse.compiler import CompiledModel, compile_model
from tfsparse.errors import UserError

_VERSION = "1.0.0"

_MAIN = """\
/* Runs the network once: on a computer it prints the outputs, on a microcontroller it keeps them for a debugger.
 *
 * On a computer:   cc -Isrc examples/main/main.c src/model.c -o main
 * For Cortex-M:    arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb -Os --specs=nosys.specs
 *                  -Isrc examples/main/main.c src/model.c
 */
#include "model.h"

#include <stddef.h>
#if defined(__unix__) || defined(__APPLE__) || defined(_WIN32)
#include <stdio.h>
#endif

int8_t output[MODEL_OUTPUT_SIZE];

int main(void)
{
    static int8_t input[MODEL_INPUT_SIZE]; /* quantised: round(real / MODEL_INPUT_SCALE) + MODEL_INPUT_ZERO_POINT */
    for (size_t i = 0; i < sizeof input; i++) {
        input[i] = (int8_t)(i % 256 - 128);
    }
    if (model_invoke(input, output) != 0) {
        return 1;
    }
#if defined(__unix__) || defined(__APPLE__) || defined(_WIN32)
    for (size_t i = 0; i < sizeof output; i++) {
        printf("%d\\n", output[i]); /* real = MODEL_OUTPUT_SCALE * (q - MODEL_OUTPUT_ZERO_POINT) */
    }
#endif
    return 0;
}
"""

_SKETCH = """\
// Runs the network again and again and prints its outputs.
#include <model.h>

static int8_t input[MODEL_INPUT_SIZE];  // quantised: round(real / MODEL_INPUT_SCALE) + MODEL_INPUT_ZERO_POINT
static int8_t output[MODEL_OUTPUT_SIZE];

void setup() {
  Serial.begin(115200);
}

void loop() {
  // Fill `input` from your sensor here.
  unsigned long started = micros();
  model_invoke(input, output);
  Serial.print(micros() - started);
  Serial.println(" us");
  for (int i = 0; i < MODEL_OUTPUT_SIZE; i++) {
    Serial.println(output[i]);  // real = MODEL_OUTPUT_SCALE * (q - MODEL_OUTPUT_ZERO_POINT)
  }
  delay(1000);
}
"""


def library_name(name: str) -> str:
    """`name` as both tools allow it: letters, digits, '_', '-', a letter first."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")
    return plain[:60] if plain[:1].isalpha() else f"model_{plain[:54]}".rstrip("_-")


def _texts(name: str, model: CompiledModel) -> dict[str, str]:
    """The files of the folder beside src/, by path."""
    sentence = (
        f"int8 neural network {name} in C99: {model.payload} bytes of constants, {model.arena} bytes of RAM, "
        f"{model.macs} multiply-accumulates"
    )
    manifest = {
        "name": name,
        "version": _VERSION,
        "description": sentence,
        "keywords": ["neural network", "tinyml", "int8"],
        "frameworks": "*",
        "platforms": "*",
        "headers": "model.h",
        "build": {"srcDir": "src", "includeDir": "src"},
        "examples": [
            {"name": "main", "base": "examples/main", "files": ["main.c"]},
            {"name": "sketch", "base": "examples/sketch", "files": ["sketch.ino"]},
        ],
    }
    properties = {
        "name": name,
        "version": _VERSION,
        "author": "tfsparse",
        "maintainer": "tfsparse",
        "sentence": sentence,
        "paragraph": "Compiled from a TensorFlow Lite model. Include model.h, whose head tells shapes, scales and use.",
        "category": "Data Processing",
        "url": "",
        "architectures": "*",
        "includes": "model.h",
    }
    return {
        "library.json": json.dumps(manifest, indent=2) + "\n",
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "examples/main/main.c": _MAIN,
        "examples/sketch/sketch.ino": _SKETCH,
    }


def write_library(tflite: bytes | Path, out: Path, *, name: str = "model") -> CompiledModel:
    """Compile a `.tflite` into the library folder `out`; `UserError` as from `compile_model`."""
    out = Path(out)
    model = compile_model(tflite, out / "src", name=name)
    try:
        for path, text in _texts(library_name(name), model).items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(text, encoding="ascii")
    except OSError as error:
        raise UserError(f"cannot write to the folder '{out}' ({error.strerror}); choose another") from None
    return model
