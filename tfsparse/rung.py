"""How long a candidate is trained: a rung's length in training images."""

from __future__ import annotations

from dataclasses import dataclass

# A rung of length 1 shows this many training images, whatever the data set's size: trials cost about the same on all.
RUNG_SAMPLES = 60_000
# Large networks are shown fewer, so that one of them does not cost what ten small ones do: so many
# multiply-accumulates forward for each length of rung, but never less than a sixth of the images.
RUNG_MACS = 6e9
LEAST_SHARE = 1 / 6


@dataclass(frozen=True)
class Rung:
    """How long a candidate is trained: `samples` training images where its `epochs` knob is 1; `whole`: however large
    the network is."""

    samples: int
    whole: bool = False

    @classmethod
    def of(cls, length: float, samples: int = RUNG_SAMPLES) -> Rung:
        """A rung of `length` times the shortest, which shows so many images."""
        return cls(round(samples * length))

    def affordable(self, macs: int) -> Rung:
        """The same for a network of so many multiply-accumulates: shorter where that would take too long."""
        if self.whole:
            return self
        share = RUNG_MACS / RUNG_SAMPLES / macs
        return Rung(round(self.samples * min(1.0, max(share, LEAST_SHARE))))
