"""What cannot matter leaves the network, and every output byte stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.reference import reference_bytes
from support.run_c import GCC, run_on
from support.tflite_writer import Writer
from tfsparse.compiler import build_program, compile_model

_SAME, _VALID = 0, 1


def network(seed: int, padding: int, dead: tuple[int, ...] = (), unread: tuple[int, ...] = ()) -> bytes:
    """Convolution (8), RELU6 of another scale, max pooling, depthwise, convolution (6), mean, dense layer.

    dead: channels of the first convolution without weights, some of them not 0; unread: channels that the second one
    does not read. Both go through the depthwise convolution, whose channels 6 and 7 are dead, too.
    """
    rng = np.random.default_rng(seed)
    model = Writer()

    def weighted(
        kind: str, x: int, weights: np.ndarray, shape: tuple[int, ...], scales: tuple[float, float], **options: int
    ) -> int:
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        w = model.tensor(weights.shape, 0.02, data=weights)
        bias = rng.integers(-2000, 2000, weights.shape[axis])
        b = model.tensor(bias.shape, scales[0] * 0.02, dtype="int32", data=bias)
        y = model.tensor(shape, scales[1], int(rng.integers(-30, 30)))
        model.operator(kind, [x, w, b], [y], **options)
        return y

    def random(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape) * (rng.random(shape) < 0.5)

    step = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    x = model.input((1, 8, 8, 2), 0.05, 3)
    first = random(8, 3, 3, 2)
    first[list(dead)] = 0
    x = weighted("CONV_2D", x, first, (1, 8, 8, 8), (0.05, 0.1), **step)
    y = model.tensor((1, 8, 8, 8), 0.08, -128)
    model.operator("RELU6", [x], [y])
    x = model.tensor((1, 4, 4, 8), 0.08, -128)
    model.operator("MAX_POOL_2D", [y], [x], filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=_VALID)
    depthwise = random(1, 3, 3, 8)
    depthwise[..., 6:] = 0
    side = 4 if padding == _SAME else 2
    x = weighted("DEPTHWISE_CONV_2D", x, depthwise, (1, side, side, 8), (0.08, 0.2), depthMultiplier=1, padding=padding,
                 **step)  # fmt: skip
    second = random(6, 2, 2, 8)
    second[..., list(unread)] = 0
    side = 4 if padding == _SAME else 1
    x = weighted("CONV_2D", x, second, (1, side, side, 6), (0.2, 0.5), padding=padding, **step)
    mean = model.tensor((1, 6), 0.4, 5)
    model.operator("MEAN", [x, model.integers([1, 2])], [mean], keepDims=False)
    dense = random(5, 6)
    dense[:, 1] = 0
    return model.bytes([weighted("FULLY_CONNECTED", mean, dense, (1, 5), (0.4, 1.0))])


def layers_of(tflite: bytes) -> dict[str, object]:
    return {layer.name: layer for layer in build_program(tflite, "x").network.layers}


def test_channels_that_nobody_reads_are_cut_from_end_to_end() -> None:
    layers = layers_of(network(0, _SAME, unread=(2, 5)))
    # 2 and 5 are unread. 6 and 7 of the depthwise convolution are constant, which its padded reader sees as varying.
    assert layers["conv1"].out_channels == layers["depthwise1"].in_channels == layers["max_pool1"].channels == 6
    assert layers["conv2"].in_channels == 6 and layers["conv2"].out_channels == layers["mean1"].channels == 5
    assert layers["dense1"].weights.shape == (5, 5)
    assert not layers["conv1"].weights[4:].any() and layers["conv1"].weights[:4].any(axis=1).all()


def test_constants_move_into_biases_where_no_padding_is_seen() -> None:
    layers = layers_of(network(0, _VALID, dead=(0, 3)))
    assert layers["conv1"].out_channels == layers["conv2"].in_channels == 4
    assert layers["conv2"].weights.any(axis=0).sum() > 10


def test_taps_that_only_see_padding_go() -> None:
    model = Writer()
    x = model.input((1, 1, 1, 3), 0.1, 5)
    w = model.tensor((2, 3, 3, 3), 0.1, data=np.ones((2, 3, 3, 3)))
    b = model.tensor((2,), 0.01, dtype="int32", data=np.array([1, 2]))
    y = model.tensor((1, 1, 1, 2), 0.1)
    model.operator("CONV_2D", [x, w, b], [y], padding=_SAME, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    assert layers_of(model.bytes([y]))["conv1"].nnz == 2 * 3


def test_a_network_without_any_weights_is_still_one() -> None:
    layers = layers_of(network(0, _SAME, dead=tuple(range(8)), unread=tuple(range(8))))
    assert layers["conv1"].out_channels == layers["conv2"].in_channels == 1


def test_exact(tmp_path: Path) -> None:
    cases = [
        (seed, padding, dead, unread)
        for seed, (dead, unread) in enumerate([((), ()), ((1,), (4,)), ((0, 2, 7), (3, 7)), ((1, 5), range(8))])
        for padding in (_SAME, _VALID)
    ]
    models, inputs, expected = [], [], []
    for i, case in enumerate(cases):
        tflite = network(*case)
        models.append(compile_model(tflite, tmp_path / str(i), optimize=("size", "balanced", "speed")[i % 3]))
        inputs.append(np.random.default_rng(i).integers(-128, 128, (20, *models[i].input_shape)).astype(np.int8))
        expected.append(reference_bytes(tflite, models[i], inputs[i].reshape(20, -1)))
    for case, found, wanted in zip(cases, run_on(GCC, models, inputs, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(found.reshape(20, -1), wanted, err_msg=str(case))
    assert any(len(np.unique(wanted)) > 30 for wanted in expected)
