"""The report's charts: matplotlib's SVG, with the page's colours and a tooltip on each point.

matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables, so that one picture is
readable on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

# Stages beyond these share the last one's look.
MARKERS = ("o", "s", "^", "D", "v")

# Placeholder -> what the page's style sheet calls it.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--budget)",
    "#060606": "var(--page)",
    "#070707": "var(--inside)",
}
INK, FAINT, LINE, ACCENT, BUDGET, PAGE, INSIDE = _COLOURS
_STAGES = {f"#1{i}1{i}1{i}": f"var(--stage{i})" for i in range(len(MARKERS))}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tfsparse",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Point:
    """A trial in a chart: its place, the number of its stage (from 0), the text of its tooltip, and what it is.

    `inside` tells whether it meets all budgets, those that the chart does not show included.
    """

    x: float
    y: float
    stage: int
    tooltip: str
    survivor: bool = False
    inside: bool = True

    @property
    def group(self) -> str:
        """Points of one group look alike; later groups lie on top."""
        kind = 2 if self.survivor else int(self.inside)
        return f"points-{kind}-{min(self.stage, len(MARKERS) - 1)}"


def front_chart(points: Sequence[Point], budget: float | None, *, name: str, x_label: str) -> str:
    """Error (a fraction, y) against bytes (x, logarithmic) as SVG text: trials, the budget, and the stepped front of
    the trials inside all budgets (of all, where none is inside)."""
    figure, axes = _axes()
    x, y = np.array([[point.x, point.y] for point in points]).T
    _bytes_axis(axes, x, budget)
    _error_axis(axes, y)
    if budget is not None:
        axes.axvspan(axes.get_xlim()[0], budget, facecolor=INSIDE, alpha=0.1, linewidth=0)
        axes.axvline(budget, color=BUDGET, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(
            f"budget {size_text(budget)}",
            (budget, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            color=BUDGET,
            fontsize=8,
        )
    inside = np.array([point.inside for point in points])
    corners = _front(x, np.where(inside | ~inside.any(), y, np.inf))
    axes.step(x[corners], y[corners], where="post", color=ACCENT, linewidth=1.3, zorder=2)
    _scatter(axes, points)
    axes.set_xlabel(x_label)
    axes.set_ylabel("validation error")
    return svg_element(figure, points, name, f"validation error against {x_label}")


def best_chart(points: Sequence[Point], best: Sequence[tuple[float, float]], *, name: str, label: str) -> str:
    """Each trial's error (y) over its number (x), and the best so far as steps [(trial, error)], as SVG text."""
    figure, axes = _axes()
    _error_axis(axes, np.array([point.y for point in points]))
    if best:
        trials, errors = zip(*best, strict=True)
        last = max(point.x for point in points)
        axes.step([*trials, last], [*errors, errors[-1]], where="post", color=ACCENT, linewidth=1.5, zorder=2)
    _scatter(axes, points)
    _trials_axis(axes)
    axes.set_ylabel("validation error")
    return svg_element(figure, points, name, label)


def hypervolume_chart(trials: Sequence[int], volumes: Sequence[float], *, name: str) -> str:
    """Dominated share (0..1) of the box that the trials span, over trials, as SVG text."""
    figure, axes = _axes()
    axes.fill_between(trials, volumes, step="post", facecolor=ACCENT, alpha=0.15, linewidth=0)
    axes.step(trials, volumes, where="post", color=ACCENT, linewidth=1.5)
    axes.set_ylim(0, max(1e-9, *volumes) * 1.08)
    _trials_axis(axes)
    axes.set_ylabel("hypervolume")
    return svg_element(figure, (), name, "hypervolume over trials")


def _axes():
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.4), layout="constrained", facecolor="none")
        axes = figure.add_subplot()
        axes.tick_params(length=0)
    return figure, axes


def _scatter(axes, points: Sequence[Point]) -> None:
    """One collection per group, in the points' order, with the group's name as its id."""
    for name, some in _groups(points):
        survivor = some[0].survivor
        stage = int(name[-1])
        axes.scatter(
            [point.x for point in some],
            [point.y for point in some],
            s=52 if survivor else 30,
            marker=MARKERS[stage],
            color=list(_STAGES)[stage],
            edgecolor=INK if survivor else PAGE,
            linewidth=1.3 if survivor else 0.5,
            alpha=1 if survivor else 0.85 if some[0].inside else 0.4,
            zorder=4 if survivor else 3,
            gid=name,
            clip_on=False,
        )


def _groups(points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    names = sorted({point.group for point in points})
    return [(name, [point for point in points if point.group == name]) for name in names]


def _bytes_axis(axes, x: np.ndarray, budget: float | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min([*x, budget or np.inf]), max([*x, budget or 0])
    margin = max((high / low) ** 0.06, 1.08)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / margin, high * margin)
    octaves = np.log2(high / low * margin**2)
    subs = (
        (1.0,) if octaves > 3 else (1.0, 1.5) if octaves > 1.5 else (1.0, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875)
    )
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=subs, numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(value)))


def _error_axis(axes, y: np.ndarray) -> None:
    """Logarithmic where errors differ by more than a factor of five, or the front would be squeezed into a line."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = y.min(), y.max()
    if high > 5 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, min(high * 1.2, 1.0))
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        margin = max(0.08 * (high - low), 0.002)
        axes.set_ylim(max(low - margin, 0), high + margin)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _trials_axis(axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("trial")


def _front(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Indices of the points that no other beats in both, by rising x."""
    best, corners = np.inf, []
    for index in np.lexsort((y, x)):
        if y[index] < best:
            best = y[index]
            corners.append(int(index))
    return corners


def size_text(value: float) -> str:
    """Bytes as an axis shows them, in the kilobytes of 1,024 bytes that budgets are given in."""
    return f"{value:.0f} B" if value < 1024 else f"{value / 1024:.4g} kB"


def svg_element(figure, points: Sequence[Point], name: str, label: str) -> str:
    """The figure as an inline SVG element that scales with the page; `name` keeps its ids apart from other charts'."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    for prefix, uri in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(buffer.getvalue())
    # A style element inside would hold for the whole page.
    for name_of_extra in ("metadata", "defs"):
        for extra in root.findall(f"{{{SVG}}}{name_of_extra}"):
            if extra.find(f"{{{SVG}}}clipPath") is None:
                root.remove(extra)
    del root.attrib["width"], root.attrib["height"]
    root.set("role", "img")
    root.set("aria-label", label)
    _add_tooltips(root, points)
    _separate_ids(root, name)
    text = re.sub(r" font-family: [^;]*;", "", ElementTree.tostring(root, encoding="unicode"))
    for placeholder, variable in {**_COLOURS, **_STAGES}.items():
        text = text.replace(placeholder, variable)
    return text


def _add_tooltips(root: ElementTree.Element, points: Sequence[Point]) -> None:
    """Put each point's text into the element that draws it, as a <title>; the look that a group shares goes to it."""
    for name, some in _groups(points):
        group = root.find(f".//*[@id='{name}']")
        for element, point in zip(_drawn(group), some, strict=True):
            ElementTree.SubElement(element, f"{{{SVG}}}title").text = point.tooltip
            group.set("style", element.attrib.pop("style", ""))
            for axis in "xy":
                if axis in element.attrib:
                    element.set(axis, f"{float(element.get(axis)):.2f}")


def _drawn(element: ElementTree.Element):
    """The elements below that draw something, definitions left out, in order."""
    for child in element:
        if child.tag == f"{{{SVG}}}defs":
            continue
        if child.tag in (f"{{{SVG}}}use", f"{{{SVG}}}path"):
            yield child
        else:
            yield from _drawn(child)


def _separate_ids(root: ElementTree.Element, name: str) -> None:
    """Ids hold for the whole page: drop those that nothing refers to, put the chart's name before the others."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    for element in root.iter():
        if (identity := element.get("id")) is not None:
            if identity in used:
                element.set("id", f"{name}-{identity}")
            else:
                del element.attrib["id"]
        for key, value in element.attrib.items():
            if key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{name}-", 1))
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
