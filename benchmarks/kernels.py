"""Instructions a MAC of each kernel and of sparse networks, and memory of small networks, on the emulated Cortex-M4.

    python -m benchmarks.kernels [--json]

For each --optimize. The first table has single layers with all weights stored; beside them the bar of dense kernels
of CMSIS-NN's quality: 2.5 instructions a multiply-accumulate in 3x3 convolutions, 4.0 in 1x1 ones, 8.3 in depthwise
ones, of which at most 1.2 times are to be taken. The second has single 3x3 convolutions most of whose weights are zero,
in instructions a multiply-accumulate of the dense layer. The third has the networks of `benchmarks.runtimes`, and how
many times fewer instructions they take, pooling and additions included, than such dense kernels would for the layers
with weights alone. The fourth has networks of 500 to 1,000 weights on 28x28x1, 32x32x3 and 20x20x1: their `ram_model`,
stack included, with the input given as a whole and fed by rows, and `flash_model` without the payload. Weights are
random. Exit code 1 where an output differs from the reference's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import runtimes
from hil.measure import Measurement, Measurer
from tfsparse.compiler import OPTIMIZE
from tfsparse.compiler.counted import layer_macs
from tfsparse.compiler.graph import lower
from tfsparse.compiler.layers import Convolution
from tfsparse.compiler.reader import read_model
from tfsparse.errors import run_cli


@dataclass(frozen=True)
class LayerCase:
    """A single layer: "conv", "depthwise" or "dense" (then `filters` are its units); `zeros`: share of its weights."""

    shape: tuple[int, ...]
    kind: str
    filters: int
    kernel: int = 1
    stride: int = 1
    zeros: float = 0.0

    @property
    def quality(self) -> float | None:
        """Instructions a MAC of a dense kernel of CMSIS-NN's quality, where known."""
        return QUALITY.get((self.kind, self.kernel))


QUALITY = {("conv", 3): 2.5, ("conv", 1): 4.0, ("depthwise", 3): 8.3}
LAYERS = {
    "3x3, 16 to 16": LayerCase((16, 16, 16), "conv", 16, 3),
    "3x3, 8 to 8": LayerCase((16, 16, 8), "conv", 8, 3),
    "3x3, 6 to 6": LayerCase((16, 16, 6), "conv", 6, 3),
    "3x3, 3 to 16": LayerCase((32, 32, 3), "conv", 16, 3),
    "3x3, 1 to 8": LayerCase((28, 28, 1), "conv", 8, 3),
    "1x1, 16 to 16": LayerCase((16, 16, 16), "conv", 16, 1),
    "1x1, 8 to 8": LayerCase((16, 16, 8), "conv", 8, 1),
    "depthwise 3x3": LayerCase((16, 16, 16), "depthwise", 16, 3),
    "depthwise 3x3, stride 2": LayerCase((16, 16, 16), "depthwise", 16, 3, 2),
    "depthwise 5x5": LayerCase((16, 16, 8), "depthwise", 8, 5),
    "depthwise 5x5, stride 2": LayerCase((16, 16, 8), "depthwise", 8, 5, 2),
    "dense, 256 to 64": LayerCase((256,), "dense", 64),
}
_SPARSE = {"1 to 8": (28, 28, 1), "3 to 16": (32, 32, 3), "8 to 12": (14, 14, 8), "16 to 16": (16, 16, 16)}
SPARSE = {
    f"{name}, {zeros:.0%} zeros": LayerCase(shape, "conv", int(name.split()[-1]), 3, zeros=zeros)
    for name, shape in _SPARSE.items()
    for zeros in (0.85, 0.9)
}
ZEROS = (0.0, 0.85, 0.9)  # of networks
NETWORKS: dict[str, tuple[int, int, int]] = {
    "28x28x1": (28, 28, 1),
    "28x28x1, residual": (28, 28, 1),
    "32x32x3, residual": (32, 32, 3),
    "20x20x1, residual": (20, 20, 1),
}


def layer_model(name: str) -> bytes:
    """An int8 .tflite of one of LAYERS or SPARSE."""
    from tensorflow.keras import Model, layers

    case = (LAYERS | SPARSE)[name]
    inputs = layers.Input(batch_shape=(1, *case.shape))
    if case.kind == "depthwise":
        layer = layers.DepthwiseConv2D(case.kernel, case.stride, padding="same")
    elif case.kind == "dense":
        layer = layers.Dense(case.filters)
    else:
        layer = layers.Conv2D(case.filters, case.kernel, case.stride, padding="same")
    return _convert(Model(inputs, layer(inputs)), case.zeros)


def dense_quality(tflite: bytes) -> float:
    """Instructions that dense kernels of CMSIS-NN's quality take for the layers with weights, as the file has them: our
    compiler takes channels out that are zero. Dense layers and other windows count as 3x3 convolutions, which are the
    fastest, other depthwise windows as 3x3 ones."""
    total = 0.0
    for layer in lower(read_model(tflite)).layers:
        pointwise = isinstance(layer, Convolution) and layer.window.kernel_height == layer.window.kernel_width == 1
        depthwise = isinstance(layer, Convolution) and layer.kind == "depthwise"
        total += layer_macs(layer) * QUALITY[("depthwise", 3) if depthwise else ("conv", 1 if pointwise else 3)]
    return total


def network_model(name: str) -> bytes:
    """An int8 .tflite of one of NETWORKS: a strided convolution, depthwise-separable layers, a depthwise convolution
    over the last map, a dense layer."""
    from tensorflow.keras import Model, layers

    shape, residual = NETWORKS[name], "residual" in name
    x = inputs = layers.Input(batch_shape=(1, *shape))

    def pointwise(x: object, filters: int, activation: str | None = "relu") -> object:
        return layers.Conv2D(filters, 1, activation=activation)(x)

    def separable(x: object, filters: int, stride: int = 1) -> object:
        x = layers.DepthwiseConv2D(3, stride, padding="same")(x)
        return pointwise(x, filters)

    def block(x: object) -> object:
        y = pointwise(layers.DepthwiseConv2D(3, padding="same")(x), int(x.shape[-1]), None)
        return layers.ReLU()(layers.Add()([x, y]))

    if shape[0] == 28:
        x = layers.Conv2D(8 if residual else 6, 5, 4, padding="same", activation="relu")(x)
        for _ in range(3):
            x = block(x) if residual else separable(x, 8)
        x = separable(x, 10, 2)
    elif shape[0] == 32:
        x = layers.Conv2D(5, 3, 2, padding="same", activation="relu")(x)
        x = separable(separable(block(block(x)), 7, 2), 8, 2)
    else:
        x = layers.Conv2D(6, 3, 2, padding="same", activation="relu")(x)
        x = block(separable(block(block(x)), 8, 2))
    x = layers.Flatten()(layers.DepthwiseConv2D(x.shape[1:3])(x))
    return _convert(Model(inputs, layers.Dense(10 if shape[0] == 28 else 2)(x)))


def _convert(model: object, zeros: float = 0.0) -> bytes:
    """Random weights, of which the smallest go."""
    import contextlib
    import io
    import warnings

    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for weights in model.trainable_weights:
        value = rng.normal(0, 1, weights.shape) / max(1, np.prod(weights.shape[:-1])) ** 0.5
        value[np.abs(value) < np.quantile(np.abs(value), zeros)] = 0
        weights.assign(value.astype(np.float32))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    images = rng.random((8, *model.inputs[0].shape), dtype=np.float32)
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return converter.convert()


@dataclass(frozen=True)
class Row:
    """One model by `optimize`; `fed`: the same with its input fed by rows, for NETWORKS alone; `quality`: instructions
    of dense kernels of CMSIS-NN's quality, for networks of `benchmarks.runtimes` alone."""

    model: str
    whole: dict[str, Measurement]
    fed: dict[str, Measurement]
    quality: float | None = None

    @property
    def exact(self) -> bool:
        return all(one.bit_exact for one in (*self.whole.values(), *self.fed.values()))

    def to_json(self) -> dict:
        ways = {"whole": self.whole, "fed": self.fed}
        return {"model": self.model, "dense_quality": self.quality} | {
            way: {optimize: one.to_json() for optimize, one in found.items()} for way, found in ways.items()
        }


def measure(workdir: Path, progress: Callable[[str], None] = lambda text: None) -> list[Row]:
    """All layers, then all networks."""
    from tfsparse.quiet import import_quietly

    import_quietly("tensorflow")
    rows = []

    def add(name: str, tflite: bytes, *, formats: tuple[str, ...] | None = None, fed: bool = False, **more: float):
        path = workdir / f"{len(rows)}.tflite"
        path.write_bytes(tflite)
        ways: list[dict[str, Measurement]] = [{}, {}]
        for by_rows in (False, True) if fed else (False,):
            for optimize in OPTIMIZE:
                progress(f"{name}: {optimize}")
                with Measurer(workdir=workdir, by_rows=by_rows, formats=formats, optimize=optimize) as measurer:
                    ways[by_rows][optimize] = measurer.measure(path)
        rows.append(Row(name, *ways, **more))

    for name in LAYERS:
        add(name, layer_model(name), formats=("dense",))
    for name in SPARSE:
        add(name, layer_model(name))
    for name, zeros in itertools.product(runtimes.NETWORKS, ZEROS):
        tflite = runtimes.random_model(name, zeros)
        add(f"{name}, {zeros:.0%} zeros", tflite, quality=dense_quality(tflite))
    for name in NETWORKS:
        add(name, network_model(name), fed=True)
    return rows


def print_tables(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left")
        for column in columns:
            made.add_column(column, justify="left" if column == columns[0] else "right")
        return made

    layers = table("instructions a multiply-accumulate, all weights stored", "layer", *OPTIMIZE, "CMSIS-NN's quality")
    sparse = table("3x3 convolutions, instructions a multiply-accumulate of the dense layer", "layer", *OPTIMIZE)
    pruned = table(
        "networks: instructions a multiply-accumulate of the dense network; "
        "times fewer than dense kernels of CMSIS-NN's quality",
        "network",
        *OPTIMIZE,
        *(f"times, {optimize}" for optimize in OPTIMIZE),
    )
    networks = Table(
        title="small networks: bytes of RAM, whole and fed by rows, and of flash beside payload", title_justify="left"
    )
    for column in ("network", "optimize", "weights", "RAM", "RAM fed", "flash", "flash fed", "payload", "instructions"):
        networks.add_column(column, justify="left" if column in ("network", "optimize") else "right")
    for row in rows:
        figures = [f"{one.instructions / one.macs:.2f}" for one in row.whole.values()]
        if row.model in LAYERS:
            quality = LAYERS[row.model].quality
            layers.add_row(row.model, *figures, "" if quality is None else f"{quality:.1f}")
            continue
        if row.model in SPARSE:
            sparse.add_row(row.model, *figures)
            continue
        if row.quality is not None:
            times = (f"{row.quality / one.instructions:.2f}" for one in row.whole.values())
            pruned.add_row(row.model, *figures, *times)
            continue
        for optimize, one in row.whole.items():
            fed = row.fed[optimize]
            networks.add_row(
                row.model if optimize == OPTIMIZE[0] else "", optimize, f"{one.nnz}", f"{one.ram_model}",
                f"{fed.ram_model}", f"{one.flash_model - one.payload}", f"{fed.flash_model - fed.payload}",
                f"{one.payload}", f"{one.instructions:,}",
            )  # fmt: skip
        networks.add_section()
    console = Console(width=None if Console().is_terminal else 130)
    for one in (layers, sparse, pruned):
        console.print(one)
    console.print(networks)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    options = parser.parse_args()
    from rich.console import Console

    with tempfile.TemporaryDirectory(prefix="kernels-") as folder, Console(stderr=True).status("models") as status:
        rows = measure(Path(folder), status.update)
    if options.json:
        print(json.dumps([row.to_json() for row in rows]))
    else:
        print_tables(rows)
    return 0 if all(row.exact for row in rows) else 1


if __name__ == "__main__":
    run_cli(main)
