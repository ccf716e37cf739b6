"""A place for each row: where rows of a value need not lie one behind the other, a row takes any hole that is free.

Rings keep a row's place reserved between one row and the next; here it is free for other values' rows meanwhile, so
that the arena comes close to the bytes that are alive at a time. A table of the places, one small number a row, costs
flash instead. Values that some layer reads or writes as a whole stay in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tfsparse.compiler.layers import Convolution, Pool
from tfsparse.compiler.rows import Flow, height_of, in_place


@dataclass(frozen=True)
class Part:
    """A row: bytes from `start` on in its piece, alive from step `first` to step `last`, both included."""

    value: int
    row: int
    start: int
    size: int
    first: int
    last: int


@dataclass(eq=False)
class Piece:
    """What must lie together: one row, or all rows of a value."""

    parts: tuple[Part, ...]
    links: list[Link] = field(default_factory=list)
    at: int = 0
    placed: bool = False

    @property
    def size(self) -> int:
        return self.parts[-1].start + self.parts[-1].size


@dataclass(frozen=True, eq=False)
class Link:
    """Parts of two pieces that are alive together: this piece must not begin within (low, high), both excluded, from
    where the other begins; with a `step`, it may where the distance less `aligned` is a multiple of `step`; with a
    `limit`, it may up to or from that distance on."""

    other: Piece
    low: int
    high: int
    aligned: int = 0
    step: int = 0
    limit: int | None = None
    below: bool = True

    def allows(self, distance: int) -> bool:
        if self.step:
            return (distance - self.aligned) % self.step == 0
        if self.limit is not None:
            return distance <= self.limit if self.below else distance >= self.limit
        return False

    @property
    def shares(self) -> bool:
        return self.step > 0 or self.limit is not None


def scattered(flow: Flow) -> frozenset[int]:
    """Values whose rows may lie anywhere: made by rows, and read only by layers that ask for each row's place."""
    network = flow.network
    makers = {layer.output: i for i, layer in enumerate(network.layers)}
    kept = {border.value for border in (*network.inputs, *network.outputs)}
    found = {v for v, i in makers.items() if i in flow.streamed and v not in kept}
    if flow.fed:
        found.add(flow.input)
    for i, layer in enumerate(network.layers):
        windowed = isinstance(layer, Convolution | Pool)
        for value in layer.inputs:
            same = windowed and layer.window.in_height == height_of(network, value)
            if i not in flow.streamed and not same:
                found.discard(value)
    return frozenset(found)


def _pieces(flow: Flow) -> list[Piece]:
    """In the order in which they come to life."""
    network = flow.network
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    for t, step in enumerate(flow.steps):
        pitch = flow.row_size(step.output)
        for row in range(step.written[0] // pitch, -(-step.written[1] // pitch)):
            first.setdefault((step.output, row), t)
        for value, (low, high) in step.live.items():
            pitch = flow.row_size(value)
            for row in range(low // pitch, -(-high // pitch)):
                last[value, row] = t
    loose = scattered(flow)
    pieces = []
    for value in flow.spans:
        size = flow.row_size(value)
        rows = [row for row in range(height_of(network, value)) if (value, row) in first]
        parts = [Part(value, row, row * size, size, first[value, row], last[value, row]) for row in rows]
        if value in loose:
            pieces += [Piece((Part(value, p.row, 0, size, p.first, p.last),)) for p in parts]
        else:
            pieces.append(Piece(tuple(parts)))
    pieces.sort(key=lambda piece: (piece.parts[0].first, -piece.size, piece.parts[0].value))
    return pieces


def _cover(flow: Flow, new: Part, old: Part) -> tuple[int, int | None] | None:
    """How row `new` may lie over row `old`, which is read for the last time as `new` is made: None not at all,
    (step, None) at distances from it that are multiples of step, (0, limit) at distances of at most limit."""
    step = flow.steps[new.first]
    if new.first != old.last or step.layer < 0 or step.output != new.value or old.value not in step.last_read:
        return None
    layer, by_row = flow.network.layers[step.layer], step.layer in flow.streamed
    if not in_place(layer, old.value, flow.network, by_row):
        return None
    if not layer.in_order:
        return layer.in_channels, None
    if by_row:
        return (0, 0) if new.row == old.row else None
    return 0, -old.start  # a whole layer reads all rows: what it writes must begin before them


def _link(flow: Flow, pieces: list[Piece]) -> None:
    for n, a in enumerate(pieces):
        for b in pieces[:n]:
            for p in a.parts:
                for q in b.parts:
                    if p.first > q.last or q.first > p.last:
                        continue
                    shift = q.start - p.start
                    low, high = shift - p.size, shift + q.size
                    extra: dict[str, int | bool | None] = {}
                    back: dict[str, int | bool | None] = {}
                    if (rule := _cover(flow, p, q)) is not None:
                        step, limit = rule
                        limit = None if limit is None else limit + shift
                        extra = {"aligned": shift, "step": step, "limit": limit, "below": True}
                        back = {"aligned": -shift, "step": step, "limit": None if limit is None else -limit}
                        back["below"] = False
                    elif (rule := _cover(flow, q, p)) is not None:
                        step, limit = rule
                        limit = None if limit is None else limit - shift
                        back = {"aligned": -shift, "step": step, "limit": limit, "below": True}
                        extra = {"aligned": shift, "step": step, "limit": None if limit is None else -limit}
                        extra["below"] = False
                    a.links.append(Link(b, low, high, **extra))
                    b.links.append(Link(a, -high, -low, **back))


def _place(piece: Piece, high: int, prefer: str) -> int:
    """The best place among those that do not touch what is placed. `high`: the arena's size so far."""
    spans = [(link.other.at + link.low, link.other.at + link.high, link) for link in piece.links if link.other.placed]
    spans.sort(key=lambda span: span[0])
    hard = [(start, end) for start, end, link in spans if not link.shares]
    soft = [span for span in spans if span[2].shares]
    over = {link.other.at + (link.aligned if link.step else link.limit) for _, _, link in soft}
    size = piece.size
    candidates = sorted({0, *over, *(x for start, end, _ in spans for x in (start, end) if x >= 0)})
    hard.append((1 << 30, 1 << 30))
    best, chosen = (1 << 30,), 0
    n, reach = 0, -1  # spans that begin in front of x end at `reach` or before
    for x in candidates:
        while hard[n][0] < x:
            reach = max(reach, hard[n][1])
            n += 1
        if x < reach or x < 0:
            continue
        cost = (max(0, x + size - high), prefer != "low" and x not in over)
        if prefer == "tight":
            cost += (max(0, min(hard[n][0] + size, high) - x - size),)
        if cost >= best:
            continue
        if any(start < x < end and not link.allows(x - link.other.at) for start, end, link in soft):
            continue
        best, chosen = cost, x
    return chosen


def _try(order: list[Piece], prefer: str, best: int) -> tuple[int, Piece]:
    """Put piece after piece; gives up once it is far worse. Returns the arena's size and the piece that set it."""
    high, top = 0, order[0]
    for piece in order:
        piece.placed = False
    for piece in order:
        piece.at = _place(piece, high, prefer)
        piece.placed = True
        if piece.at + piece.size > high:
            high, top = piece.at + piece.size, piece
            if high > 2 * best:
                break
    return high, top


@dataclass(frozen=True)
class Slots:
    """Where each value begins, where each row of a scattered one lies, and the arena's size in bytes."""

    offsets: dict[int, int]
    rows: dict[int, tuple[int, ...]]
    size: int


def place_rows(flow: Flow, tries: int = 16) -> Slots:
    """The smallest of some plans; `flow.peak` is what none can do without."""
    pieces = _pieces(flow)
    _link(flow, pieces)
    by_size = sorted(pieces, key=lambda piece: -piece.size)
    best: dict[tuple[int, int], int] = {}
    size = sum(piece.size for piece in pieces) + 1
    for order, prefer in ((pieces, "tight"), (by_size, "low"), (by_size, "over")):
        order = list(order)
        for turn in range(tries):
            high, top = _try(order, prefer, size)
            if high < size:
                best, size = {(p.parts[0].value, p.parts[0].row): p.at for p in pieces}, high
            if size <= flow.peak:
                break
            # What did not fit gets its place earlier.
            n = order.index(top)
            order.insert(n // 2 if turn % 2 else 0, order.pop(n))
    loose = scattered(flow)
    offsets = {value: at for (value, row), at in best.items() if row == 0}
    rows = {v: tuple(best.get((v, row), 0) for row in range(height_of(flow.network, v))) for v in loose}
    return Slots(offsets, rows, size)
