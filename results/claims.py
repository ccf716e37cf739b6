"""What `python -m benchmarks.claims` left for the pages: verdicts on the paper's claims, with figures in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from results.table import RESULTS
from tfsparse.errors import UserError

CLAIMS = RESULTS / "claims.json"
HEAD = ("claim", "verdict", "on what")

HOW = (
    "Searches on {dataset} with the seeds {seeds}, of {trials} trials each (where one kind of pruning is searched "
    "alone, or none: of two thirds of that); every candidate was trained and measured on the emulated STM32F405. "
    "`inside` has all kinds of pruning in its space, `after` prunes the front of a search over dense networks "
    "with its last third of the trials, `fresh` is `inside` without inherited weights. Hypervolumes are of the "
    "logarithms of error, flash_model and ram_model, as shares of that of all these searches together; networks "
    "that err more than {error:g} % count for nothing. ± is the standard deviation over seeds, in brackets are 95 "
    "% intervals of the mean difference (Student's t). A claim is shown, or refuted, only where the interval "
    "leaves nothing else, on the validation and on the test part: what is not decided may hold or not. These are "
    "small networks on a small data set, and no word on larger ones. Made by `{command}`."
)


@dataclass(frozen=True)
class Verdicts:
    """How the claims were judged, in words, and a row for each: claim, verdict, on what."""

    how: str
    rows: tuple[tuple[str, str, str], ...]


def load_verdicts(path: Path = CLAIMS) -> Verdicts | None:
    """None where there are none yet; UserError where the file cannot be read."""
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
        rows = tuple((one["claim"], one["verdict"], one["words"]) for one in data["claims"])
        how = HOW.format(
            dataset=data["dataset"],
            seeds=", ".join(map(str, data["seeds"])),
            trials=data["trials_of_a_search"],
            error=100 * data["error_of_use"],
            command=data["command"],
        )
        return Verdicts(how, rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read {path} ({error!r}); make it anew: python -m benchmarks.claims --out {path}"
        ) from error
