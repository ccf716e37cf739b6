"""One trial for real: trained, pruned, converted, compiled, and measured on the emulated chip."""

from dataclasses import replace

import numpy as np
import pytest

from hil.measure import Measurer
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.network import Infeasible, network_of
from tfsparse.rewrite import nonzero
from tfsparse.rung import Rung
from tfsparse.sensor import model_images
from tfsparse.train import train
from tfsparse.trial import TrialFailed, evaluate
from tfsparse_datasets import Split, load

BLOCKS = (
    Block((Layer("plain", 6, 3),)),
    Block((Layer("separable", 8, 3),), residual=True, factor=2),
)
SHORT = Rung(30_000)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def measurer():
    with Measurer() as measurer:
        yield measurer


@pytest.mark.slow
def test_a_pruning_candidate_is_judged_on_the_chip(digits, measurer):
    training = Training(pruning="unstructured", kl_weight=2.0, batch_size=32)
    candidate = Candidate(BLOCKS, head="depthwise", training=training)
    phases = []
    result = evaluate(
        candidate,
        digits,
        rung=SHORT,
        seed=1,
        measurer=measurer,
        progress=lambda phase, fraction: phases.append((phase, fraction)),
    )
    figures = result.figures
    assert result.val_accuracy > 0.8
    assert result.float_val_accuracy - result.val_accuracy <= 0.005 or result.note
    assert figures["bit_exact"] is True
    assert figures["nnz"] < 0.9 * network_of(candidate, (8, 8, 1), 10).weight_count
    assert figures["payload"] < figures["flash_model"] < figures["payload"] + 6 * 1024
    assert figures["arena"] < figures["ram_model"] < figures["ram_total"]
    assert figures["instructions"] > 1000
    assert set(result.seconds) == {"train", "convert", "compile", "measure"}
    assert sum(result.seconds[phase] for phase in ("convert", "compile", "measure")) > 0
    assert [phase for phase, fraction in phases if fraction == 0.0] == ["train", "convert", "measure"]
    fractions = [fraction for phase, fraction in phases if phase == "train"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)


@pytest.mark.slow
def test_what_would_hold_too_much_ram_is_measured_before_it_is_trained(digits, measurer):
    candidate = Candidate(BLOCKS, training=Training(epochs=0.25))
    phases = []

    def judged(ram_budget, candidate=candidate):
        phases.clear()
        return evaluate(
            candidate,
            digits,
            rung=Rung(2_000),
            seed=0,
            measurer=measurer,
            ram_budget=ram_budget,
            progress=lambda phase, fraction: phases.append(phase),
        )

    held = judged(None).figures["ram_model"]
    with pytest.raises(Infeasible, match=r"holds \d+ bytes of RAM on the target before its training") as refused:
        judged(held // 2)
    assert phases == ["size"]
    assert refused.value.ram == pytest.approx(held, abs=64)
    assert judged(held).seconds["size"] > 0
    # Pruning whole channels may bring it inside: that shows after the training only.
    slim = Candidate(BLOCKS, training=Training(epochs=0.25, pruning="structured"))
    assert judged(held // 2, slim).figures["ram_model"] > 0


def test_what_cannot_be_fed_by_rows_is_not_trained(digits):
    # Images of a single row.
    parts = {
        name: Split(part.images.reshape(-1, 1, 64, 1), part.labels)
        for name, part in (("train", digits.train), ("validation", digits.validation), ("test", digits.test))
    }
    candidate = Candidate((Block((Layer("plain", 4, 3),), factor=1),), training=Training(epochs=0.1))
    phases = []
    with Measurer(by_rows=True) as by_rows, pytest.raises(Infeasible, match="cannot be fed by rows"):
        evaluate(
            candidate,
            replace(digits, **parts),
            rung=Rung(1_000),
            seed=0,
            measurer=by_rows,
            progress=lambda phase, fraction: phases.append(phase),
        )
    assert phases == ["size"]


@pytest.mark.slow
def test_training_repeats_with_its_seed_and_prunes_to_exact_zeros(digits):
    training = Training(pruning="unstructured", kl_weight=5.0)
    network = network_of(Candidate(BLOCKS), (8, 8, 1), 10)
    parts = (digits.train.images, digits.train.labels, digits.validation.images, digits.validation.labels)
    one, again = (train(network, training, *parts, rung=Rung(8_000), seed=3) for _ in range(2))
    assert one.val_accuracy == again.val_accuracy
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(weights.kernel, again.weights[name].kernel)
    assert nonzero(one.weights) < network.weight_count


def test_training_that_diverges_is_a_failed_trial(digits, measurer):
    candidate = Candidate(BLOCKS, training=Training(learning_rate=1e30, schedule="constant"))
    with pytest.raises(TrialFailed, match="diverged"):
        evaluate(candidate, digits, rung=Rung(2_000), seed=0, measurer=measurer)


def test_a_candidate_without_a_network_is_infeasible(digits, measurer):
    candidate = Candidate(tuple(Block((Layer("plain", 2, 1),), "max", 3) for _ in range(3)))
    with pytest.raises(Infeasible, match="does not fit a map"):
        evaluate(candidate, digits, rung=SHORT, seed=0, measurer=measurer)


def test_grey_images_are_luma_and_grey_ones_stay():
    colour = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], np.uint8)
    grey = Candidate(BLOCKS, grey=True)
    np.testing.assert_array_equal(model_images(grey, colour)[..., 0], [[[76, 150, 29, 255]]])
    assert model_images(Candidate(BLOCKS), colour) is colour
