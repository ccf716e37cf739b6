"""The data sets beside the repository, where a machine has them."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def needs(file: str) -> pytest.MarkDecorator:
    """Skip a test where SHARED_DATA lacks the file, and say so."""
    return pytest.mark.skipif(not (SHARED_DATA / file).exists(), reason=f"no ../shared/data/{file} on this machine")
