"""What a candidate's model is given of a data set's images."""

from __future__ import annotations

import numpy as np

from tfsparse.candidate import Candidate

# Luma of ITU-R BT.601, as cameras compute it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def model_images(candidate: Candidate, images: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] uint8 as the candidate's model takes them, still uint8: grey where it asks for that."""
    if candidate.grey and images.shape[-1] == 3:
        return np.round(images @ LUMA)[..., None].astype(np.uint8)
    return images
