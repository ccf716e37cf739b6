"""The generated C on this machine: the same model.c, built with its own compiler, for what a chip is too slow for.

A whole test part takes seconds here and hours on a serial line. What the host says of the outputs is what the chip
would say: the C holds no floating point and depends on no width of int.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tfsparse.errors import UserError

if TYPE_CHECKING:
    from tfsparse.compiler import CompiledModel

COMPILER = "gcc"
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra")
BATCH = 1000  # inputs a run of the program
TIMEOUT = 600  # seconds a batch

_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include "model.h"
int main(void)
{
    static int8_t in[MODEL_INPUT_SIZE], out[MODEL_OUTPUT_SIZE];
    while (fread(in, 1, sizeof in, stdin) == sizeof in) {
        if (model_invoke(in, out) != 0 || fwrite(out, 1, sizeof out, stdout) != sizeof out) {
            return 1;
        }
    }
    return 0;
}
"""


class HostModel:
    """A compiled model as a program of this machine, built in the model's own folder.

    Raises UserError where there is no compiler, or where it cannot build the program.
    """

    def __init__(self, compiled: CompiledModel):
        if shutil.which(COMPILER) is None:
            raise UserError(f"{COMPILER} is not on PATH; install it with: apt-get install gcc libc6-dev")
        self._compiled = compiled
        self._program = compiled.directory / "host"
        main = compiled.directory / "host_main.c"
        main.write_text(_MAIN)
        sources = [str(compiled.directory / source) for source in compiled.sources]
        command = [COMPILER, *FLAGS, f"-I{compiled.directory}", str(main), *sources, "-o", str(self._program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{COMPILER} cannot build the model for this machine: {reason}")

    def __call__(self, inputs: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """int8 [N, ...] at the model's border -> int8 [N, output_size]. `progress` is told the inputs done."""
        size = self._compiled.output_size
        outputs = np.empty((len(inputs), size), np.int8)
        for start in range(0, len(inputs), BATCH):
            batch = np.ascontiguousarray(inputs[start : start + BATCH], np.int8)
            done = subprocess.run([self._program], input=batch.tobytes(), capture_output=True, timeout=TIMEOUT)
            if done.returncode != 0 or len(done.stdout) != len(batch) * size:
                raise RuntimeError(f"the model's program ended with {done.returncode} after {len(done.stdout)} bytes")
            outputs[start : start + len(batch)] = np.frombuffer(done.stdout, np.int8).reshape(-1, size)
            if progress is not None:
                progress(start + len(batch))
        return outputs
