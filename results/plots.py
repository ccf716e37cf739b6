"""Accuracy against bytes: our entries, their front, others' figures and our baselines, by how sure and of what kind.

One drawing serves the page (SVG in the page's own colours, light and dark) and the picture (PNG).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.published import MEASURED, PRIMARY
from tfsparse import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BYTES = 1 << 16
"""What is larger has no place in a chart of microcontrollers' models; the tables have it."""

# What charts are drawn in (the page's style sheet), and what a picture of its own has in its place.
_LIGHT = {
    charts.INK: "#1d2329",
    charts.FAINT: "#6a737d",
    charts.LINE: "#e3e5e8",
    charts.ACCENT: "#0b66c3",
    charts.BUDGET: "#b4451f",
    charts.PAGE: "#ffffff",
    charts.INSIDE: "#2a8a4a",
}
# Steps between the ticks of accuracy where errors are alike, and all ticks where they differ several times.
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_WIDE = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999)
_MOST_TICKS = 8

OURS, OURS_BY_ROWS, BASELINE = "ours", "ours, fed by rows", "baseline"


@dataclass(frozen=True)
class Mark:
    """One point: bytes, accuracy (a share) with its deviation, its label, and what it is: OURS, OURS_BY_ROWS, BASELINE
    or a published figure's (kind, sure)."""

    size: float
    accuracy: float
    label: str
    what: str | tuple[str, str]
    deviation: float = 0.0

    @property
    def ours(self) -> bool:
        return self.what in (OURS, OURS_BY_ROWS)


def shown(marks: Sequence[Mark]) -> list[Mark]:
    """Those that have a place in a chart."""
    return [mark for mark in marks if 0 < mark.size <= MOST_BYTES]


def accuracy_chart(marks: Sequence[Mark], *, name: str, x_label: str) -> str:
    """The chart as an SVG element of a page with the report's style sheet; `name` keeps its ids apart."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(charts.STYLE):
        figure = Figure(figsize=(5.4, 3.9), layout="constrained", facecolor="none")
        _draw(figure.add_subplot(), shown(marks), x_label, {colour: colour for colour in _LIGHT})
    return charts.svg_element(figure, (), name, f"accuracy against {x_label}")


def picture(panels: Sequence[tuple[str, Sequence[Mark], Sequence[Mark]]]) -> bytes:
    """A PNG: a column for each data set (title, marks by model bytes, marks by RAM), on a white ground."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {key: _LIGHT.get(value, value) if isinstance(value, str) else value for key, value in charts.STYLE.items()}
    buffer = io.BytesIO()
    with matplotlib.rc_context({**style, "axes.titleweight": "bold", "axes.titlelocation": "left"}):
        figure = Figure(figsize=(5.0 * len(panels), 7.6), layout="constrained", facecolor="white", dpi=100)
        axes = figure.subplots(2, len(panels), squeeze=False)
        for (title, by_model, by_ram), (upper, lower) in zip(panels, axes.T, strict=True):
            upper.set_title(title)
            _draw(upper, shown(by_model), "model: payload, or as counted", _LIGHT)
            _draw(lower, shown(by_ram), "RAM: ram_model, or as counted", _LIGHT)
        handles = _legend(sorted({mark.what for p in panels for m in p[1:] for mark in shown(m)}, key=str), _LIGHT)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _looks(what: str | tuple[str, str], colours: dict[str, str]) -> dict:
    """Colour is whose it is; form is counted or measured; a dashed edge is a figure at second hand."""
    if what == BASELINE:
        return {"marker": "x", "c": colours[charts.FAINT], "s": 26, "linewidth": 1.1}
    if what in (OURS, OURS_BY_ROWS):
        marker = "o" if what == OURS else "^"
        return {
            "marker": marker,
            "color": colours[charts.ACCENT],
            "edgecolor": colours[charts.INK],
            "s": 46,
            "linewidth": 0.8,
        }
    kind, sure = what
    edge = colours[charts.BUDGET]
    return {
        "marker": "s" if kind == MEASURED else "D",
        "color": edge if kind == MEASURED else "none",
        "edgecolor": edge,
        "s": 34,
        "linewidth": 1.2,
        "linestyle": "-" if sure == PRIMARY else (0, (1.2, 1.0)),
    }


def words(what: str | tuple[str, str]) -> str:
    """What a mark is, for legends."""
    return what if isinstance(what, str) else f"published, {what[0]}, {what[1]}"


def _legend(kinds: Sequence[str | tuple[str, str]], colours: dict[str, str]) -> list:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    return [axes.scatter([], [], label=words(what), **_looks(what, colours)) for what in kinds]


def _draw(axes: Axes, marks: Sequence[Mark], x_label: str, colours: dict[str, str]) -> None:
    axes.tick_params(length=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel("test accuracy")
    if not marks:
        axes.text(0.5, 0.5, "no figure yet", transform=axes.transAxes, ha="center", color=colours[charts.FAINT])
        axes.set_xticks([])
        axes.set_yticks([])
        return
    _byte_axis(axes, [mark.size for mark in marks])
    _accuracy_axis(axes, marks)
    front = _front([mark for mark in marks if mark.ours])
    if len(front) > 1:
        x, y = [mark.size for mark in front], [_height(mark.accuracy) for mark in front]
        axes.step(x, y, where="post", color=colours[charts.ACCENT], linewidth=1.1, alpha=0.6, zorder=2)
    for mark in marks:
        axes.scatter([mark.size], [_height(mark.accuracy)], zorder=4 if mark.ours else 3, **_looks(mark.what, colours))
        if mark.deviation:
            ends = [_height(mark.accuracy - mark.deviation), _height(mark.accuracy + mark.deviation)]
            axes.plot([mark.size] * 2, ends, color=colours[charts.ACCENT], linewidth=0.9, zorder=3)
    _label(axes, marks, colours)


def _height(accuracy: float) -> float:
    """Where an accuracy stands: half the error is the same step wherever it is."""
    return -np.log2(max(1 - accuracy, 1e-4))


def _front(marks: Sequence[Mark]) -> list[Mark]:
    """Those that no smaller one equals, by size."""
    best, front = -1.0, []
    for mark in sorted(marks, key=lambda mark: (mark.size, -mark.accuracy)):
        if mark.accuracy > best:
            best = mark.accuracy
            front.append(mark)
    return front


def _byte_axis(axes: Axes, sizes: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(sizes), max(sizes)
    margin = max((high / low) ** 0.08, 1.15)
    axes.set_xscale("log", base=2)
    # Room for labels on the right.
    axes.set_xlim(low / margin, high * margin**2)
    narrow = high / low < 6
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.25, 1.5, 1.75) if narrow else (1.0,), numticks=10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: charts.size_text(value)))


def _accuracy_axis(axes: Axes, marks: Sequence[Mark]) -> None:
    low = min(_height(mark.accuracy - mark.deviation) for mark in marks)
    high = max(_height(mark.accuracy + mark.deviation) for mark in marks)
    margin = max(0.07 * (high - low), 0.03)
    # Room for labels above.
    bottom, top = low - margin, high + 1.5 * margin
    axes.set_ylim(bottom, top)
    ticks = [tick for tick in _WIDE if bottom <= _height(tick) <= top]
    if top - bottom < 1.5:
        for step in _STEPS:
            every = [step * n for n in range(1, round(1 / step)) if bottom <= _height(step * n) <= top]
            if len(every) <= _MOST_TICKS:
                ticks = every
                break
    axes.set_yticks([_height(tick) for tick in ticks], [f"{100 * tick:.4g} %" for tick in ticks])


# Tried in this order, in points from the mark: (x, y, horizontal alignment). Ours have their front's line on the right.
_ABOVE = ((-5, 7, "right"), (5, 8, "left"), (-6, 0, "right"))
_PLACES = (
    (6, 0, "left"), (-6, 0, "right"), (0, 9, "center"), (0, -9, "center"), (6, 8, "left"), (6, -8, "left"),
    (-6, 8, "right"), (-6, -8, "right"), (6, 16, "left"), (6, -16, "left"), (-6, 16, "right"), (-6, -16, "right"),
)  # fmt: skip


def _label(axes: Axes, marks: Sequence[Mark], colours: dict[str, str]) -> None:
    """Each mark's name beside it, where it meets neither another mark nor another name; else it goes without."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = axes.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    frame = axes.get_window_extent(renderer)
    points = [axes.transData.transform((mark.size, _height(mark.accuracy))) for mark in marks]
    taken: list[tuple[float, float, float, float]] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    # Ours first: they must have their names.
    for i in sorted(range(len(marks)), key=lambda i: (not marks[i].ours, marks[i].what == BASELINE)):
        mark = marks[i]
        colour = colours[charts.INK if mark.ours else charts.FAINT]
        for x, y, side in (*_ABOVE, *_PLACES) if mark.ours else _PLACES:
            text = axes.annotate(
                mark.label,
                (mark.size, _height(mark.accuracy)),
                (x, y),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7.5,
                color=colour,
                annotation_clip=False,
            )
            box = text.get_window_extent(renderer)
            extent = (box.x0, box.y0, box.x1, box.y1)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 + 4 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            others = taken[:i] + taken[i + 1 :]
            if inside and not any(_meet(extent, other) for other in others):
                taken.append(extent)
                break
            text.remove()


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
