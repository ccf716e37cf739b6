"""Whatever the space can produce goes down the whole chain: to int8, to C, and byte for byte through both targets."""

import numpy as np
import pytest

from support.run_c import missing_cortex_m4, run_on_cortex_m4, run_on_host
from tfsparse.compiler import compile_model
from tfsparse.convert import quantise, rescaled
from tfsparse.network import WEIGHTED
from tfsparse.reference import Interpreter
from tfsparse.rewrite import OpWeights, compact
from tfsparse.space import DesignSpace

SHAPE, CLASSES = (8, 8, 1), 10
COUNT = 24


def random_weights(network, rng) -> dict[str, OpWeights]:
    """Weights as pruning leaves them: from dense to nearly empty, with dead channels."""
    sparsity = rng.choice([0.0, 0.6, 0.95])
    weights = {}
    for op in network.ops:
        if op.kind in WEIGHTED:
            shape = network.kernel_shape(op)
            kernel = rng.normal(size=shape) * (rng.random(shape) >= sparsity) / np.sqrt(np.prod(shape[:-1]))
            kernel[..., rng.random(shape[-1]) < sparsity / 3] = 0
            weights[op.name] = OpWeights(kernel.astype(np.float32), (rng.normal(size=shape[-1]) / 4).astype(np.float32))
    return weights


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Models of random candidates with their inputs and the reference's outputs."""
    space = DesignSpace(SHAPE, CLASSES)
    rng = np.random.default_rng(7)
    images = rng.random((50, *SHAPE), dtype=np.float32)
    folder = tmp_path_factory.mktemp("chain")
    models, inputs, outputs = [], [], []
    while len(models) < COUNT:
        candidate = space.sample(rng)
        if space.refusal(candidate) or space.network(candidate).macs > 200_000:
            continue
        network = space.network(candidate)
        smaller, weights = compact(network, random_weights(network, rng))
        tflite = quantise(smaller, rescaled(smaller, weights, images, 0.5), images)
        reference = Interpreter(tflite)
        samples = reference.quantised(images[:2])
        models.append(compile_model(tflite, folder / str(len(models))))
        inputs.append(samples)
        outputs.append(reference.run(samples))
    return models, inputs, outputs


def compare(found, compiled):
    models, _, outputs = compiled
    for index, (got, wanted) in enumerate(zip(found, outputs, strict=True)):
        np.testing.assert_array_equal(
            np.asarray(got).reshape(-1), wanted.reshape(-1), err_msg=f"model {index}: {models[index].layers}"
        )


@pytest.mark.slow
def test_on_the_host(compiled, tmp_path):
    compare(run_on_host(compiled[0], compiled[1], tmp_path), compiled)


@pytest.mark.slow
def test_on_cortex_m4(compiled, tmp_path):
    if missing := missing_cortex_m4():
        pytest.skip(missing)
    compare(run_on_cortex_m4(compiled[0], compiled[1], tmp_path), compiled)
