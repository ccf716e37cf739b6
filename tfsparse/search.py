"""python -m tfsparse.search: find small networks for a data set and a chip, each measured on it.

    python -m tfsparse.search --dataset digits --trials 12 --out runs/demo

leaves trials.jsonl, pareto.json, survivors/ and report.html in runs/demo. Stopped at any moment it goes on with
--resume.
"""

# TensorFlow takes seconds to import: arguments, data and the run folder are checked before it is.
from __future__ import annotations

import argparse
import datetime
import json
import logging
import math
import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsparse.budgets import Budgets, parse_accuracy, parse_bytes
from tfsparse.errors import UserError, run_cli

if TYPE_CHECKING:
    from hil.measure import Measurer
    from tfsparse.candidate import Candidate
    from tfsparse.run_folder import Record, RunFolder, Settings
    from tfsparse.space import DesignSpace
    from tfsparse.workers import Workers
    from tfsparse_datasets import Dataset

DEFAULT_TRIALS = 30

# Two further trainings for each finalist: enough for a mean with an idea of its spread.
FINAL_SEEDS = 3

# A polish takes about as long as a trial.
POLISHED = 3

DEFAULT_TARGET = "emulator"

# With fewer a phase of training is hardly a step.
LEAST_IMAGES = 1000

_PACKAGES = ("tfsparse", "tensorflow", "keras", "keras-tuner", "ai-edge-litert", "numpy", "scipy", "moocore")


def parser() -> argparse.ArgumentParser:
    one = argparse.ArgumentParser(
        prog="python -m tfsparse.search",
        description="Search small convolutional networks for a microcontroller: each candidate is trained, pruned, "
        "converted to int8, compiled to C and measured on the (emulated) chip.",
        epilog="example: python -m tfsparse.search --dataset digits --trials 12 --out runs/demo",
    )
    one.add_argument("--dataset", required=True, metavar="D", help="a data set's name, or a folder of images by class")
    one.add_argument("--out", required=True, type=Path, metavar="RUN", help="the run folder to write")
    one.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets' files lie")
    one.add_argument("--download", action="store_true", help="fetch the data set's official archive if it is not there")
    one.add_argument("--rule", metavar="R", help="how many classes become two, such as lt-half")
    one.add_argument("--size", metavar="HxW", help="stretch all images to this height and width")
    one.add_argument("--budget-flash", metavar="BYTES", help="most flash that a model may take: 16384, 16k or 16KB")
    one.add_argument("--budget-ram", metavar="BYTES", help="most RAM that a model may take, written likewise")
    one.add_argument(
        "--by-rows", action="store_true", help="feed images to models row by row, so that none holds all of one in RAM"
    )
    one.add_argument("--min-accuracy", metavar="SHARE", help="least validation accuracy of use to you: 0.985 or 98.5%%")
    one.add_argument(
        "--trials", type=int, metavar="N", help=f"trained trials, {DEFAULT_TRIALS} if --minutes is not given"
    )
    one.add_argument("--minutes", type=float, metavar="M", help="end after so many minutes of searching")
    one.add_argument(
        "--images", type=int, metavar="N", help="training images that a candidate is shown at first (60,000)"
    )
    one.add_argument(
        "--start",
        type=Path,
        nargs="+",
        metavar="C",
        help="candidates to try first: JSON files of one each, or run folders, whose survivors are meant",
    )
    one.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same proposals (0)")
    one.add_argument(
        "--target",
        metavar="T",
        help="where models are measured: emulator (the default), renode, or a serial port with a board, which is "
        "flashed with each model; several, such as /dev/ttyACM0,/dev/ttyACM1, where one stands in for another; "
        "BOARD@T for another board, such as microbit@emulator",
    )
    one.add_argument("--workers", type=int, metavar="W", help="candidates at a time, with Ray (1: without it)")
    one.add_argument("--address", metavar="A", help="the Ray cluster to work on, such as auto or 10.0.0.1:6379")
    one.add_argument(
        "--final-seeds",
        type=int,
        metavar="N",
        help=f"train the best survivors with so many seeds at the end ({FINAL_SEEDS}); 1: no further one",
    )
    one.add_argument(
        "--polish", type=int, metavar="N", help=f"survivors to polish at the end ({POLISHED}), where it helps; 0: none"
    )
    one.add_argument("--resume", action="store_true", help="go on with the run in --out, with its settings")
    one.add_argument("--json", action="store_true", help="print the survivors as JSON at the end, on stdout")
    return one


@dataclass(frozen=True)
class Options:
    """The command line, checked; None where it says nothing."""

    dataset: str
    out: Path
    data_dir: Path | None
    download: bool
    rule: str | None
    size: tuple[int, int] | None
    budgets: Budgets
    by_rows: bool
    trials: int | None
    minutes: float | None
    images: int | None
    start: tuple[Path, ...]
    seed: int | None
    target: str | None
    workers: int | None
    address: str | None
    final_seeds: int
    polish: int
    resume: bool
    json: bool

    @classmethod
    def parse(cls, arguments: list[str] | None) -> Options:
        given = parser().parse_args(arguments)
        if given.trials is not None and given.trials < 1:
            raise UserError(f"--trials {given.trials}: give at least 1")
        if given.minutes is not None and not 0 < given.minutes < math.inf:
            raise UserError(f"--minutes {given.minutes:g}: give a number above 0")
        if given.images is not None and given.images < LEAST_IMAGES:
            raise UserError(f"--images {given.images}: give at least {LEAST_IMAGES}")
        if given.seed is not None and given.seed < 0:
            raise UserError(f"--seed {given.seed}: give 0 or more")
        if given.workers is not None and given.workers < 1:
            raise UserError(f"--workers {given.workers}: give at least 1")
        if given.final_seeds is not None and given.final_seeds < 1:
            raise UserError(f"--final-seeds {given.final_seeds}: give at least 1")
        if given.polish is not None and given.polish < 0:
            raise UserError(f"--polish {given.polish}: give 0 or more")
        if given.target is not None:
            from hil.targets import target_names

            target_names(given.target)
        flash = None if given.budget_flash is None else parse_bytes(given.budget_flash)
        ram = None if given.budget_ram is None else parse_bytes(given.budget_ram)
        return cls(
            dataset=given.dataset,
            out=given.out,
            data_dir=given.data_dir,
            download=given.download,
            rule=given.rule,
            size=_size(given.size),
            budgets=Budgets(flash, ram, None if given.min_accuracy is None else 1 - parse_accuracy(given.min_accuracy)),
            by_rows=given.by_rows,
            trials=given.trials,
            minutes=given.minutes,
            images=given.images,
            start=tuple(given.start or ()),
            seed=given.seed,
            target=given.target,
            workers=given.workers,
            address=given.address,
            final_seeds=FINAL_SEEDS if given.final_seeds is None else given.final_seeds,
            polish=POLISHED if given.polish is None else given.polish,
            resume=given.resume,
            json=given.json,
        )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UserError(f"--size {text}: give height and width, such as 32x32")
    return int(height), int(width)


def main(arguments: list[str] | None = None) -> int:
    options = Options.parse(arguments)
    from tfsparse.run_folder import RunFolder, locked

    with ExitStack() as stack:
        earlier = None
        if options.resume and RunFolder.exists(options.out):
            stack.enter_context(locked(options.out))
            earlier = RunFolder.open(options.out)
        else:
            RunFolder.check_vacant(options.out)
        dataset, seed = _dataset(options, earlier.settings if earlier else None)
        settings = _settings(options, dataset, seed, earlier.settings if earlier else None)
        _check_budgets(settings)
        import_tensorflow_quietly()
        workshop = stack.enter_context(_workshop(settings, options, dataset))
        _check_target(settings, workshop.measurer)
        if earlier is None:
            folder = RunFolder.create(options.out, settings)
            stack.enter_context(locked(options.out))
        else:
            folder = earlier
            folder.with_settings(settings)
            folder.refresh()
        return run(folder, dataset, options, workshop)


def _dataset(options: Options, earlier: Settings | None) -> tuple[Dataset, int]:
    """The data, and the seed of their split; what the command line leaves out is as it was."""
    from tfsparse_datasets import load

    seed = options.seed if options.seed is not None else (earlier.seed if earlier else 0)
    rule = options.rule or (earlier.rule if earlier and ":" not in options.dataset else None)
    size = options.size or (earlier.data_shape[:2] if earlier else None)
    dataset = load(options.dataset, options.data_dir, rule=rule, seed=seed, size=size, download=options.download)
    return dataset, seed


def _settings(options: Options, dataset: Dataset, seed: int, earlier: Settings | None) -> Settings:
    """The run's settings; where it is resumed they must be the earlier ones, but for the trials."""
    from tfsparse.run_folder import Settings
    from tfsparse.rung import RUNG_SAMPLES

    budgets = options.budgets
    trials, minutes, target = options.trials, options.minutes, options.target
    if earlier is not None:
        budgets = Budgets(
            budgets.flash or earlier.budgets.flash,
            budgets.ram or earlier.budgets.ram,
            budgets.error or earlier.budgets.error,
        )
        target = target or earlier.target
        if trials is None and minutes is None:
            trials, minutes = earlier.trials, earlier.minutes
    elif trials is None and minutes is None:
        trials = DEFAULT_TRIALS
    settings = Settings(
        dataset=dataset.name,
        rule=dataset.rule,
        data_shape=tuple(int(size) for size in dataset.shape),
        classes=len(dataset.class_names),
        budgets=budgets,
        seed=seed,
        target=target or DEFAULT_TARGET,
        trials=trials,
        minutes=minutes,
        versions={name: _version(name) for name in _PACKAGES},
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=_command(sys.argv[1:]),
        data_note=dataset.note,
        board=_board(target or DEFAULT_TARGET, away=options.address is not None),
        by_rows=options.by_rows or (earlier is not None and earlier.by_rows),
        images=options.images or (earlier.images if earlier else RUNG_SAMPLES),
        chance=dataset.chance,
    )
    if options.start:
        from tfsparse.start import start_candidates

        settings = replace(settings, start=start_candidates(options.start, _space(settings), _say))
    elif earlier is not None:
        settings = replace(settings, start=earlier.start)
    if earlier is not None:
        for name in Settings.IDENTITY:
            before, now = getattr(earlier, name), getattr(settings, name)
            if name == "start" and before != now:
                raise UserError(f"{options.out} was begun with other candidates: resume it without --start")
            if before != now:
                raise UserError(
                    f"{options.out} was begun with {name} {before}, not {now}: "
                    "resume it with the same settings, or name another --out"
                )
        settings = replace(settings, started=earlier.started, command=earlier.command)
    return settings


def _command(arguments: list[str]) -> str:
    """The command that begins the search anew: a first start may have been told to go on with what there is."""
    told = [one for one in arguments if not (len(one) > 3 and "--resume".startswith(one))]
    return shlex.join(["python", "-m", "tfsparse.search", *told])


def _say(text: str) -> None:
    """A line for the user; stdout is the survivors'."""
    print(text, file=sys.stderr)


def _space(settings: Settings) -> DesignSpace:
    """The run's design space, under its budgets and what its chip has."""
    from tfsparse.space import DesignSpace

    hard = settings.budgets.tighter(chip_of(settings.board))
    return DesignSpace(settings.data_shape, settings.classes, hard, by_rows=settings.by_rows)


def _board(target: str, away: bool) -> str:
    """The board behind the target, which for a serial port is asked; `away`: the port is another machine's."""
    from hil.targets import board_by_name, common_board, target_names

    return (board_by_name if away else common_board)(target_names(target)).name


def chip_of(board: str) -> Budgets:
    """What the board's chip has: a model bigger than that is turned away before it is trained."""
    from hil.recipe import load_board

    chip = load_board(board)
    return Budgets(flash=chip.flash_size, ram=chip.ram_size)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _check_budgets(settings: Settings) -> None:
    """UserError where no candidate could meet the budgets, or fit the chip at all."""
    from tfsparse.space import DesignSpace

    least = DesignSpace(settings.data_shape, settings.classes, by_rows=settings.by_rows).least
    image = "x".join(map(str, settings.data_shape))
    chip = chip_of(settings.board)
    if least.ram > chip.ram:
        raise UserError(
            f"images of {image} need at least {least.ram} bytes of RAM and the chip has {chip.ram}: "
            "make them smaller with --size"
        )
    if settings.budgets.ram is not None and least.ram > settings.budgets.ram:
        raise UserError(
            f"no candidate meets --budget-ram {settings.budgets.ram}: for images of {image} every one holds at least "
            f"{least.ram} bytes at once; give that much, {'' if settings.by_rows else 'feed them with --by-rows, '}"
            "or make the images smaller with --size"
        )
    if settings.budgets.flash is not None and least.flash > settings.budgets.flash:
        raise UserError(
            f"no candidate meets --budget-flash {settings.budgets.flash}: every one takes at least {least.flash} bytes"
        )


def import_tensorflow_quietly() -> None:
    """TensorFlow and Keras Tuner without the lines that they write past Python's streams while they are imported."""
    from tfsparse.quiet import import_quietly

    import_quietly("keras_tuner")
    # Every candidate is another graph: that TensorFlow traces them anew is no news.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def run(folder: RunFolder, dataset: Dataset, options: Options, workshop: Workshop) -> int:
    """Search with the real evaluation, then polish survivors, look at their test accuracy, compile them and write the
    report."""
    from rich.console import Console

    console = Console(stderr=True)
    with Interrupts() as interrupts:
        try:
            workers = workshop.workers(folder.path)
            search(folder, workers, console, interrupts)
            repeat(folder, workers, options.final_seeds, console, interrupts)
            polish(folder, dataset, workshop.measurer, options.polish, console, interrupts)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
        except UserError:
            # Whatever ended it, what was found so far can be read.
            with suppress(UserError):
                _report(folder)
            raise
        if not stopped:
            finish(folder, dataset, console)
    again = _again(options)
    if stopped:
        with suppress(UserError):
            _report(folder)
        kept = f"stopped after {len(folder.records)} trials, all kept; go on with:\n  {again}"
        console.print(kept, markup=False, soft_wrap=True)
        return 130
    _summary(folder, options, console, again)
    return 0


@dataclass(frozen=True)
class Workshop:
    """The target, for a look before the search, and the workers of the search, given the run folder's path."""

    measurer: Measurer
    workers: Callable[[Path], Workers]


@contextmanager
def _workshop(settings: Settings, options: Options, dataset: Dataset) -> Iterator[Workshop]:
    """One worker is this process, with the target held for the whole search; more of them are Ray's."""
    import tempfile

    from hil.pool import open_measurer
    from tfsparse.attempts import Attempts
    from tfsparse.workers import Inline

    knobs = {"images": settings.images, "ram_budget": settings.budgets.tighter(chip_of(settings.board)).ram}
    if options.address is not None or (options.workers or 1) > 1:
        from tfsparse.cluster import RayCluster

        with RayCluster(options.workers, options.address, target=settings.target, by_rows=settings.by_rows) as cluster:
            yield Workshop(
                cluster.measurer(), lambda run: cluster.workers(evaluator, dataset, cache=_cache(run), **knobs)
            )
        return
    # Not in the run folder: what a kill leaves behind here is no one's.
    with (
        tempfile.TemporaryDirectory(prefix="tfsparse-") as workdir,
        open_measurer(settings.target, "sparse", Path(workdir), upload=True, by_rows=settings.by_rows) as measurer,
    ):
        yield Workshop(
            measurer,
            lambda run: Inline(
                evaluator(dataset, measurer=measurer, cache=_cache(run), **knobs),
                Attempts(run),
            ),
        )


def _cache(run: Path) -> Path:
    """Where in the run folder lies what is made once for a data set."""
    return run / "teacher"


def _check_target(settings: Settings, measurer: Measurer) -> None:
    """Measure the smallest network: a tool that is missing, a silent target and budgets that nothing can meet show
    before the first training, not after it."""
    import tempfile

    from tfsparse.convert import least_model
    from tfsparse.space import DesignSpace

    space = DesignSpace(settings.data_shape, settings.classes, by_rows=settings.by_rows)
    budgets = {"flash": settings.budgets.flash, "ram": settings.budgets.ram}
    found: dict[str, list[int]] = {name: [] for name in budgets}

    def exceeded() -> list[str]:
        return [name for name, budget in budgets.items() if budget is not None and min(found[name]) > budget]

    with tempfile.TemporaryDirectory(prefix="tfsparse-") as folder:
        path = Path(folder) / "smallest.tflite"
        # Which head takes the fewest bytes hangs on the kernels that the compiler takes for it.
        for candidate in space.smallest_by_head:
            path.write_bytes(least_model(space.network(candidate)))
            figures = measurer.measure(path)
            found["flash"].append(figures.flash_model)
            found["ram"].append(figures.ram_model)
            if not exceeded():
                return
    name = exceeded()[0]
    raise UserError(
        f"no candidate meets --budget-{name} {budgets[name]}: the smallest network takes {min(found[name])} bytes on "
        "the target, its code and stack included; give that much or more"
    )


def evaluator(
    dataset: Dataset, *, measurer: Measurer, cache: Path, images: int, ram_budget: int | None
) -> Callable[..., Any]:
    """The real evaluation (`job.Evaluate`): trains, a rung of 1 on so many images, and measures on the target, where
    RAM is seen to be within the budget before."""
    import_tensorflow_quietly()
    from tfsparse.rung import Rung
    from tfsparse.trial import evaluate

    def judge(candidate, *, rung: float, **keywords):
        return evaluate(
            candidate,
            dataset,
            rung=Rung.of(rung, images),
            measurer=measurer,
            cache=cache,
            ram_budget=ram_budget,
            **keywords,
        )

    return judge


def search(folder: RunFolder, workers: Workers, console, interrupts: Interrupts | None = None) -> None:
    """Run trials until the settings' trials or minutes are reached, each on disk before the oracle hears of it."""
    from tfsparse.display import Status, display_for
    from tfsparse.oracle import Goal, SparseOracle, SparseTuner

    settings = folder.settings
    seconds = None if settings.minutes is None else 60 * settings.minutes
    goal = Goal(settings.trials, seconds)
    oracle = SparseOracle(
        _space(settings), settings.budgets, goal, settings.seed, first=settings.start, chance=settings.chance
    )
    oracle.restore(folder.records)
    status = Status(folder, settings.trials, seconds, lambda: oracle.elapsed)
    hold = (interrupts or Interrupts()).held
    with display_for(status, console) as display:
        for notice in folder.notices:
            display.say(notice)

        def write(record: Record, tflite: bytes | None, weights: bytes | None) -> Record:
            with hold():
                return folder.append(record, tflite, weights)

        tuner = SparseTuner(
            oracle,
            workers,
            folder.path,
            seed=settings.seed,
            write=write,
            weights_of=folder.weights_of,
            began=display.began,
            progress=display.progress,
            ended=display.ended,
        )
        tuner.search()


def repeat(folder: RunFolder, workers: Workers, seeds: int, console, interrupts: Interrupts) -> None:
    """Train the finalists with further seeds and rank them by the means."""
    from rich.progress import Progress

    from tfsparse.finalists import repeat_finalists

    def write(record: Record) -> None:
        with interrupts.held():
            folder.append_repeat(record)

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("finalists, further seeds", total=None)
        repeat_finalists(
            folder,
            workers,
            seeds,
            write=write,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for record in folder.survivors:
        if spread := folder.spread(record):
            console.print(f"{record.name}: {spread}", markup=False, soft_wrap=True)


def polish(folder: RunFolder, dataset: Dataset, measurer: Measurer, most: int, console, interrupts: Interrupts) -> None:
    """Quantisation-aware polish of the best survivors, kept where it helps."""
    from tfsparse.finetune import polish_survivors

    polish_survivors(
        folder,
        dataset,
        measurer,
        most,
        say=lambda text: console.print(text, markup=False, soft_wrap=True),
        hold=interrupts.held,
    )


def finish(folder: RunFolder, dataset: Dataset, console) -> None:
    """Survivors only, once the search is over: test accuracy (looked at once each), C code and figures, the report."""
    from tfsparse.compiler import compile_model
    from tfsparse.display import survivors_words
    from tfsparse.run_folder import write_json

    survivors = folder.survivors
    console.print(f"{survivors_words(len(survivors))}: test accuracy, C code, report", markup=False)
    new = [
        replace(record, test_accuracy=test_accuracy(record.candidate, folder.path / record.tflite, dataset))
        for record in survivors
        if record.test_accuracy is None
    ]
    if new:
        folder.amend(new)
    for record in folder.survivors:
        code = folder.survivors_folder / record.name
        if not (code / "figures.json").exists():
            compile_model(folder.path / record.tflite, code, by_rows=folder.settings.by_rows)
            write_json(code / "figures.json", record.to_json())
    _report(folder)


def test_accuracy(candidate: Candidate, model: Path | bytes, dataset: Dataset) -> float:
    """A candidate's int8 model's accuracy on the test part, with TFLite's reference kernels."""
    import numpy as np

    from tfsparse.reference import Interpreter
    from tfsparse.trial import model_images

    images = model_images(candidate, dataset.test.images).astype(np.float32) / 255
    return Interpreter(model).accuracy(images, dataset.test.labels)


def _report(folder: RunFolder) -> Path:
    from tfsparse.report import write_report

    return write_report(folder.path)


def _again(options: Options) -> str:
    """The command that goes on with this run: what settings.json does not keep is named again."""
    words = ["python", "-m", "tfsparse.search", "--dataset", options.dataset, "--out", str(options.out), "--resume"]
    if options.data_dir is not None:
        words += ["--data-dir", str(options.data_dir)]
    if options.size is not None:
        words += ["--size", "x".join(map(str, options.size))]
    if options.workers is not None:
        words += ["--workers", str(options.workers)]
    if options.address is not None:
        words += ["--address", options.address]
    if options.final_seeds != FINAL_SEEDS:
        words += ["--final-seeds", str(options.final_seeds)]
    if options.polish != POLISHED:
        words += ["--polish", str(options.polish)]
    return shlex.join(words)


def _summary(folder: RunFolder, options: Options, console, again: str) -> None:
    from rich.console import Console

    from tfsparse.display import survivors_table

    survivors = folder.survivors
    if options.json:
        print(json.dumps(json.loads((folder.path / "pareto.json").read_text())))
        return
    out = Console()
    out.print(survivors_table(survivors, folder))
    budgets = folder.settings.budgets
    if survivors and not survivors[0].objectives.within(budgets):
        out.print(f"None meets the budgets ({budgets}) yet: these come nearest. More trials may.", markup=False)
    out.print(f"Report: {folder.path / 'report.html'}", markup=False, soft_wrap=True)
    if survivors:
        best = folder.path / survivors[0].tflite
        fed = " --by-rows" if folder.settings.by_rows else ""
        out.print(f"Measure one again: python -m hil.measure{fed} {best}", markup=False, soft_wrap=True)
    more = 2 * (folder.settings.trials or len(folder.records))
    out.print(f"Search on: {again} --trials {more}", markup=False, soft_wrap=True)


class Interrupts:
    """Ctrl-C and termination as KeyboardInterrupt, put off while a trial is being written.

    Where Python drops an exception, in a finaliser say, the next write raises it again.
    """

    def __init__(self) -> None:
        self._holding = False
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        self._asked = True
        if not self._holding:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._asked:
                raise KeyboardInterrupt


if __name__ == "__main__":
    run_cli(main)
