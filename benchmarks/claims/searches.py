"""The searches that the claims are judged by: real ones, on scikit-learn's digits, every candidate trained and measured
on the emulated chip, with the search's own oracle, tuner and run folder.

Arms differ in one thing each. `inside` searches the whole space, with all kinds of pruning; `fresh` does the same, and
nothing inherits weights. `after` spends two thirds of its trials on a search over dense networks and the last third on
pruning that search's front. `unstructured` and `structured` search with that kind of pruning alone, for two thirds of
the trials: as many as the dense search had. Equal seeds begin with equal architectures.

Each search is a run folder in an ignored place, named after the code that makes it: stopped at any moment, the command
goes on behind the last finished trial.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cells import FOLDER, ROOT, fingerprint
from tfsparse.budgets import Budgets
from tfsparse.candidate import PRUNINGS, Candidate
from tfsparse.job import Job, Outcome, run_job, trial_seed
from tfsparse.network import Network, network_of
from tfsparse.proposals import Proposal, Proposer
from tfsparse.run_folder import COMPLETED, INFEASIBLE, Record, RunFolder, Settings
from tfsparse.rung import RUNG_SAMPLES, Rung
from tfsparse.space import DesignSpace

if TYPE_CHECKING:
    from tfsparse_datasets import Dataset

DATA = "digits"
# Networks that err more are of no use to anybody; the search is told so, as a user would tell it.
BUDGETS = Budgets(error=0.1)
# Bits are no claim of the paper's: all weights have eight. More blocks than two gain little on 8x8 images, and a short
# training's cost is mostly TensorFlow's tracing, which grows with the depth.
BITS = (8,)
BLOCKS = 2
DENSE_SHARE = 2 / 3

# How the front of dense networks is pruned, until the trials are spent: each of so many of its members, the most
# accurate first, in the first way, then each in the second, and so on. They start from their dense weights, and train
# as long as the search's last stage does.
MEMBERS = 3
WAYS = (("unstructured", 1.0), ("structured", 1.0), ("unstructured", 3.0), ("structured", 0.3))
PRUNE_RUNG = 2.0
PRUNE = "prune"


@dataclass(frozen=True)
class Arm:
    """A way to search: the kinds of pruning that its space has, its share of the trials, whether morphs of the front
    begin with their parents' weights, and whether the front is pruned afterwards, with the rest of the trials."""

    prunings: tuple[str, ...] = PRUNINGS
    share: float = 1.0
    inherits: bool = True
    prunes_front: bool = False

    def trials(self, trials: int) -> int:
        """Of so many trials, those of the search itself."""
        return round(self.share * trials)


ARMS = {
    "inside": Arm(),
    "after": Arm(("none",), DENSE_SHARE, prunes_front=True),
    "fresh": Arm(inherits=False),
    "structured": Arm(("structured",), DENSE_SHARE),
    "unstructured": Arm(("unstructured",), DENSE_SHARE),
}


@dataclass(frozen=True)
class Trial:
    """One trial of an arm's search. Errors are shares of 1, of the int8 model (`error`: validation); flash and RAM are
    bytes of the emulated chip. `nnz` are the non-zero weights, `memory` the larger of the paper's layer-wise bounds
    over the pruned network's activations (working_memory_2), `edges` the connections of the network before pruning,
    one a multiply-accumulate. `images` were shown in training, `parent` is the trial whose morph or pruning this is.
    Where the trial came to nothing, figures are None.
    """

    arm: str
    seed: int
    trial: int
    stage: str
    pruning: str
    status: str
    inherited: bool
    images: int
    seconds: float
    parent: int | None = None
    error: float | None = None
    test_error: float | None = None
    flash: int | None = None
    ram: int | None = None
    instructions: int | None = None
    nnz: int | None = None
    memory: int | None = None
    edges: int | None = None

    @property
    def completed(self) -> bool:
        return self.status == COMPLETED


class FreshProposer(Proposer):
    """Proposes what the search proposes, for as long a training each, but from fresh weights, and knows it."""

    def _pool(self, *arguments) -> list[Proposal]:
        return [replace(proposal, inherits=False) for proposal in super()._pool(*arguments)]


class Laboratory:
    """Runs arms' searches. `evaluate` is the search's own (see `job.Evaluate`); `tell` is called after every trial
    that counts, once for those of an earlier run as well."""

    def __init__(
        self,
        dataset: Dataset,
        evaluate: Callable[..., Any],
        folder: Path,
        tell: Callable[[], None] = lambda: None,
    ):
        self.dataset = dataset
        self.evaluate = evaluate
        self.folder = folder
        self.tell = tell

    @cached_property
    def _chip(self) -> Budgets:
        from tfsparse.search import chip_of

        return chip_of("stm32f405_qemu")

    def _space(self, prunings: Sequence[str]) -> DesignSpace:
        classes = len(self.dataset.class_names)
        return DesignSpace(
            self.dataset.shape, classes, self._chip, max_blocks=BLOCKS, weight_bits=BITS, prunings=tuple(prunings)
        )

    def trials(self, name: str, trials: int, seed: int) -> list[Trial]:
        """All trials of an arm's search with this seed, those that are not on disk yet after running them."""
        arm = ARMS[name]
        searched = self._search(arm, arm.trials(trials), seed, f"{name}-{trials}-{seed}")
        folders = [searched]
        if arm.prunes_front:
            rest = trials - arm.trials(trials)
            folders.append(self._prune_front(searched, rest, seed, f"{name}-{trials}-{seed}-{PRUNE}"))
        records = [record for folder in folders for record in folder.records if record.status != INFEASIBLE]
        # The first folder's numbers are those that parents are known by.
        numbers = {record.trial: number for number, record in enumerate(records) if record.stage != PRUNE}
        return [self._trial(name, seed, number, record, numbers) for number, record in enumerate(records)]

    def _open(self, name: str, trials: int, seed: int) -> RunFolder:
        """The run folder of this name; new where there is none."""
        path = self.folder / name
        if RunFolder.exists(path):
            return RunFolder.open(path)
        settings = Settings(
            dataset=self.dataset.name,
            rule=self.dataset.rule,
            data_shape=tuple(int(size) for size in self.dataset.shape),
            classes=len(self.dataset.class_names),
            budgets=BUDGETS,
            seed=seed,
            target="emulator",
            trials=trials,
            minutes=None,
            versions={},
            machine="",
            started="",
            command="python -m benchmarks.claims",
        )
        return RunFolder.create(path, settings)

    def _search(self, arm: Arm, trials: int, seed: int, name: str) -> RunFolder:
        from tfsparse.oracle import Goal, SparseOracle, SparseTuner
        from tfsparse.workers import Inline

        folder, space = self._open(name, trials, seed), self._space(arm.prunings)
        oracle = SparseOracle(space, BUDGETS, Goal(trials), seed)
        if not arm.inherits:
            oracle.proposer = FreshProposer(space, BUDGETS, seed)
        oracle.restore(folder.records)
        self._told(folder)
        shown: dict[int, float] = {}

        def progress(number: int, phase: str, fraction: float) -> None:
            if phase == "train":
                shown[number] = fraction

        def write(record: Record, tflite: bytes | None, weights: bytes | None) -> Record:
            return self._append(folder, Outcome(record, tflite, weights), shown.get(record.trial, 0.0))

        SparseTuner(
            oracle,
            Inline(self.evaluate),
            folder.path,
            seed=seed,
            write=write,
            weights_of=folder.weights_of if arm.inherits else lambda trial: None,
            progress=progress,
        ).search()
        return folder

    def _prune_front(self, dense: RunFolder, trials: int, seed: int, name: str) -> RunFolder:
        """Members of a dense search's front, pruned in several ways, each from its own weights."""
        folder = self._open(name, trials, seed)
        self._told(folder)
        members = dense.survivors[:MEMBERS]
        jobs = [(member, way) for way in WAYS for member in members][:trials]
        for number, (member, (pruning, kl_weight)) in enumerate(jobs):
            if number < len(folder.records):
                continue
            training = replace(member.candidate.training, pruning=pruning, kl_weight=kl_weight)
            candidate = replace(member.candidate, training=training)
            proposal = Proposal(candidate, PRUNE, PRUNE_RUNG, member.trial, "training pruning", inherits=True)
            shown = [0.0]

            def progress(phase: str, fraction: float, shown: list[float] = shown) -> None:
                shown[0] = fraction if phase == "train" else shown[0]

            # Behind the search's own numbers: no training has the seed of one before.
            number_seed = trial_seed(seed, len(dense.records) + number)
            job = Job(number, number_seed, proposal, parent_weights=dense.weights_of(member.trial))
            self._append(folder, run_job(job, self.evaluate, progress), shown[0])
        return folder

    def _told(self, folder: RunFolder) -> None:
        for record in folder.records:
            if record.status != INFEASIBLE:
                self.tell()

    def _append(self, folder: RunFolder, outcome: Outcome, shown: float) -> Record:
        """A trial on disk, with the images that it was shown and, as no trial here is chosen by it, its accuracy on the
        test part."""
        record = outcome.record
        figures = dict(record.figures)
        if record.status != INFEASIBLE:
            rung = Rung.of(record.rung).affordable(self._network(record.candidate).macs)
            figures["images"] = round(rung.samples * record.candidate.training.epochs * shown)
        record = replace(record, figures=figures)
        if outcome.tflite is not None:
            from tfsparse.search import test_accuracy

            accuracy = test_accuracy(record.candidate, outcome.tflite, self.dataset)
            record = replace(record, test_accuracy=accuracy)
        record = folder.append(record, outcome.tflite, outcome.weights)
        if record.status != INFEASIBLE:
            self.tell()
        return record

    def _network(self, candidate: Candidate) -> Network:
        return network_of(candidate, self.dataset.shape, len(self.dataset.class_names))

    def _trial(self, arm: str, seed: int, number: int, record: Record, numbers: dict[int, int]) -> Trial:
        figures = {}
        if record.status == COMPLETED:
            figures = {
                "error": round(1 - record.val_accuracy, 6),
                "test_error": round(1 - record.test_accuracy, 6),
                "flash": record.figures["flash_model"],
                "ram": record.figures["ram_model"],
                "instructions": record.figures["instructions"],
                "nnz": record.figures["model_size_counted"],
                "memory": record.figures["working_memory_2"],
                "edges": self._network(record.candidate).macs,
            }
        return Trial(
            arm,
            seed,
            number,
            record.stage,
            record.candidate.training.pruning,
            record.status,
            record.inherited,
            record.figures["images"],
            round(sum(record.seconds.values()), 2),
            numbers.get(record.parent),
            **figures,
        )


def code() -> str:
    """What tells the searches of one version of the code from those of another."""
    # What shows, reports and runs searches elsewhere changes no figure.
    aside = {"charts", "cluster", "display", "finalists", "finetune", "picture", "qat", "report", "quiet"}
    package = ROOT / "tfsparse"
    files = [path for path in package.glob("*.py") if path.stem not in aside]
    files += [
        path
        for part in ("layers", "compiler")
        for path in (package / part).rglob("*")
        if path.suffix in (".py", ".c", ".h", ".inc")
    ]
    return fingerprint([Path(__file__), *sorted(files)])


@contextmanager
def laboratory(tell: Callable[[], None], folder: Path | None = None) -> Iterator[Laboratory]:
    """The real one: digits, TensorFlow on one thread, the emulator."""
    from tfsparse.quiet import import_quietly

    import_quietly("keras_tuner")
    import_quietly("tfsparse.trial")
    import tensorflow as tf

    from hil.measure import Measurer
    from tfsparse.search import evaluator
    from tfsparse_datasets import load

    # Trainings this small gain nothing from more threads.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")
    folder = folder or FOLDER / "claims" / code()
    with (
        tempfile.TemporaryDirectory(prefix="tfsparse-") as workdir,
        Measurer(target="emulator", runtime="sparse", workdir=Path(workdir)) as measurer,
    ):
        dataset = load(DATA, None)
        evaluate = evaluator(dataset, measurer=measurer, cache=folder / "teacher", images=RUNG_SAMPLES, ram_budget=None)
        yield Laboratory(dataset, evaluate, folder, tell)
