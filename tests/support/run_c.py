"""Run generated C for many models at once: on the host under the sanitizers, and on a Cortex-M4 in QEMU.

All models go into one program: their public functions are renamed by the preprocessor, inputs are tables in it,
outputs come back as text. Each sample runs twice, with the caller's buffers and in the arena; both must agree.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfsparse.compiler import CompiledModel

_START = Path(__file__).parent / "cortex_m4"
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
_HOST = ("gcc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_CORTEX_M4 = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os")
_MAIN = """
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
void write_text(const char *text);
#ifndef __arm__
void write_text(const char *text) { fputs(text, stdout); }
#endif
struct model {
    int8_t *(*input)(void);
    const int8_t *(*output)(void);
    int (*invoke)(const int8_t *, int8_t *);
    int in_size, out_size, samples;
    const int8_t *inputs;
};
%(declarations)s
static const struct model models[] = {
%(models)s
};
static int run(const struct model *m, const int8_t *in, int8_t *out)
{
    static const char digits[] = "0123456789abcdef";
    char hex[3] = "";
    if (m->invoke(in, out) != 0) {
        return 1;
    }
    memcpy(m->input(), in, (size_t)m->in_size);
    if (m->invoke(m->input(), NULL) != 0 || memcmp(m->output(), out, (size_t)m->out_size) != 0) {
        return 2;
    }
    for (int i = 0; i < m->out_size; i++) {
        hex[0] = digits[(uint8_t)out[i] >> 4];
        hex[1] = digits[(uint8_t)out[i] & 15];
        write_text(hex);
    }
    write_text("\\n");
    return 0;
}
int main(void)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const struct model *m = &models[i];
        for (int s = 0; s < m->samples; s++) {
#ifdef __arm__
            static int8_t out[%(largest)d];
            const int status = run(m, m->inputs + s * m->in_size, out);
#else /* exact sizes, so that the sanitizer sees a byte too far */
            int8_t *in = malloc((size_t)m->in_size), *out = malloc((size_t)m->out_size);
            memcpy(in, m->inputs + s * m->in_size, (size_t)m->in_size);
            const int status = run(m, in, out);
            free(in);
            free(out);
#endif
            if (status != 0) {
                return status;
            }
        }
    }
    return 0;
}
"""


def _checked(command: Sequence[str | Path], timeout: float) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
    )
    return done.stdout


def _main_text(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray]) -> str:
    declarations, rows = [], []
    for i, (model, samples) in enumerate(zip(models, inputs, strict=True)):
        values = ",".join(map(str, samples.astype(np.int8).reshape(-1).tolist()))
        declarations.append(
            f"int8_t *m{i}_input(void);\nconst int8_t *m{i}_output(void);\n"
            f"int m{i}_invoke(const int8_t *, int8_t *);\nstatic const int8_t inputs{i}[] = {{{values}}};"
        )
        sizes = f"{model.input_size}, {model.output_size}, {len(samples)}"
        rows.append(f"    {{m{i}_input, m{i}_output, m{i}_invoke, {sizes}, inputs{i}}},")
    largest = max(model.output_size for model in models)
    return _MAIN % {"declarations": "\n".join(declarations), "models": "\n".join(rows), "largest": largest}


def _build(compiler: Sequence[str], models: Sequence[CompiledModel], main: str, work: Path) -> list[Path]:
    """Object files of all models and of the main program."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "main.c").write_text(main)
    commands = [[*compiler, "-std=c99", "-c", work / "main.c", "-o", work / "main.o"]]
    for i, model in enumerate(models):
        renames = [f"-Dmodel_{what}=m{i}_{what}" for what in ("input", "output", "invoke")]
        (source,) = model.sources
        commands.append([*compiler, *_WARNINGS, *renames, "-c", model.directory / source, "-o", work / f"m{i}.o"])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda command: _checked(command, 60), commands))
    return [command[-1] for command in commands]


def _outputs(text: str, models: Sequence[CompiledModel], inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    lines = iter(text.split())
    found = []
    for model, samples in zip(models, inputs, strict=True):
        rows = [np.frombuffer(bytes.fromhex(next(lines)), np.int8) for _ in samples]
        found.append(np.array(rows).reshape(len(samples), *model.output_shape))
    return found


def run_on_host(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path) -> list[np.ndarray]:
    """Outputs int8 [N, *output_shape] of each model for int8 inputs [N, ...]; fails on any sanitizer finding."""
    objects = _build(_HOST, models, _main_text(models, inputs), work)
    _checked([*_HOST, *objects, "-o", work / "program"], 60)
    return _outputs(_checked([work / "program"], 60), models, inputs)


def missing_cortex_m4() -> str | None:
    """Why `run_on_cortex_m4` cannot run here, or None."""
    absent = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not found (apt-get install gcc-arm-none-eabi qemu-system-arm)" if absent else None


def run_on_cortex_m4(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path) -> list[np.ndarray]:
    """The same on an emulated Cortex-M4F (QEMU, machine mps2-an386)."""
    objects = _build(_CORTEX_M4, models, _main_text(models, inputs), work)
    start, elf = work / "start.o", work / "program.elf"
    _checked([*_CORTEX_M4, "-c", _START / "start.c", "-o", start], 60)
    _checked([*_CORTEX_M4, "-nostartfiles", "-T", _START / "link.ld", start, *objects, "-o", elf], 60)
    semihosting = ("-semihosting-config", "enable=on,target=native")
    emulator = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "null"]
    # Semihosting text goes to stderr, whatever else QEMU says as well: keep the lines that are ours.
    done = subprocess.run(
        [*emulator, *semihosting, "-kernel", str(elf)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"the program ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
    lines = [line for line in (done.stdout + done.stderr).split("\n") if line and set(line) <= set("0123456789abcdef")]
    return _outputs("\n".join(lines), models, inputs)
