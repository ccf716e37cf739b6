"""Rates over the steps of a run."""

import numpy as np
import pytest

from tfsparse.schedule import Schedule


def test_learning_rate_warms_up_and_decays():
    cosine = Schedule(1, learning_rate=0.1, warmup=0.2).learning_rates(100)
    np.testing.assert_allclose(cosine[:20], 0.1 * np.arange(1, 21) / 20)
    np.testing.assert_allclose(cosine[20], 0.1)
    np.testing.assert_allclose(cosine[60], 0.05)
    assert (np.diff(cosine[20:]) < 0).all() and 0 < cosine[-1] < 1e-4
    linear = Schedule(1, learning_rate=0.1, warmup=0.0, decay="linear").learning_rates(10)
    np.testing.assert_allclose(linear, 0.1 * (1 - np.arange(10) / 10))
    constant = Schedule(1, learning_rate=0.1, warmup=0.5, decay="constant").learning_rates(10)
    np.testing.assert_allclose(constant, [0.02, 0.04, 0.06, 0.08, 0.1] + [0.1] * 5)
    for steps in (1, 2, 3):
        for decay in ("cosine", "linear", "constant"):
            rates = Schedule(1, learning_rate=0.1, warmup=0.9, decay=decay).learning_rates(steps)
            assert (rates > 0).all() and (rates <= 0.1 + 1e-12).all()


def test_kl_weight_waits_and_ramps():
    weights = Schedule(1, kl_weight=2.0, kl_delay=0.1, kl_warmup=0.5).kl_weights(100)
    np.testing.assert_array_equal(weights[:10], 0)
    np.testing.assert_allclose(weights[34], 1.0)
    np.testing.assert_allclose(weights[59:], 2.0)
    np.testing.assert_allclose(Schedule(1, kl_weight=2.0, kl_warmup=0.0).kl_weights(5), 2.0)


def test_adam_corrections_follow_the_paper():
    corrections = Schedule(1, beta1=0.9, beta2=0.99).adam_corrections(3)
    np.testing.assert_allclose(corrections, [np.sqrt(1 - 0.99**t) / (1 - 0.9**t) for t in (1, 2, 3)])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"decay": "step"}, {"optimiser": "lion"}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Schedule(**{"epochs": 1, **wrong})
