"""Hostile `.tflite` files: mutated models, and the check that each gives a clear error or a correct program.

    python -m support.mutate --count 100000     (in tests/, or with PYTHONPATH=tests)

Correct means: what the compiler accepts and TFLite's reference kernels load too computes the same bytes, compiled with
the sanitizers on; and emission is the same twice. TFLite may die of such a file: it runs in processes of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from support.operator_cases import CASES
from support.reference import reference_bytes
from support.run_c import run_on_host
from tfsparse.compiler import build_program, compile_model
from tfsparse.compiler.emit import header_text, source_text
from tfsparse.errors import UserError

SLOWEST = 5.0  # seconds that the compiler may take on a small file, on a busy machine
_MOST_RUN = 20_000  # bytes of inputs and outputs of mutants that are run
_BYTES = (0, 1, 2, 3, 4, 8, 16, 127, 128, 255)
_WORDS = (0, 1, 2, 3, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> list[bytes]:
    """One small model of each operator: together all that the reader and the lowering know."""
    return [case(np.random.default_rng([3, *kind.encode()])) for kind, case in CASES.items()]


def mutate(model: bytes, rng: np.random.Generator) -> bytes:
    """A few changes: bytes, bits, words, copies of parts of the file, a cut."""
    data = bytearray(model)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(data)))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[at] = int(rng.integers(0, 256))
        elif kind == 1:
            data[at] = int(rng.choice(_BYTES))
        elif kind == 2:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 3:
            at &= ~3
            data[at : at + 4] = struct.pack("<I", int(rng.choice(_WORDS)))[: len(data) - at]
        elif kind == 4:
            start, size = int(rng.integers(0, len(data))), int(rng.integers(1, 17))
            part = data[start : start + size]
            data[at : at + len(part)] = part[: len(data) - at]
        elif rng.random() < 0.1:
            del data[max(64, at) :]
        else:
            data[at] = (data[at] + int(rng.choice([1, 255]))) & 255
    return bytes(data)


@dataclass
class Outcome:
    """What happened to a number of mutants; `found` are those that broke a promise."""

    counts: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, bytes]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: Outcome) -> None:
        self.counts += other.counts
        self.found += other.found
        self.slowest = max(self.slowest, other.slowest)


def try_compiler(mutants: list[bytes]) -> tuple[Outcome, list[bytes]]:
    """Compile each in memory; returns the accepted ones that are small enough to run, too."""
    outcome, accepted = Outcome(), []
    for mutant in mutants:
        started = time.perf_counter()
        try:
            program = build_program(mutant, "x")
            text = source_text(program) + header_text(program)
        except UserError as error:
            outcome.counts["refused"] += 1
            if "\n" in str(error):
                outcome.found.append(("an error of several lines", mutant))
        except Exception as error:
            outcome.found.append((f"{type(error).__name__}: {error}", mutant))
        else:
            outcome.counts["compiled"] += 1
            again = build_program(mutant, "x")
            if source_text(again) + header_text(again) != text:
                outcome.found.append(("two different programs", mutant))
            network = program.network
            size = sum(network.border_sizes(network.inputs) + network.border_sizes(network.outputs))
            if size <= _MOST_RUN and program.counted.macs < 1_000_000 and program.plan.size < 200_000:
                accepted.append(mutant)
        took = time.perf_counter() - started
        outcome.slowest = max(outcome.slowest, took)
        if took > SLOWEST:
            outcome.found.append((f"took {took:.1f} s", mutant))
    return outcome, accepted


def _reference(job: tuple[bytes, object, np.ndarray], pipe: object) -> None:
    tflite, model, inputs = job
    try:
        pipe.send(reference_bytes(tflite, model, inputs))
    except (RuntimeError, ValueError) as error:
        pipe.send(str(error))


def reference_or_none(tflite: bytes, model: object, inputs: np.ndarray) -> np.ndarray | None:
    """TFLite's outputs, or None where it refuses the file, dies of it, or takes long."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_reference, args=((tflite, model, inputs), there))
    child.start()
    there.close()
    try:
        answer = here.recv() if here.poll(20) else None
    except EOFError:
        answer = None
    child.kill()
    child.join()
    return answer if isinstance(answer, np.ndarray) else None


def compare(mutants: list[bytes], work: Path) -> Outcome:
    """Run accepted mutants under the sanitizers beside TFLite."""
    outcome, models, inputs, kept, rng = Outcome(), [], [], [], np.random.default_rng(0)
    for i, mutant in enumerate(mutants):
        model = compile_model(mutant, work / f"m{i}")
        models.append(model)
        inputs.append(rng.integers(-128, 128, (2, model.input_size)).astype(np.int8))
        kept.append(mutant)
    try:
        found = run_on_host(models, inputs, work / "build") if models else []
    except (AssertionError, OSError) as error:
        if len(mutants) == 1:
            outcome.found.append((f"C: {str(error)[:1500]}", mutants[0]))
            return outcome
        for i, mutant in enumerate(mutants):  # which of them?
            outcome.add(compare([mutant], work / f"alone{i}"))
        return outcome
    for mutant, model, samples, outputs in zip(kept, models, inputs, found, strict=True):
        expected = reference_or_none(mutant, model, samples)
        if expected is None:
            outcome.counts["TFLite refuses"] += 1
        elif np.array_equal(outputs.reshape(len(samples), -1), expected):
            outcome.counts["same bytes"] += 1
        else:
            outcome.found.append(("other bytes than TFLite", mutant))
    return outcome


def batches(count: int, seed: int, size: int = 250) -> Iterator[list[bytes]]:
    originals = seeds()
    for start in range(0, count, size):
        rng = np.random.default_rng([seed, start])
        yield [mutate(originals[rng.integers(0, len(originals))], rng) for _ in range(min(size, count - start))]


def fuzz(count: int, seed: int, share: float, work: Path) -> Outcome:
    """Try `count` mutants; a `share` of the accepted ones runs beside TFLite. In one process."""
    outcome, rng = Outcome(), np.random.default_rng(seed)
    originals = set(seeds())
    for i, mutants in enumerate(batches(count, seed)):
        more, accepted = try_compiler(mutants)
        chosen = [mutant for mutant in accepted if mutant not in originals and rng.random() < share]
        more.add(compare(chosen, work / f"batch{i}"))
        outcome.add(more)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.05, help="of accepted mutants, run beside TFLite")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("hostile"), help="folder for mutants that broke a promise")
    arguments = parser.parse_args()
    outcome, part = Outcome(), 2_000
    parts = range(-(-arguments.count // part))
    with tempfile.TemporaryDirectory() as work, ProcessPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(
                fuzz, min(part, arguments.count - n * part), arguments.seed + n, arguments.share, Path(work, str(n))
            )
            for n in parts
        ]
        for n, run in enumerate(runs):
            outcome.add(run.result())
            print(f"{min((n + 1) * part, arguments.count)}: {dict(outcome.counts)}, slowest {outcome.slowest:.2f} s")
            sys.stdout.flush()
    for i, (what, mutant) in enumerate(outcome.found):
        arguments.keep.mkdir(parents=True, exist_ok=True)
        (arguments.keep / f"{i}.tflite").write_bytes(mutant)
        print(f"{arguments.keep / f'{i}.tflite'}: {what}")
    sys.exit(1 if outcome.found else 0)


if __name__ == "__main__":
    main()
