"""Run generated C for many models at once: on the host under the sanitizers, and on Cortex-M cores in QEMU.

All models go into one program (several where the chip is small): their public functions are renamed by the
preprocessor, inputs are tables in it, outputs come back as text. Each sample runs twice, with the caller's buffers and
in the arena; both must agree.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsparse.compiler import CompiledModel, Port

_START = Path(__file__).parent / "cortex_m"
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
_SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Host:
    """A compiler of the machine the tests run on, with its Debian package."""

    name: str
    compiler: str
    package: str

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        if shutil.which(self.compiler) is None:
            return f"{self.compiler} not found (apt-get install {self.package})"
        # Debian's clang comes without the sanitizers' runtime.
        with tempfile.TemporaryDirectory() as folder:
            command = [*self.command, "-x", "c", "-", "-o", f"{folder}/program"]
            done = subprocess.run(command, input="int main(void) { return 0; }", capture_output=True, text=True)
        return None if done.returncode == 0 else f"{self.compiler} cannot link its sanitizers ({done.stderr[-300:]})"

    @property
    def command(self) -> tuple[str, ...]:
        return (self.compiler, *_SANITIZERS)


@dataclass(frozen=True)
class Core:
    """A Cortex-M core and a machine of QEMU that has it; flash and RAM in bytes."""

    name: str
    machine: str
    flash: int
    ram: int
    flags: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        absent = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]
        advice = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
        return f"{' and '.join(absent)} not found ({advice})" if absent else None

    @property
    def command(self) -> tuple[str, ...]:
        return ("arm-none-eabi-gcc", f"-mcpu={self.name}", "-mthumb", *self.flags, "-Os")


GCC = Host("gcc", "gcc", "gcc")
CLANG = Host("clang", "clang", "clang")
CORTEX_M4 = Core("cortex-m4", "mps2-an386", 4 << 20, 4 << 20, ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"))
CORTEX_M3 = Core("cortex-m3", "mps2-an385", 4 << 20, 4 << 20)
CORTEX_M0 = Core("cortex-m0", "microbit", 256 << 10, 16 << 10)
TARGETS: tuple[Host | Core, ...] = (GCC, CLANG, CORTEX_M4, CORTEX_M3, CORTEX_M0)

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
    void (*fill)(const int8_t *);  /* inputs into the arena */
    int (*invoke)(const int8_t *, int8_t *);
    int (*again)(const int8_t *);  /* invoke on what is in the arena; 0 if outputs are as given */
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
    static char line[65];
    int filled = 0;
    if (m->invoke(in, out) != 0) {
        return 1;
    }
    m->fill(in);
    if (m->again(out) != 0) {
        return 2;
    }
    for (int i = 0; i < m->out_size; i++) {
        line[filled++] = digits[(uint8_t)out[i] >> 4];
        line[filled++] = digits[(uint8_t)out[i] & 15];
        if (filled == 64) {
            write_text(line);
            filled = 0;
        }
    }
    line[filled++] = '\\n';
    line[filled] = '\\0';
    write_text(line);
    memset(line, 0, sizeof line);
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


def _functions(ports: Sequence[Port], what: str) -> list[str]:
    """Names of the functions that say where inputs or outputs lie."""
    return [what] if len(ports) == 1 else [f"{what}_{n}" for n in range(len(ports))]


def _fill(i: int, name: str, size: int, row_size: int, start: int) -> str:
    """Give model number `i` an input: into its place, or row by row, by turns into its place and in the caller's."""
    if not row_size:
        return f"memcpy(m{i}_{name}(), in + {start}, {size});"
    return (
        f"for (int r = 0; r < {size}; r += {row_size}) {{ int8_t *row = m{i}_{name}(); "
        f"const int own = r % (2 * {row_size}) == 0; if (!own) memcpy(row, in + r, {row_size}); "
        f"const int done = m{i}_feed(own ? in + r : row); "
        f"wrong{i} |= done != (r + {row_size} == {size}); }}"
    )


def _adapter(i: int, model: CompiledModel, samples: np.ndarray) -> str:
    """Declarations of model number `i`, its inputs, and its `fill` and `again`."""
    lines, fills, compares = [], [], []
    for ports, what, kind in ((model.inputs, "input", "int8_t *"), (model.outputs, "output", "const int8_t *")):
        start = 0
        for port, name in zip(ports, _functions(ports, what), strict=True):
            lines.append(f"{kind}m{i}_{name}(void);")
            if what == "input":
                fills.append(_fill(i, name, port.size, model.row_size, start))
            compares.append(f"memcmp(m{i}_{name}(), out + {start}, {port.size})" if what == "output" else "0")
            start += port.size
    values = ",".join(map(str, samples.astype(np.int8).reshape(-1).tolist()))
    place = f"m{i}_input()" if len(model.inputs) == 1 else "NULL"
    again = f"wrong{i}" if model.row_size else f"m{i}_invoke({place}, NULL)"
    return "\n".join(
        [
            *lines,
            f"int m{i}_invoke(const int8_t *, int8_t *);",
            f"int m{i}_feed(const int8_t *);\nstatic int wrong{i};" if model.row_size else "",
            f"static const int8_t inputs{i}[] = {{{values}}};",
            f"static void fill{i}(const int8_t *in) {{ {' '.join(fills)} }}",
            f"static int again{i}(const int8_t *out)",
            f"{{ return {again} || {' || '.join(compares)}; }}",
        ]
    )


def _main_text(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray]) -> str:
    rows = [
        f"    {{fill{i}, m{i}_invoke, again{i}, {model.input_size}, {model.output_size}, {len(samples)}, inputs{i}}},"
        for i, (model, samples) in enumerate(zip(models, inputs, strict=True))
    ]
    adapters = [_adapter(i, model, samples) for i, (model, samples) in enumerate(zip(models, inputs, strict=True))]
    largest = max(model.output_size for model in models)
    return _MAIN % {"declarations": "\n".join(adapters), "models": "\n".join(rows), "largest": largest}


def _build(compiler: Sequence[str], models: Sequence[CompiledModel], main: str, work: Path) -> list[Path]:
    """Object files of all models and of the main program."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "main.c").write_text(main)
    commands = [[*compiler, "-std=c99", "-c", work / "main.c", "-o", work / "main.o"]]
    for i, model in enumerate(models):
        names = ["invoke", "feed", "restart", *_functions(model.inputs, "input"), *_functions(model.outputs, "output")]
        renames = [f"-Dmodel_{name}=m{i}_{name}" for name in names]
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
        single = len(model.outputs) == 1 and model.outputs[0].dtype == "int8"
        shape = model.output_shape if single else (model.output_size,)
        found.append(np.array(rows).reshape(len(samples), *shape))
    return found


def run_on_host(
    models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path, host: Host = GCC
) -> list[np.ndarray]:
    """Outputs int8 [N, *output_shape] of each model for int8 inputs [N, ...]; fails on any sanitizer finding.

    Several inputs lie one after the other in a sample, and so do several outputs, or indices, as bytes.
    """
    objects = _build(host.command, models, _main_text(models, inputs), work)
    _checked([*host.command, *objects, "-o", work / "program"], 60)
    return _outputs(_checked([work / "program"], 60), models, inputs)


def _loads(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], core: Core) -> Iterator[slice]:
    """Runs of models that fit into the core's memories together, by careful estimates."""
    start = flash = ram = 0
    for i, (model, samples) in enumerate(zip(models, inputs, strict=True)):
        more = (3_500 + model.payload + samples.size, model.arena + model.output_size)
        if i > start and (flash + more[0] > core.flash - 20_000 or ram + more[1] > core.ram - 6_000):
            yield slice(start, i)
            start, flash, ram = i, 0, 0
        flash, ram = flash + more[0], ram + more[1]
    yield slice(start, len(models))


def run_on_core(
    models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path, core: Core
) -> list[np.ndarray]:
    """The same on an emulated Cortex-M, at -Os."""
    found = []
    for n, load in enumerate(_loads(models, inputs, core)):
        found += _run_load(models[load], inputs[load], work / f"load{n}", core)
    return found


def _run_load(
    models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path, core: Core
) -> list[np.ndarray]:
    objects = _build(core.command, models, _main_text(models, inputs), work)
    start, elf = work / "start.o", work / "program.elf"
    sizes = [f"-Wl,--defsym=flash_size={core.flash}", f"-Wl,--defsym=ram_size={core.ram}"]
    _checked([*core.command, "-c", _START / "start.c", "-o", start], 60)
    _checked([*core.command, "-nostartfiles", *sizes, "-T", _START / "link.ld", start, *objects, "-o", elf], 60)
    semihosting = ("-semihosting-config", "enable=on,target=native")
    emulator = ["qemu-system-arm", "-M", core.machine, "-display", "none", "-monitor", "none", "-serial", "null"]
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


def run_on(
    target: Host | Core, models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path
) -> list[np.ndarray]:
    run = run_on_host if isinstance(target, Host) else run_on_core
    return run(models, inputs, work, target)


def missing_cortex_m4() -> str | None:
    """Why `run_on_cortex_m4` cannot run here, or None."""
    return CORTEX_M4.missing()


def run_on_cortex_m4(models: Sequence[CompiledModel], inputs: Sequence[np.ndarray], work: Path) -> list[np.ndarray]:
    return run_on_core(models, inputs, work, CORTEX_M4)
