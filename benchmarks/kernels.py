"""Instructions a MAC of each kernel, and memory of small networks, on the emulated Cortex-M4, for each --optimize.

    python -m benchmarks.kernels [--json]

The first table has single layers with all weights stored; beside them the bar of dense int8 kernels of CMSIS-NN's
quality: 2.5 instructions a multiply-accumulate in 3x3 convolutions, 4.0 in 1x1 ones, 8.3 in depthwise ones, of which at
most 1.2 times are to be taken. The second has networks of 500 to 1,000 weights on 28x28x1, 32x32x3 and 20x20x1: their
`ram_model`, stack included, with the input given as a whole and fed by rows, and `flash_model` without the payload.
Weights are random. Exit code 1 where an output differs from the reference's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.measure import Measurement, Measurer
from tfsparse.compiler import OPTIMIZE
from tfsparse.errors import run_cli

# Name -> (input shape, instructions a MAC of a kernel of CMSIS-NN's quality where known).
LAYERS: dict[str, tuple[tuple[int, ...], float | None]] = {
    "3x3, 16 to 16": ((16, 16, 16), 2.5),
    "3x3, 8 to 8": ((16, 16, 8), None),
    "1x1, 16 to 16": ((16, 16, 16), 4.0),
    "depthwise 3x3": ((16, 16, 16), 8.3),
    "dense, 256 to 64": ((256,), None),
}
NETWORKS: dict[str, tuple[int, int, int]] = {
    "28x28x1": (28, 28, 1),
    "28x28x1, residual": (28, 28, 1),
    "32x32x3, residual": (32, 32, 3),
    "20x20x1, residual": (20, 20, 1),
}


def layer_model(name: str) -> bytes:
    """An int8 .tflite of one of LAYERS."""
    from tensorflow.keras import Model, layers

    inputs = layers.Input(batch_shape=(1, *LAYERS[name][0]))
    kind = name.split(",")[0]
    if kind == "depthwise 3x3":
        layer = layers.DepthwiseConv2D(3, padding="same")
    elif kind == "dense":
        layer = layers.Dense(64)
    else:
        layer = layers.Conv2D(LAYERS[name][0][-1], int(kind[0]), padding="same")
    return _convert(Model(inputs, layer(inputs)))


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


def _convert(model: object) -> bytes:
    import contextlib
    import io
    import warnings

    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for weights in model.trainable_weights:
        value = rng.normal(0, 1, weights.shape) / max(1, np.prod(weights.shape[:-1])) ** 0.5
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
    """One model by `optimize`; `fed`: the same with its input fed by rows, empty for single layers."""

    model: str
    whole: dict[str, Measurement]
    fed: dict[str, Measurement]

    @property
    def exact(self) -> bool:
        return all(one.bit_exact for one in (*self.whole.values(), *self.fed.values()))

    def to_json(self) -> dict:
        ways = {"whole": self.whole, "fed": self.fed}
        return {"model": self.model} | {
            way: {optimize: one.to_json() for optimize, one in found.items()} for way, found in ways.items()
        }


def measure(workdir: Path, progress: Callable[[str], None] = lambda text: None) -> list[Row]:
    """All layers, then all networks."""
    from tfsparse.quiet import import_quietly

    import_quietly("tensorflow")
    rows = []
    for name in (*LAYERS, *NETWORKS):
        path = workdir / f"{len(rows)}.tflite"
        path.write_bytes(network_model(name) if name in NETWORKS else layer_model(name))
        ways: list[dict[str, Measurement]] = [{}, {}]
        for by_rows in (False, True) if name in NETWORKS else (False,):
            for optimize in OPTIMIZE:
                progress(f"{name}: {optimize}")
                formats = None if name in NETWORKS else ("dense",)
                with Measurer(workdir=workdir, by_rows=by_rows, formats=formats, optimize=optimize) as measurer:
                    ways[by_rows][optimize] = measurer.measure(path)
        rows.append(Row(name, *ways))
    return rows


def print_tables(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    layers = Table(title="instructions a multiply-accumulate, all weights stored", title_justify="left")
    for column in ("layer", *OPTIMIZE, "CMSIS-NN's quality"):
        layers.add_column(column, justify="left" if column == "layer" else "right")
    networks = Table(
        title="networks: bytes of RAM, whole and fed by rows, and of flash beside payload", title_justify="left"
    )
    for column in ("network", "optimize", "weights", "RAM", "RAM fed", "flash", "flash fed", "payload", "instructions"):
        networks.add_column(column, justify="left" if column in ("network", "optimize") else "right")
    for row in rows:
        if row.model in LAYERS:
            bar = LAYERS[row.model][1]
            figures = (f"{one.instructions / one.macs:.2f}" for one in row.whole.values())
            layers.add_row(row.model, *figures, "" if bar is None else f"{bar:.1f}")
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
    console.print(layers)
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
