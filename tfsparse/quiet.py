"""Libraries kept off the user's screen: they write past Python's streams, to the process's own output."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing of what is written to the process's standard output and error meanwhile is seen."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def import_quietly(module: str) -> None:
    """Import a module that brings TensorFlow with it, without the lines that this writes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # No look for a GPU that nothing here needs.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with quietly():
        importlib.import_module(module)


def child_importing(module: str) -> None:
    """Begin a child process: Ctrl-C is its parent's to handle, it ends with its parent however that one dies (on
    Linux), and what it works with is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import_quietly(module)
