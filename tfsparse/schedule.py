"""How rates change over the steps of a training run: pure functions of the step, computed before an epoch begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfsparse.candidate import SCHEDULES

OPTIMISERS = ("adamw", "sgd")


@dataclass(frozen=True)
class Schedule:
    """One phase of training.

    `samples_per_epoch`: an epoch is a random subset of this size (None: the whole set), drawn so that no sample comes
    again before all have come. `learning_rate` is the peak, reached linearly over the first `warmup` (a fraction of all
    steps); `decay` is what follows: `cosine` or `linear` to zero, or `constant`. `variance_rate` multiplies the
    learning rate of the variances log sigma^2, which have a longer way to go than weights.

    `optimiser` is `adamw` (decoupled weight decay, Loshchilov and Hutter 2019) or `sgd` (with `momentum`, and
    decoupled decay as well). `weight_decay` is per unit of learning rate and pulls at kernels only, not at biases,
    normalisation or variances. `clip_norm`: gradients whose norm over all parameters is larger are scaled down to it.

    The KL enters the loss with `kl_weight` / (number of training samples), after a first `kl_delay` and a linear ramp
    over the next `kl_warmup` (fractions of all steps).
    """

    epochs: int
    batch_size: int = 64
    samples_per_epoch: int | None = None
    learning_rate: float = 0.02
    decay: str = "cosine"
    warmup: float = 0.2
    variance_rate: float = 1.0
    optimiser: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    kl_weight: float = 0.0
    kl_delay: float = 0.0
    kl_warmup: float = 0.4

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size are at least 1, not {self.epochs} and {self.batch_size}")
        if self.decay not in SCHEDULES:
            raise ValueError(f"decay is one of {', '.join(SCHEDULES)}, not {self.decay!r}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser is one of {', '.join(OPTIMISERS)}, not {self.optimiser!r}")

    def learning_rates(self, total_steps: int) -> np.ndarray:
        """The learning rate of each of `total_steps` steps, float64 [total_steps]; the last is above zero."""
        step = np.arange(total_steps)
        ramp = max(1, round(self.warmup * total_steps)) if self.warmup else 0
        rising = (step + 1) / max(1, ramp)
        left = 1 - (step - ramp) / max(1, total_steps - ramp)
        falling = {"cosine": 0.5 - 0.5 * np.cos(np.pi * left), "linear": left, "constant": np.ones(total_steps)}
        return self.learning_rate * np.where(step < ramp, rising, falling[self.decay])

    def kl_weights(self, total_steps: int) -> np.ndarray:
        """The factor of the KL in each step (not yet divided by the number of samples), float64 [total_steps]."""
        step = np.arange(total_steps)
        begin, length = self.kl_delay * total_steps, max(1.0, self.kl_warmup * total_steps)
        return self.kl_weight * np.clip((step + 1 - begin) / length, 0, 1)

    def adam_corrections(self, total_steps: int) -> np.ndarray:
        """Adam's factor of the learning rate that undoes the moments' start from zero, float64 [total_steps]."""
        t = np.arange(1, total_steps + 1)
        return np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
