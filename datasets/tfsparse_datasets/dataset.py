"""What a data set is: three parts of images with labels, and the words to print beside every figure from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """One part of a data set: `images` uint8 [N, H, W, C] with C 1 (grey) or 3 (RGB), `labels` int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise ValueError(f"images must be uint8 [N, H, W, 1 or 3], not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 [{len(self.images)}], not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Split:
        """The images at `indices` (int [M]), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Parts:
    """What a loader reads: the parts as their authors made them; `validation` only where the source brings its own."""

    class_names: tuple[str, ...]
    train: Split
    test: Split
    validation: Split | None = None
    note: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set ready for use. The model's float input is images / 255.

    `rule` names how the classes were made two, None where they are as given. `note` is what must be said wherever a
    figure from this data is published (a lossy copy, a split of our own); empty if there is nothing to say.
    """

    name: str
    rule: str | None
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels of one image."""
        return self.train.images.shape[1:]

    @property
    def chance(self) -> float:
        """The validation error of always answering with the class that is commonest in training."""
        return float(np.mean(self.validation.labels != np.bincount(self.train.labels).argmax()))

    @property
    def title(self) -> str:
        """The name with its rule, as `load` takes it back: `mnist:lt-half`."""
        return f"{self.name}:{self.rule}" if self.rule else self.name
