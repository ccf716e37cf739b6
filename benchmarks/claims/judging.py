"""From the searches' trials to verdicts.

Hypervolumes are of the logarithms of error, flash_model and ram_model, against the error of use (`searches.BUDGETS`)
and the sizes that a tenth of all useful trials exceed, divided by that of all searches' trials together. On the test
part they are of each search's front, as it was chosen on validation, with its errors on the test part.

Arms are compared seed by seed, by the mean difference and its 95 % interval (Student's t, two-sided). A claim is
`shown` where the interval lies on its side, on validation and on the test part, `refuted` where both lie on the other,
and otherwise `not decided`: three seeds leave wide intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy.stats import t as student

from benchmarks.claims.counting import COUNTED, TOLD, columns_of_trials, losses, told
from benchmarks.claims.searches import BUDGETS, PRUNE, Trial
from tfsparse.objectives import ERROR_FLOOR
from tfsparse.pareto import hypervolume, non_dominated

SHOWN, REFUTED, OPEN = "shown", "refuted", "not decided"
# A counted winner that loses on the chip no oftener than this is as good as the measured one.
SELDOM = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim, its verdict, and the figures that it rests on, in words and as numbers."""

    claim: str
    verdict: str
    words: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict:
        return asdict(self)


# What is compared: the trials of an arm, or a part of them.
PARTS: dict[str, Callable[[Trial], bool]] = {
    "inside": lambda trial: trial.arm == "inside",
    "after": lambda trial: trial.arm == "after",
    "fresh": lambda trial: trial.arm == "fresh",
    "dense": lambda trial: trial.arm == "after" and trial.stage != PRUNE,
    "unstructured": lambda trial: trial.arm == "unstructured",
    "structured": lambda trial: trial.arm == "structured",
}


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of two values or more; of one it knows no bounds."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, -np.inf, np.inf)
        half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} .. {self.high:+.3f})"


def logs(trials: Sequence[Trial], *, test: bool = False) -> np.ndarray:
    """Logarithms of error, flash_model and ram_model [N, 3] of trials that came to something."""
    errors = [trial.test_error if test else trial.error for trial in trials]
    return np.log(
        [[max(error, ERROR_FLOOR), trial.flash, trial.ram] for error, trial in zip(errors, trials, strict=True)]
    ).reshape(-1, 3)


@dataclass(frozen=True)
class Volumes:
    """Hypervolumes [seeds] by part, as shares of that of all searches together."""

    validation: dict[str, list[float]]
    test: dict[str, list[float]]


def volumes(trials: Sequence[Trial]) -> Volumes:
    """Of every part that each seed has trials of. ValueError where no trial is of use."""
    done = [trial for trial in trials if trial.completed]
    seeds = seeds_of(trials)
    parts = {name: part for name, part in PARTS.items() if {one.seed for one in trials if part(one)} == set(seeds)}
    useful = logs([trial for trial in done if trial.error <= BUDGETS.error])
    if not len(useful):
        raise ValueError(f"no trial has an error of at most {BUDGETS.error}")
    reference = np.array([np.log(BUDGETS.error), *np.quantile(useful[:, 1:], 0.9, axis=0)])
    # A size that all trials share has no volume beside it.
    reference[1:] = np.maximum(reference[1:], useful[:, 1:].min(axis=0) + 1e-3)

    def front(some: Sequence[Trial]) -> list[Trial]:
        return [one for one, kept in zip(some, non_dominated(logs(some)), strict=True) if kept] if some else []

    wholes = [hypervolume(logs(done, test=test), reference) for test in (False, True)]
    found: list[dict[str, list[float]]] = [{}, {}]
    for test, whole in enumerate(wholes):
        for name, part in parts.items():
            found[test][name] = [
                round(hypervolume(logs(front(some), test=bool(test)), reference) / whole, 4) if whole else 0.0
                for seed in seeds
                for some in [[one for one in done if one.seed == seed and part(one)]]
            ]
    return Volumes(*found)


def seeds_of(trials: Sequence[Trial]) -> list[int]:
    return sorted({trial.seed for trial in trials})


def verdict(*intervals: Interval, than: float = 0.0) -> str:
    """`shown` where all lie above, `refuted` where all lie below."""
    if all(one.low > than for one in intervals):
        return SHOWN
    return REFUTED if all(one.high < than for one in intervals) else OPEN


# Claims that the first part reaches more hypervolume than the second.
COMPARED = {
    "Pruning inside the search finds better networks than pruning after it": ("inside", "after"),
    "Inherited weights make the search better": ("inside", "fresh"),
    "A search with unstructured pruning finds better networks than one without pruning": ("unstructured", "dense"),
    "A search with structured pruning finds better networks than one without pruning": ("structured", "dense"),
    "A search with structured pruning finds better networks than one with unstructured": ("structured", "unstructured"),
}


def images_shown(trials: Sequence[Trial]) -> dict[str, float]:
    """Training images that each part's trials were shown, in the mean over seeds."""
    seeds = len(seeds_of(trials))
    return {name: sum(one.images for one in trials if part(one)) / seeds for name, part in PARTS.items()}


def compared(claim: str, found: Volumes, images: dict[str, float], one: str, other: str) -> Claim:
    """The claim that part `one` reaches more hypervolume than part `other`, whose trainings saw so many `images`."""
    pairs = [(kind[one], kind[other]) for kind in (found.validation, found.test)]
    intervals = [Interval.of(np.subtract(*pair)) for pair in pairs]
    ahead = sum(a > b for a, b in zip(*pairs[0], strict=True))
    words = (
        f"hypervolume {one} {_spread(pairs[0][0])}, {other} {_spread(pairs[0][1])}; difference {intervals[0]} on "
        f"validation, {intervals[1]} on the test part; {one} ahead with {ahead} of {len(pairs[0][0])} seeds; images "
        f"shown in training {images[one] / 1e6:.2f} and {images[other] / 1e6:.2f} million a search"
    )
    figures = {
        f"{part}, {where}": values
        for where, pair in zip(("validation", "test"), pairs, strict=True)
        for part, values in zip((one, other), pair, strict=True)
    }
    return Claim(claim, verdict(*intervals), words, figures)


def _spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


COUNTED_CLAIMS = {
    "nnz": "The network with the fewest non-zero weights is the smallest in flash",
    "memory": "The network with the least layer-wise working memory is the smallest in RAM",
}


def judge(trials: Sequence[Trial]) -> list[Claim]:
    """All claims that these trials can tell of: those that each seed has the arms of."""
    found = volumes(trials)
    claims = [
        compared(claim, found, images_shown(trials), one, other)
        for claim, (one, other) in COMPARED.items()
        if {one, other} <= set(found.validation)
    ]
    by_seed = [columns_of_trials([one for one in trials if one.seed == seed]) for seed in seeds_of(trials)]
    return claims + _pruned_alike(trials) + _counted(by_seed) + _told(by_seed)


def _pruned_alike(trials: Sequence[Trial]) -> list[Claim]:
    """The same dense networks, pruned in the first way of each kind from the same weights: what each takes off."""
    known = {(one.seed, one.trial): one for one in trials if one.arm == "after" and one.completed}
    pairs: dict[int, list[tuple[Trial, Trial, Trial]]] = {}
    for seed in seeds_of(trials):
        found: dict[int, dict[str, Trial]] = {}
        for one in known.values():
            if one.seed == seed and one.stage == PRUNE:
                found.setdefault(one.parent, {}).setdefault(one.pruning, one)
        pairs[seed] = [
            (known[seed, parent], kinds["unstructured"], kinds["structured"])
            for parent, kinds in sorted(found.items())
            if {"unstructured", "structured"} <= set(kinds)
        ]
    if not all(pairs.values()):
        return []
    count = sum(map(len, pairs.values()))
    errors = [100 * np.mean([pair[kind].error for some in pairs.values() for pair in some]) for kind in range(3)]
    beside = (
        f"{count} networks of {len(pairs)} searches' fronts; their errors on validation {errors[0]:.1f} % dense, "
        f"{errors[1]:.1f} % unstructured, {errors[2]:.1f} % structured"
    )
    claims = []
    for smaller, larger, size, claim in (
        (1, 2, "flash", "Unstructured pruning takes more off a network's flash than structured pruning"),
        (2, 1, "ram", "Structured pruning takes more off a network's RAM than unstructured pruning"),
    ):
        # What is left of the dense network's size, in logarithms, so that halves and doubles weigh the same.
        left = {
            kind: [
                float(np.mean([np.log(getattr(pair[kind], size) / getattr(pair[0], size)) for pair in some]))
                for some in pairs.values()
            ]
            for kind in (smaller, larger)
        }
        interval = Interval.of(np.subtract(left[larger], left[smaller]))
        shares = {kind: 100 * np.exp(np.mean(values)) for kind, values in left.items()}
        words = (
            f"unstructured leaves {shares[1]:.0f} % of it, structured {shares[2]:.0f} % (geometric means; difference "
            f"of logarithms {interval}); {beside}"
        )
        figures = {
            name: [round(float(np.exp(value)), 4) for value in left[kind]]
            for name, kind in (("unstructured leaves", 1), ("structured leaves", 2))
        }
        claims.append(Claim(claim, verdict(interval), words, figures))
    return claims


def _counted(by_seed) -> list[Claim]:
    found = [losses(columns, BUDGETS.error) for columns in by_seed]
    claims = []
    for by, on in COUNTED:
        shares = [one[f"{by} on {on}: loses"] for one in found]
        excess = [one[f"{by} on {on}: excess"] for one in found]
        interval = Interval.of(shares)
        words = (
            f"it loses on the chip at {_percent(shares)} of the error limits, then by {_percent(excess)} "
            "(least to most over seeds)"
        )
        ending = {SHOWN: REFUTED, REFUTED: SHOWN, OPEN: OPEN}[verdict(interval, than=SELDOM)]
        claims.append(Claim(COUNTED_CLAIMS[by], ending, words, {"loses": shares, "excess": excess}))
    fronts = [one["front"] for one in found]
    ending = {SHOWN: REFUTED, REFUTED: SHOWN, OPEN: OPEN}[verdict(Interval.of(fronts), than=SELDOM)]
    words = f"of the counted front {_percent(fronts)} are dominated once measured (least to most over seeds)"
    claims.append(Claim("The counted objectives' front is the measured front", ending, words, {"dominated": fronts}))
    return claims


def _percent(values: Sequence[float]) -> str:
    low, high = (f"{100 * one:.0f}" for one in (min(values), max(values)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _told(by_seed) -> list[Claim]:
    found = [told(columns) for columns in by_seed]
    claims = []
    for on in TOLD:
        nnz, edges = ([one[f"{by} with {on}"] for one in found] for by in ("nnz", "edges"))
        interval = Interval.of(np.subtract(nnz, edges))
        what = "flash" if on == "flash" else on
        words = f"rank correlation with {what}: non-zero weights {_spread(nnz)}, edges {_spread(edges)}; {interval}"
        claim = f"Non-zero weights tell a network's {what} better than its edges do"
        claims.append(Claim(claim, verdict(interval), words, {"nnz": nnz, "edges": edges}))
    return claims
