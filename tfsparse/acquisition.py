"""What a trial of a candidate may be expected to gain, by what was observed.

A Gaussian process for each objective says what a candidate's objectives may be; the gain over what was observed
(scalarisation.py) is averaged over draws from them, the same standard normal numbers for every candidate. One
draw alone, as Thompson sampling has it, is the best where many things are tried at once; where they are tried one after
the other, as training does it, it spends most of its trials on the luck of the draw (benchmarks/search.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate, Training
from tfsparse.objectives import OBJECTIVES, Objectives
from tfsparse.scalarisation import Scalarisation
from tfsparse.space import DesignSpace, Encoded
from tfsparse.surrogate import GaussianProcess

_DRAWS = 32


class Acquisition:
    """Judges candidates without training them.

    tried: candidates, the length of a fresh training that theirs was as good as, and their objectives (None where the
    trial failed: that says nothing of sizes, but that there is no accuracy to be had there). Two or more have some.
    sized: candidates that were not trained, as their ram_model in bytes was too much. chance: the error of a network
    that learnt nothing, if known.
    """

    def __init__(
        self,
        space: DesignSpace,
        budgets: Budgets,
        tried: Sequence[tuple[Candidate, float, Objectives | None]],
        rng: np.random.Generator,
        sized: Sequence[tuple[Candidate, float]] = (),
        chance: float | None = None,
    ):
        self.space = space
        succeeded = [one for one in tried if one[2] is not None]
        failed = [one for one in tried if one[2] is None and space.refusal(one[0]) is None]
        known = np.array([objectives.log for _, _, objectives in succeeded])
        self.scalarise = Scalarisation.draw(known, budgets, rng, chance)
        self._normal = rng.standard_normal((_DRAWS, len(OBJECTIVES)))
        seen, guessed = self._encode([one[:2] for one in succeeded])
        # Sizes are nearly known from the shapes, the error's trend a little: the surrogates learn what that leaves.
        y = known - guessed
        both, both_guessed = self._encode([one[:2] for one in (*succeeded, *failed)])
        errors = np.r_[y[:, 0], known[:, 0].max() - both_guessed[len(succeeded) :, 0]]
        held, held_guessed = self._encode([*(one[:2] for one in succeeded), *((one, 1.0) for one, _ in sized)])
        rams = np.r_[known[:, 2], np.log([ram for _, ram in sized])] - held_guessed[:, 2]
        data = [(both, errors), (seen, y[:, 1]), (held, rams)]
        self._processes = [GaussianProcess(space.parameters, x.features.shape[1]).fit(x, values) for x, values in data]

    def __call__(self, options: Sequence[tuple[Candidate, float]]) -> np.ndarray:
        """The number to minimise [M] for M candidates with their trainings' lengths: minus the expected gain, or,
        where none is to be expected, how far they are from one."""
        encoded, guessed = self._encode(options)
        predicted = [process.predict(encoded) for process in self._processes]
        mean = guessed + np.stack([mean for mean, _ in predicted], axis=1)
        deviation = np.stack([deviation for _, deviation in predicted], axis=1)
        gain = np.mean([self.scalarise.gain(mean + deviation * normal) for normal in self._normal], axis=0)
        return np.where(gain > 0, -gain, self.scalarise.distance(mean))

    def _encode(self, options: Sequence[tuple[Candidate, float]]) -> tuple[Encoded, np.ndarray]:
        candidates = [candidate for candidate, _ in options]
        encoded = self.space.encode(candidates)
        known = np.array([_expected(candidate, length) for candidate, length in options], float)
        return replace(encoded, features=np.hstack([encoded.features, known])), self.space.guesses(candidates)


def _expected(candidate: Candidate, length: float) -> tuple[float, ...]:
    """What beside its shapes tells most of how a candidate will train: features for the surrogates' linear trends."""
    training = candidate.training
    pruned = training.pruning != "none"
    return (
        log2(length * training.epochs),
        float(pruned),
        float(training.prunes_groups),
        # The knob has no effect, and no value, where nothing is pruned.
        log2(training.kl_weight) if pruned else 0.0,
        abs(log2(training.learning_rate / Training().learning_rate)),
        log2(candidate.input_factor),
        float(sum(len(block.layers) for block in candidate.blocks)),
    )
