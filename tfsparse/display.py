"""What a running search shows: a live display on a terminal, a line a trial elsewhere. All of it goes to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tfsparse.job import FIRST_PHASE
from tfsparse.proposals import Proposal, stage_at
from tfsparse.run_folder import COMPLETED, Record, RunFolder

_BAR = 30
# So many running trials have a line of their own.
_SHOWN = 8


class Status:
    """The numbers of a running search: what is done, what runs, the best so far, the time left."""

    def __init__(self, folder: RunFolder, trials: int | None, seconds: float | None, elapsed: Callable[[], float]):
        self.folder = folder
        self.trials = trials
        self.seconds = seconds
        self.elapsed = elapsed
        # The trials that run, by number: what was proposed, the phase and how much of it is done.
        self.running: dict[int, tuple[Proposal, str, float]] = {}
        self._begins: dict[int, float] = {}
        self._here: list[tuple[float, float]] = []
        self._last_end = time.monotonic()

    @property
    def trained(self) -> int:
        return sum(record.status != "infeasible" for record in self.folder.records)

    @property
    def done(self) -> float:
        """How much of the search is done, 0..1."""
        parts = [self.trained / self.trials] if self.trials else []
        parts += [self.elapsed() / self.seconds] if self.seconds else []
        return min(max(parts, default=0.0), 1.0)

    @property
    def best(self) -> Record | None:
        """The survivor with the least error: inside the budgets where one is."""
        survivors = self.folder.survivors
        return survivors[0] if survivors else None

    def began(self, number: int, proposal: Proposal) -> None:
        self.running[number] = proposal, FIRST_PHASE, 0.0
        self._begins[number] = time.monotonic()

    def progress(self, number: int, phase: str, fraction: float) -> None:
        if number in self.running:
            self.running[number] = self.running[number][0], phase, fraction

    def ended(self, record: Record) -> float:
        """Take a trial's end in; seconds it took."""
        self.running.pop(record.trial, None)
        now = time.monotonic()
        # With several workers trials end more often than each takes: the pace is what counts for the time left.
        self._here.append((record.rung, now - self._last_end))
        self._last_end = now
        return now - self._begins.pop(record.trial, now)

    @property
    def left(self) -> float | None:
        """Seconds to the end, by the pace of this start; None before there is one."""
        lefts = []
        if self.trials and self._here:
            pace = sum(took for _, took in self._here) / sum(rung for rung, _ in self._here)
            to_come = sum(_usual_rung(i / self.trials) for i in range(self.trained, self.trials))
            lefts.append(max(pace * to_come - (time.monotonic() - self._last_end), 0.0))
        if self.seconds:
            lefts.append(max(self.seconds - self.elapsed(), 0.0))
        return min(lefts) if lefts else None

    @property
    def stage(self) -> str:
        newest = max(self.running, default=None)
        return stage_at(self.done).name if newest is None else self.running[newest][0].stage

    @property
    def total(self) -> str:
        return str(self.trials) if self.trials else "-"


def _usual_rung(fraction: float) -> float:
    stage = stage_at(fraction)
    return stage.heir_rung or stage.rung


class PlainDisplay:
    """A line when a trial begins to count: for logs and pipes."""

    def __init__(self, status: Status, console: Console):
        self.status = status
        self.console = console

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exception) -> None:
        pass

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def began(self, number: int, proposal: Proposal) -> None:
        self.status.began(number, proposal)

    def progress(self, number: int, phase: str, fraction: float) -> None:
        self.status.progress(number, phase, fraction)

    def ended(self, record: Record) -> None:
        took = self.status.ended(record)
        left = self.status.left
        parts = [f"trial {self.status.trained}/{self.status.total}", record.stage, outcome(record), f"{took:.1f} s"]
        if self.status.best is not None:
            parts.append(f"best {error_text(self.status.best)}")
        if left is not None:
            parts.append(f"{duration(left)} left")
        self.say("  ".join(parts))


class LiveDisplay:
    """A few lines that are redrawn in place, and a line for each trial that ended above them."""

    def __init__(self, status: Status, console: Console):
        self.status = status
        self.console = console
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self._live.__exit__(*exception)

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def began(self, number: int, proposal: Proposal) -> None:
        self.status.began(number, proposal)
        self._live.refresh()  # a quick trial, or a busy machine, may leave no time for a redrawing

    def progress(self, number: int, phase: str, fraction: float) -> None:
        self.status.progress(number, phase, fraction)

    def ended(self, record: Record) -> None:
        took = self.status.ended(record)
        line = Text(f"{record.trial:4d}  {record.stage:<7}  {outcome(record)}  {took:.1f} s", no_wrap=True)
        line.stylize("" if record.status == COMPLETED else "yellow")
        line.overflow = "ellipsis"
        self._live.console.print(line)

    def _draw(self) -> Group:
        status = self.status
        left = status.left
        head = Text.assemble(
            ("trials ", "bold"),
            f"{status.trained}/{status.total}  ",
            ("stage ", "bold"),
            f"{status.stage}  ",
            ("left ", "bold"),
            duration(left) if left is not None else "?",
        )
        lines = [head, ProgressBar(total=1.0, completed=status.done, width=min(_BAR * 2, self.console.width))]
        for number, (_, phase, fraction) in sorted(status.running.items())[:_SHOWN]:
            share = f" {100 * fraction:.0f} %" if fraction else ""
            lines.append(Text.assemble(("now ", "bold"), f"trial {number}: {phase}{share}"))
        if len(status.running) > _SHOWN:
            lines.append(Text(f"and {len(status.running) - _SHOWN} more"))
        best = status.best
        if best is not None:
            lines.append(Text.assemble(("best ", "bold"), outcome(best)))
        for line in lines:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)


Display = PlainDisplay | LiveDisplay


def display_for(status: Status, console: Console) -> Display:
    """A live display where the console is a terminal that can redraw, plain lines elsewhere."""
    return (
        LiveDisplay(status, console)
        if console.is_terminal and not console.is_dumb_terminal
        else (PlainDisplay(status, console))
    )


def error_text(record: Record) -> str:
    return f"{100 * (1 - record.val_accuracy):.2f} %"


def outcome(record: Record) -> str:
    """A trial's result in a few words."""
    if record.status != COMPLETED:
        return f"{record.status}: {record.reason}"
    figures = record.figures
    return f"error {error_text(record)}  flash {figures['flash_model']} B  RAM {figures['ram_model']} B"


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def survivors_words(count: int) -> str:
    return "1 survivor" if count == 1 else f"{count} survivors"


def survivors_table(records: list[Record], folder: RunFolder) -> Table:
    """The survivors, the least error first."""
    table = Table(title=survivors_words(len(records)))
    for column, justify in (
        ("name", "left"),
        ("error", "right"),
        ("test error", "right"),
        ("flash B", "right"),
        ("RAM B", "right"),
        ("MACs", "right"),
        ("instructions", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=column == "name")
    if any(folder.settings.budgets.to_json().values()):
        table.add_column("in budget")
    for record in records:
        test = "" if record.test_accuracy is None else f"{100 * (1 - record.test_accuracy):.2f} %"
        figures = [str(record.figures.get(word, "")) for word in ("flash_model", "ram_model", "macs", "instructions")]
        row = [record.name, error_text(record), test, *figures]
        if any(folder.settings.budgets.to_json().values()):
            row.append("yes" if record.objectives.within(folder.settings.budgets) else "no")
        table.add_row(*row)
    return table
