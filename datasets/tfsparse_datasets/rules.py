"""Rules that make two classes of many. SpArSe does not state its rule, so each has a name that is printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfsparse.errors import UserError

_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


@dataclass(frozen=True)
class Rule:
    """`second(label, class_names)` is true for the labels that become class 1, named `names[1]`."""

    names: tuple[str, str]
    second: Callable[[int, tuple[str, ...]], bool]
    what: str


RULES: dict[str, Rule] = {
    # uNAS's rule for MNIST, CIFAR-10 (label < 5) and Chars74K (label < 31).
    "lt-half": Rule(
        ("lower half", "upper half"),
        lambda label, names: label >= len(names) / 2,
        "labels below half the number of classes against the rest",
    ),
    "parity": Rule(("even", "odd"), lambda label, names: label % 2 == 1, "even labels against odd ones"),
    "animal": Rule(
        ("vehicle", "animal"),
        lambda label, names: names[label] in _ANIMALS,
        "CIFAR-10's four vehicles against its six animals",
    ),
}


def binary_labels(rule: str, dataset: str, class_names: tuple[str, ...]) -> np.ndarray:
    """The new label, 0 or 1, of each of the classes: int64 [len(class_names)].

    Raises UserError where the rule is unknown or says nothing about this data set.
    """
    if rule not in RULES:
        raise UserError(f"unknown rule '{rule}': choose one of {', '.join(RULES)}")
    if rule == "animal" and dataset != "cifar10":
        raise UserError(f"the rule 'animal' is for cifar10 only: for {dataset} choose lt-half or parity")
    if len(class_names) < 3:
        raise UserError(f"{dataset} has only {len(class_names)} classes already: leave the rule '{rule}' out")
    return np.array([RULES[rule].second(label, class_names) for label in range(len(class_names))], dtype=np.int64)
