"""Candidates that a search tries first: from files, or the survivors of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tfsparse.candidate import Candidate
from tfsparse.errors import UserError
from tfsparse.run_folder import RunFolder
from tfsparse.space import DesignSpace


def candidate_in(path: Path, way_out: str) -> Candidate:
    """The candidate in a JSON file; UserError with the way out where the file is missing or holds none."""
    try:
        return Candidate.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the candidate {path} ({error}); {way_out}") from error


def start_candidates(paths: Sequence[Path], space: DesignSpace) -> tuple[Candidate, ...]:
    """The candidates in these files and run folders, each once, in their canonical form.

    A file holds one candidate as JSON (the `candidate` of a line in trials.jsonl); of a run folder its survivors are
    taken, without those that cannot be trained here. UserError where a file's candidate is not of this space, or turned
    away by the budgets.
    """
    found: dict[Candidate, None] = {}
    for path in paths:
        if path.is_dir():
            survivors = (space.canonical(one.candidate) for one in RunFolder.open(path, mend=False).survivors)
            found.update(dict.fromkeys(one for one in survivors if space.contains(one) and not space.refusal(one)))
            continue
        candidate = space.canonical(candidate_in(path, "give the JSON that a search writes, or a run folder"))
        if reason := space.outside(candidate):
            raise UserError(f"--start {path} is outside the design space ({reason}): leave it out, or change it")
        if reason := space.refusal(candidate):
            raise UserError(f"--start {path}: {reason}; leave it out, or give it more room")
        found[candidate] = None
    return tuple(found)
