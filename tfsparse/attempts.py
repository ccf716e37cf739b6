"""How often the process died over a job: native code of TensorFlow and TFLite can abort it, and a search that is
resumed proposes the same candidate again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsparse.errors import UserError

# A process may have been killed from outside, or in its place for another's hunger for memory; not twice at one job.
MOST = 2
GIVEN_UP = (
    f"the process died {MOST} times while this was judged: a crash in native code, a lack of memory, or it was killed"
)


class Attempts:
    """attempts.json in a run folder: the job that runs, and how often it was begun without coming to an end.

    An end is whatever Python sees, a result, an error or Ctrl-C: then the file is gone. There is one job at a time.
    """

    def __init__(self, folder: Path):
        self._path = folder / "attempts.json"

    def died(self, job: str) -> int:
        """How often the process died over the job; one that died over another has forgotten it."""
        try:
            data = json.loads(self._path.read_text())
            return int(data["begun"]) if data["job"] == job else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    @contextmanager
    def at(self, job: str) -> Iterator[None]:
        """Around an attempt at the job. Raises `UserError` where the run folder cannot be written."""
        begun = self.died(job) + 1
        try:
            self._path.write_text(json.dumps({"job": job, "begun": begun}) + "\n")
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written ({error.strerror}): free some space, then go on with --resume"
            ) from error
        try:
            yield
        finally:
            self._path.unlink(missing_ok=True)
