"""Candidates that a search tries first: from files, or the survivors of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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


def start_candidates(
    paths: Sequence[Path], space: DesignSpace, say: Callable[[str], None] = lambda text: None
) -> tuple[Candidate, ...]:
    """The candidates in these files and run folders, each once, in their canonical form.

    A file holds one candidate as JSON (the `candidate` of a line in trials.jsonl); of a run folder its survivors are
    taken, without those that cannot be trained here. Numbers that the space has not are moved to the nearest that it
    has; `say` is told which. UserError where a file's candidate is not of this space all the same, or turned away by
    the budgets.
    """
    found: dict[Candidate, None] = {}
    for path in paths:
        if path.is_dir():
            survivors = RunFolder.open(path, mend=False).survivors
            moved = [(survivor, space.nearest(survivor.candidate)) for survivor in survivors]
            fitting = [(one, candidate) for one, candidate in moved if _can_be_tried(candidate, space)]
            for survivor, candidate in fitting:
                _say_moved(f"{path}, {survivor.name}", survivor.candidate, candidate, space, say)
                found[candidate] = None
            if not fitting:
                say(f"--start {path}: none of its {len(survivors)} survivors can be trained here under these budgets")
            continue
        given = candidate_in(path, "give the JSON that a search writes, or a run folder")
        candidate = space.nearest(given)
        if reason := space.outside(candidate):
            raise UserError(f"--start {path} is outside the design space ({reason}): leave it out, or change it")
        if reason := space.refusal(candidate):
            raise UserError(f"--start {path}: {reason}; leave it out, or give it more room")
        _say_moved(str(path), given, candidate, space, say)
        found[candidate] = None
    return tuple(found)


def _can_be_tried(candidate: Candidate, space: DesignSpace) -> bool:
    return space.contains(candidate) and not space.refusal(candidate)


def _say_moved(name: str, given: Candidate, taken: Candidate, space: DesignSpace, say: Callable[[str], None]) -> None:
    """One line that says which values were moved to the space's nearest, where any was."""
    before, after = space.values(space.canonical(given)), space.values(taken)
    moved = [f"{key} {value} to {after[key]}" for key, value in before.items() if key in after and after[key] != value]
    if moved:
        say(f"--start {name}: the design space has not all of its values, the nearest are taken: {', '.join(moved)}")
