"""The file that keeps the trials of the searches and what they say: results/claims.json."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.claims.judging import Claim, volumes
from benchmarks.claims.searches import ARMS, BUDGETS, DATA, Trial
from tfsparse.errors import UserError

_COLUMNS = [item.name for item in fields(Trial)]


@dataclass(frozen=True)
class Kept:
    """Searches of `count` trials each: all their trials, the claims, and the counted figures over the digits table."""

    count: int
    trials: Sequence[Trial]
    claims: Sequence[Claim]
    replay: dict[str, list[float]]

    @property
    def command(self) -> str:
        """What makes all this anew."""
        arms = [arm for arm in ARMS if any(one.arm == arm for one in self.trials)]
        seeds = len({trial.seed for trial in self.trials})
        chosen = f" --arms {' '.join(arms)}" * (len(arms) < len(ARMS))
        kept = "--out results/claims.json --plot results/claims.png"
        return f"python -m benchmarks.claims --seeds {seeds} --trials {self.count}{chosen} {kept}"

    def to_json(self) -> dict[str, Any]:
        """Without the trials."""
        found = volumes(self.trials)
        seeds = sorted({trial.seed for trial in self.trials})
        return {
            "command": self.command,
            "dataset": DATA,
            "trials_of_a_search": self.count,
            "seeds": seeds,
            "error_of_use": BUDGETS.error,
            "claims": [claim.to_json() for claim in self.claims],
            "hypervolume": found.validation,
            "hypervolume_test": found.test,
            "images_shown": {
                arm: [sum(one.images for one in self.trials if (one.arm, one.seed) == (arm, seed)) for seed in seeds]
                for arm in ARMS
                if any(one.arm == arm for one in self.trials)
            },
            "digits_table": self.replay,
        }


def save(kept: Kept, path: Path) -> None:
    """Everything, the trials a line each; a kill leaves the old file or the new one."""
    head = json.dumps(kept.to_json(), indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(astuple(trial))}" for trial in kept.trials)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(f'{head},\n "columns": {json.dumps(_COLUMNS)},\n "trials": [\n{lines}\n ]\n}}\n')
    os.replace(partial, path)


def load(path: Path) -> Kept:
    """What `save` wrote; UserError where it is something else."""
    try:
        data = json.loads(path.read_text())
        if data["columns"] != _COLUMNS:
            raise ValueError("its trials are of another version")
        trials = [Trial(**dict(zip(_COLUMNS, row, strict=True))) for row in data["trials"]]
        claims = [Claim(**one) for one in data["claims"]]
        return Kept(data["trials_of_a_search"], trials, claims, data["digits_table"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read the trials in {path} ({error}): make them anew, without --from") from error
