"""Time that a program takes, without that which other programs take from it."""

from __future__ import annotations

import os
import subprocess
import sys


def processor_seconds(*arguments: str) -> float:
    """Processor time of `python ARGUMENTS`, which must succeed."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
