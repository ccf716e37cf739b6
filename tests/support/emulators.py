"""The emulators that tests run on."""

from __future__ import annotations

import shutil

import pytest

from hil.renode import RENODE
from hil.targets import EMULATORS


def emulator_class(name: str) -> type:
    """The class behind a name of `hil.targets.EMULATORS`; the test is skipped where Renode is asked for and absent."""
    if name == RENODE and shutil.which(RENODE) is None:
        pytest.skip("Renode is not on PATH (https://renode.io)")
    return EMULATORS[name]
