"""Augmentation in two halves: random choices on the host for a whole epoch, their application inside the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, drawn for every image and epoch anew.

    `shift`: pixels. A shift is uniform over the whole pixels -s..s of both axes if `shift` is the integer s; in
    between, the outermost pixels are rarer. Rows and columns that come in at an edge mirror those at the edge.
    `flip`: left and right are exchanged for half of the images. `brightness` b: an image is multiplied by a gain
    uniform in 1 - b .. 1 + b, and clipped to its range.
    """

    shift: float = 0.0
    flip: bool = False
    brightness: float = 0.0

    def __post_init__(self):
        if self.shift < 0 or self.brightness < 0:
            raise ValueError(f"shift and brightness are not negative: {self.shift}, {self.brightness}")

    @property
    def reach(self) -> int:
        """The largest shift in pixels."""
        return math.ceil(self.shift)

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """An epoch's choices: int32 [steps, batch, 3] (down, right, flipped) and gains, float32 [steps, batch]."""
        far = np.rint(rng.uniform(-1, 1, (steps, batch, 2)) * (self.shift + 0.5) if self.shift else 0)
        moves = np.zeros((steps, batch, 3), np.int32)
        moves[..., :2] = np.clip(far, -self.reach, self.reach)
        moves[..., 2] = rng.integers(0, 2, (steps, batch)) if self.flip else 0
        gains = 1 + self.brightness * rng.uniform(-1, 1, (steps, batch))
        return moves, gains.astype(np.float32)

    def move(self, images: tf.Tensor, moves: tf.Tensor) -> tf.Tensor:
        """Shift and flip `images` [batch, height, width, channels], static shape, of any type, by `moves` [batch, 3].

        Whole rows are gathered from copies of the batch, one for each shift along the row: memory is moved and
        nothing is computed per pixel.
        """
        if not self.shift and not self.flip:
            return images
        batch, height, width, channels = images.shape
        reach = self.reach
        padded = tf.pad(images, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "SYMMETRIC") if reach else images
        variants = [padded[:, :, first : first + width] for first in range(2 * reach + 1)]
        if self.flip:
            mirrored = tf.reverse(padded, [2])
            # Of a mirrored image the columns count from the other end, so a shift keeps its direction.
            variants += [mirrored[:, :, first : first + width] for first in range(2 * reach + 1)]
        tall = height + 2 * reach
        rows = tf.reshape(tf.stack(variants), [len(variants) * batch * tall, width * channels])
        # An image moved down by d begins d rows further up in its padded copy; the same holds for columns.
        variant = reach - moves[:, 1] + (2 * reach + 1) * moves[:, 2]
        first = (variant * batch + tf.range(batch)) * tall + reach - moves[:, 0]
        picked = tf.gather(rows, first[:, None] + tf.range(height))
        return tf.reshape(picked, [batch, height, width, channels])

    def brighten(self, images: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        """Multiply float `images` in 0..1 by `gains` [batch], clipped to 0..1."""
        if not self.brightness:
            return images
        return tf.minimum(images * gains[:, None, None, None], 1.0)


# What may be changed without changing what an image shows. Letters and digits have a left and a right; photographs of
# things and textures are as likely the other way round. Where a camera took the pictures, light varies.
_SYMMETRIC = ("cifar10", "curet")
_PHOTOGRAPHS = ("cifar10", "curet", "chars4k")
_FULL_SHIFT = 2.0
_FULL_BRIGHTNESS = 0.4


def augmentation_of(dataset: str, strength: float) -> Augmentation:
    """What a candidate's `augmentation` knob (0 to 1) means for a data set, by its name; 0 is no change at all.

    Of images in a folder of the user's own nothing is known: they are shifted, which harms next to nothing.
    """
    return Augmentation(
        shift=_FULL_SHIFT * strength,
        flip=strength > 0 and dataset in _SYMMETRIC,
        brightness=_FULL_BRIGHTNESS * strength if dataset in _PHOTOGRAPHS else 0.0,
    )
