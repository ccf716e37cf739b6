"""The run folder: what a search leaves behind, and all that a stopped search needs to go on.

    settings.json          what was searched, with which budgets, seed and versions
    trials.jsonl           one line a trial, on disk before the next trial begins: the single source of truth
    repeats.jsonl          finalists trained again with other seeds: a line each, with its trial's number
    pareto.json            the survivors' records, derived from these
    survivors/NAME.tflite  their int8 models;  survivors/NAME/  their C code and figures
    weights/NAME.npz       what children of survivors inherit, and what survivors themselves inherited
    attempts.json          there while a trial runs: which one, and how often it was begun (attempts.py)

A killed process can leave the last line torn; it is dropped when the folder is opened, whole lines never. Files whose
half would be believed are written beside their place and moved there, so that a reader sees the old or the new one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.errors import UserError
from tfsparse.objectives import Objectives, front
from tfsparse.rung import RUNG_SAMPLES

FORMAT = 1

COMPLETED = "completed"
FAILED = "failed"
STOPPED = "stopped"
INFEASIBLE = "infeasible"

# What a measurement says of a trial (DESIGN.md's words); absent where a trial did not get that far.
FIGURES = (
    "nnz",
    "model_size_counted",
    "working_memory_1",
    "working_memory_2",
    "macs",
    "payload",
    "flash_model",
    "flash_total",
    "ram_model",
    "ram_total",
    "stack",
    "arena",
    "instructions",
    "bit_exact",
    "target",
    "runtime",
)


@dataclass(frozen=True)
class Record:
    """One trial, as trials.jsonl keeps it.

    `status` is completed, failed (it crashed, diverged or could not be measured), stopped (its training was
    hopeless) or infeasible (turned away, before its training if that could be known; its `ram_model` is there if
    that was why); `reason` says why in the last three. `parent` is the trial whose morph this is, `morph` the
    change, `inherited` whether it began with the parent's weights. `rung` is the length of the training in units of
    the first stage's, `curve` the validation accuracy after fractions of it. `elapsed` is how long the search had
    taken when it ended. `polish` is what quantisation-aware polish did for a survivor's validation accuracy, None
    where it was not tried; where it is not above zero the model is as it was. `figures` holds the words of a
    measurement, and whatever else it says; in JSON they lie beside the other keys.
    """

    trial: int
    status: str
    stage: str
    seed: int
    candidate: Candidate
    rung: float = 1.0
    parent: int | None = None
    morph: str | None = None
    inherited: bool = False
    reason: str | None = None
    note: str | None = None
    val_accuracy: float | None = None
    float_val_accuracy: float | None = None
    test_accuracy: float | None = None
    tflite: str | None = None
    polish: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    elapsed: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The survivor's name in survivors/."""
        return _name(self.trial)

    @property
    def objectives(self) -> Objectives | None:
        """The measured objectives of a completed trial."""
        if self.status != COMPLETED:
            return None
        return Objectives.of({"val_accuracy": self.val_accuracy, **self.figures})

    def to_json(self) -> dict[str, Any]:
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        data["candidate"] = self.candidate.to_json()
        figures = dict.fromkeys(FIGURES) | data.pop("figures")
        data["seconds"] = {phase: round(value, 3) for phase, value in self.seconds.items()}
        return {**data, **figures}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """The record that `to_json` wrote; ValueError where it is none."""
        try:
            own = {item.name for item in fields(cls)} - {"figures"}
            known = {name: value for name, value in data.items() if name in own}
            figures = {name: value for name, value in data.items() if name not in own and value is not None}
            known["candidate"] = Candidate.from_json(known["candidate"])
            known["curve"] = tuple((fraction, accuracy) for fraction, accuracy in known.get("curve", ()))
            return cls(**known, figures=figures)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a trial's record: {error}") from error


@dataclass(frozen=True)
class Spread:
    """How far a candidate's trainings with several seeds lie apart: int8 validation accuracies, before any polish.
    `sd` is the sample standard deviation."""

    seeds: int
    mean: float
    sd: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.sd:.2f} % over {self.seeds} seeds"


@dataclass(frozen=True)
class Settings:
    """settings.json: what a run is of. A run goes on only with the same `IDENTITY`; more trials are allowed."""

    dataset: str
    rule: str | None
    data_shape: tuple[int, int, int]
    classes: int
    budgets: Budgets
    seed: int
    target: str
    trials: int | None
    minutes: float | None
    versions: dict[str, str]
    machine: str
    started: str
    command: str
    data_note: str = ""
    board: str = "stm32f405_qemu"  # behind the target: figures of different chips cannot be compared
    by_rows: bool = False  # models are fed their input row by row: nor can those of both ways
    images: int = RUNG_SAMPLES  # shown in a first stage's training whose `epochs` knob is 1
    start: tuple[Candidate, ...] = ()  # tried first
    chance: float | None = None  # validation error of a network that learnt nothing
    format: int = FORMAT

    IDENTITY = ("dataset", "rule", "data_shape", "classes", "budgets", "seed", "board", "by_rows", "images", "start")

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "data_shape": list(self.data_shape),
            "budgets": self.budgets.to_json(),
            "start": [candidate.to_json() for candidate in self.start],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Settings:
        known = {item.name: data[item.name] for item in fields(cls) if item.name in data or item.default is MISSING}
        return cls(
            **{
                **known,
                "data_shape": tuple(data["data_shape"]),
                "budgets": Budgets.from_json(data["budgets"]),
                "start": tuple(map(Candidate.from_json, data.get("start", ()))),
            }
        )


class RunFolder:
    """One run's folder, created by `create` or opened by `open`. `notices` tells what opening it had to mend."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        records: list[Record],
        notices: list[str],
        repeats: list[Record] | None = None,
    ):
        self.path = path
        self.settings = settings
        self.notices = notices
        self._records = records
        self._repeats = repeats or []

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(self._records)

    @property
    def repeats(self) -> tuple[Record, ...]:
        return tuple(self._repeats)

    def spread(self, record: Record) -> Spread | None:
        """What a trial's trainings with several seeds say together; None where it has one only."""
        again = [one.val_accuracy for one in self._repeats if one.trial == record.trial and one.status == COMPLETED]
        if not again or record.val_accuracy is None:
            return None
        accuracies = [record.val_accuracy - max(record.polish or 0.0, 0.0), *again]
        return Spread(len(accuracies), statistics.mean(accuracies), statistics.stdev(accuracies))

    def _ranked(self, record: Record) -> float:
        """The accuracy by which survivors are ranked: the mean over seeds where there are several."""
        spread = self.spread(record)
        return spread.mean + max(record.polish or 0.0, 0.0) if spread else record.val_accuracy

    @property
    def survivors(self) -> list[Record]:
        """Records of the Pareto front: inside the budgets, or of all trials while none is; the least error first, over
        seeds where there are several."""
        chosen = self._front(self._records)
        return sorted(chosen, key=lambda record: (-self._ranked(record), record.figures["flash_model"], record.trial))

    def _front(self, records: Iterable[Record]) -> list[Record]:
        completed = [record for record in records if record.status == COMPLETED]
        objectives = [record.objectives for record in completed]
        return [completed[i] for i in front(objectives, self.settings.budgets)]

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether a run was begun here. A folder whose creation was cut short holds nothing and does not count."""
        return (path / "settings.json").exists()

    @classmethod
    def check_vacant(cls, path: Path) -> None:
        """UserError where no run can be begun: there is one already, or something else, or it may not be written."""
        if cls.exists(path):
            raise UserError(f"{path} holds a run already: add --resume to go on with it, or name another --out")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: name another --out")
        if path.exists() and not all(_left_by_a_start(item) for item in path.iterdir()):
            raise UserError(f"{path} is not empty and no run folder: name another --out")
        there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: name another --out")

    @classmethod
    def create(cls, path: Path, settings: Settings) -> RunFolder:
        """A new run folder; UserError where there is one already, or something else."""
        path = Path(path)
        cls.check_vacant(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "trials.jsonl").touch()
            # settings.json comes last: with it the run exists.
            write_json(path / "settings.json", settings.to_json())
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): name another --out") from error
        return cls(path, settings, [], [])

    @classmethod
    def open(cls, path: Path, *, mend: bool = True) -> RunFolder:
        """An existing run; UserError where there is none, or one that this version cannot read. A last line that was
        cut short is taken away, unless `mend` is False: another process may be writing it."""
        path = Path(path)
        if not cls.exists(path):
            raise UserError(
                f"{path} holds no run: start one with python -m tfsparse.search --dataset NAME --out {path}"
            )
        data = _read(path / "settings.json")
        version = data.get("format")
        if version != FORMAT:
            raise UserError(
                f"{path} was written in format {version}, this tfsparse reads format {FORMAT}: "
                "go on with the version that wrote it, or start a new run with another --out"
            )
        try:
            settings = Settings.from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path / 'settings.json'} is damaged ({error} is missing or wrong): start a new run with another --out"
            ) from error
        records, notices = cls._read_records(path / "trials.jsonl", mend)
        repeats: list[Record] = []
        if (path / "repeats.jsonl").exists():
            repeats, more = cls._read_records(path / "repeats.jsonl", mend)
            notices += more
        return cls(path, settings, records, notices, repeats)

    @staticmethod
    def _read_records(path: Path, mend: bool) -> tuple[list[Record], list[str]]:
        if not path.exists():
            raise UserError(f"{path} is missing: put it back, or start a new run with another --out")
        raw = path.read_bytes()
        whole, torn = (raw, b"") if raw.endswith(b"\n") else raw.rpartition(b"\n")[::2]
        if torn and whole:
            whole += b"\n"
        notices: list[str] = []
        if torn:
            # A line that lacks only its line break is a whole record all the same.
            try:
                Record.from_json(json.loads(torn))
                whole += torn + b"\n"
                torn = b""
            except ValueError:
                notices.append(f"the last line of {path} was cut short: dropped, that trial runs again")
        records = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                records.append(Record.from_json(json.loads(line)))
            except ValueError as error:
                raise UserError(
                    f"line {number} of {path} is damaged ({error}): remove that line to go on without its trial"
                ) from error
        if mend and whole != raw:
            _write_bytes(path, whole)
        return records, notices

    def append(self, record: Record, tflite: bytes | None = None, weights: bytes | None = None) -> Record:
        """Put a trial on disk, its model and weights first if it survives; returns the record as written.

        When this returns the line is on the disk itself, and pareto.json and survivors/ agree with it.
        """
        self._records.append(record)
        try:
            if tflite is not None and any(one.trial == record.trial for one in self.survivors):
                record = replace(record, tflite=f"survivors/{record.name}.tflite")
                (self.path / "survivors").mkdir(exist_ok=True)
                _write_bytes(self.path / record.tflite, tflite)
                if weights is not None:
                    (self.path / "weights").mkdir(exist_ok=True)
                    _write_bytes(self._weights(record.trial), weights)
            _append_line(self.path / "trials.jsonl", record)
        except OSError as error:
            self._records.pop()
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then go on with --resume"
            ) from error
        self._records[-1] = record
        self.refresh()
        return record

    def append_repeat(self, record: Record) -> None:
        """Put the outcome of a finalist's training with another seed on disk."""
        try:
            _append_line(self.path / "repeats.jsonl", record)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then go on with --resume"
            ) from error
        self._repeats.append(record)
        self.refresh()

    def could_replace(self, record: Record) -> bool:
        """Whether this record may take its trial's place: it survives then, and so does no trial whose model is gone,
        which was dominated by what it replaces."""
        before = {one.trial for one in self._front(self._records)}
        others = [one for one in self._records if one.trial != record.trial]
        after = {one.trial for one in self._front([*others, record])}
        return record.trial in after and after <= before

    def replace_model(self, record: Record, tflite: bytes) -> None:
        """Put a better model of a survivor in the place of its model, and its record likewise."""
        _write_bytes(self.path / record.tflite, tflite)
        shutil.rmtree(self.survivors_folder / record.name, ignore_errors=True)
        self.amend([record])

    def amend(self, records: Iterable[Record]) -> None:
        """Replace trials' records by these with the same number, in one piece (a survivor's test accuracy comes
        late)."""
        new = {record.trial: record for record in records}
        self._records = [new.get(record.trial, record) for record in self._records]
        text = "".join(json.dumps(record.to_json()) + "\n" for record in self._records)
        _write_bytes(self.path / "trials.jsonl", text.encode())
        self.refresh()

    def refresh(self) -> None:
        """Make pareto.json and survivors/ agree with the records: a model that is dominated by now goes."""
        survivors = self.survivors
        met = self.settings.budgets
        write_json(
            self.path / "pareto.json",
            [
                {
                    "name": one.name,
                    "within_budgets": one.objectives.within(met),
                    **one.to_json(),
                    **self._spread_words(one),
                }
                for one in survivors
                if one.tflite
            ],
        )
        names = {one.name for one in survivors}
        for item in self.survivors_folder.glob("*"):
            if item.name.removesuffix(".tflite") not in names:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        heirs = {self._weights(one.parent) for one in survivors if one.inherited}
        for item in (self.path / "weights").glob("*"):
            if item not in heirs and item.stem not in names:
                item.unlink()

    def _spread_words(self, record: Record) -> dict[str, Any]:
        spread = self.spread(record) or Spread(1, record.val_accuracy, 0.0)
        return {
            "seeds": spread.seeds,
            "val_accuracy_mean": spread.mean,
            "val_accuracy_sd": spread.sd if spread.seeds > 1 else None,
        }

    def _weights(self, trial: int) -> Path:
        return self.path / "weights" / f"{_name(trial)}.npz"

    def weights_of(self, trial: int | None) -> bytes | None:
        """What a child of this trial inherits (`inherit.TrainedWeights.to_bytes`); None where it was not kept."""
        if trial is None or not self._weights(trial).exists():
            return None
        return self._weights(trial).read_bytes()

    @property
    def survivors_folder(self) -> Path:
        return self.path / "survivors"

    def with_settings(self, settings: Settings) -> None:
        """Write changed settings (more trials, another start)."""
        self.settings = settings
        write_json(self.path / "settings.json", settings.to_json())


def _append_line(path: Path, record: Record) -> None:
    """A record as one more line, on the disk itself when this returns."""
    line = (json.dumps(record.to_json()) + "\n").encode()
    # Without a buffer: what is left in one when a disk is full would be written as the file is closed.
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError:
            # Half a line would swallow the next one.
            with suppress(OSError):
                os.truncate(file.fileno(), end)
            raise


def _name(trial: int) -> str:
    return f"trial-{trial:04d}"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): start a new run with another --out") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} is damaged: start a new run with another --out")
    return data


def _left_by_a_start(item: Path) -> bool:
    """Whether a creation that was cut short can have left this file."""
    return item == _beside(item.with_name("settings.json")) or (
        item.name == "trials.jsonl" and item.is_file() and not item.stat().st_size
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder against other searches, which would overwrite each other's trials; UserError where one has it.

    The lock goes with the process, however that ends.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{path}: another search is running there; wait for it, or name another --out") from error
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Any) -> None:
    """Write a file in one piece."""
    _write_bytes(path, (json.dumps(data, indent=1) + "\n").encode())


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one piece: a reader or a crash sees the old or the new one."""
    beside = _beside(path)
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
