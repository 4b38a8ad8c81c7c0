"""A report as one page that needs nothing beside itself: totals, failures, timeline, graph, tasks.

A browser draws a few thousand shapes and ten thousand rows at once; more make it slow. So all that is drawn
has a bound, and the page says what was left out.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import takewhile
from math import floor, log10
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..comms.content import checked_content
from ..comms.languages import DEFAULT_LANGUAGE, spelled_duration, spelled_number
from ..comms.palettes import PALETTES
from ..comms.view import Limits, Viewer
from ..task_types import TaskStatus
from ..visible import visible
from .layout import NODE_HEIGHT, lay_out, layers_of
from .spans import lanes_of, spans_of, status_of
from .table import WORDS, in_order_of_attention, width_of
from .templating import template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..comms.content import ReportContent
    from ..execution_report import ProcessExecutionReport, TaskReportEntry
    from ..measurements import TaskMetrics
    from .spans import Lane, Span

MAX_ROWS = 10_000  # of the table: a second of a browser's time
MAX_FAILURES = 200  # with all details
MAX_DETAILS = 4_000_000  # characters of their tracebacks and values together
OPEN_FAILURES = 1  # that are shown unfolded
LISTED_FAILURES = 10  # the others are one more fold away
MAX_SECONDS = 5  # for the failures, and for the table: most take one
MAX_CELL = 120  # characters of a result or an error in the table
MAX_NAME = 200  # characters
MAX_NAMES = 100  # of skipped tasks, for one failure

MAX_LANES = 64
NARROW = 0.2  # percent of the timeline, 2 pixels; what is narrower shares a bar with its neighbours
GROUP = 1.0  # percent; those that share a bar take no more together
ROOM_FOR_NAME = 4.0  # percent; a narrower bar has no name in it
TICKS = 8  # on the time axis, about

MAX_NODES = 300  # of the graph: nobody reads more
MAX_LINES = 3_000  # from layer to layer
NODE_LETTERS = 26
LETTER_WIDTH = 7.25  # pixels, of the monospaced font at 12 pixels
NODE_PADDING = 30  # beside the name, with room for the sign of the status

UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
WORD_OF = {**{status.value: word for status, word in WORDS.items()}, "retried": "failed, and was retried"}
SIGNS = {"success": "✓", "errored": "✗", "skipped": "↷", "pending": "…"}
LIGHT, DARK = PALETTES["neutral"], PALETTES["slate"]

_duration = partial(spelled_duration, DEFAULT_LANGUAGE)
_number = partial(spelled_number, DEFAULT_LANGUAGE)


@dataclass(frozen=True, slots=True)
class Row:
    """A task in the table.

    `number` is its place in topological order; `outcome` is its result or its error, None where there was no
    time to render it.
    """

    number: int
    name: str
    entry: TaskReportEntry
    function: str
    outcome: str | None
    metrics: TaskMetrics | None
    worker: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt in the timeline, or several that are too short for bars of their own.

    Parameters
    ----------
    x, width : float
        Where it begins, how long it is: in percent of the whole.
    status : str
        How it ended, or most of several did.
    mark : str
        How the worst of several ended, if that is not the same; else "".
    title : str
        What a mouse over it shows.
    text : str
        What stands in it, where there is room.
    number : int
        The task's row; 0 of several.
    """

    x: float
    width: float
    status: str
    mark: str
    title: str
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """A worker in the timeline; `busy` is in percent of the whole."""

    label: str
    where: str
    attempts: int
    busy: float
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is drawn of who ran what; ticks are places in percent, with texts; the legend is by status."""

    lanes: list[LaneView]
    legend: dict[str, str]
    ticks: list[tuple[float, str]]
    lanes_left_out: int
    has_groups: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A task in the drawing of the graph, in pixels."""

    x: float
    y: float
    width: float
    status: str
    text: str
    title: str
    number: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """The graph: what is drawn, or how large it is where that is too much."""

    tasks: int
    dependencies: int
    alone: int  # tasks that have no dependency, and on which none depends
    nodes: list[Node]
    lines: list[tuple[str, bool]]  # paths, and whether what they lead from succeeded
    width: float
    height: float


def to_html(report: ProcessExecutionReport, content: ReportContent | None = None) -> str:
    """Render a report as a page.

    Parameters
    ----------
    report : ProcessExecutionReport
        What to show.
    content : ReportContent, optional
        What to show and what to hide; None: everything but secrets.
    """
    entries = list(report.entries.values())
    numbers = {name: number for number, name in enumerate(report.entries, start=1)}
    taken_over = frozenset(report.from_checkpoint)
    content = checked_content(content)
    viewer = Viewer(report, content, Limits(MAX_CELL, number=_number))
    failed = [entry for entry in entries if entry.error is not None]
    last_start = monotonic() + MAX_SECONDS
    in_time = takewhile(lambda _: monotonic() < last_start, failed[:MAX_FAILURES])
    failures = viewer.failures(in_time, room=MAX_DETAILS)
    detailed = failed[: len(failures)]
    last_start = monotonic() + MAX_SECONDS
    rows = [
        _row(report, viewer, entry, numbers[entry.name], taken_over, with_outcome=monotonic() < last_start)
        for entry in in_order_of_attention(report)[:MAX_ROWS]
    ]
    spans = spans_of(report)
    style = template(__package__, "page.css.j2").render(light=LIGHT, dark=DARK)
    script = template(__package__, "page.js").render()
    return template(__package__, "page.html.j2").render(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        name=_short(report.process_name),
        runner=_short(report.runner),
        started=_date(spans[0].start) if spans else "",
        statuses=_statuses(entries),
        tasks=len(entries),
        facts=_facts(report, spans, taken_over),
        failures=[(numbers[entry.name], view) for entry, view in zip(detailed, failures, strict=True)],
        failures_left_out=len(failed) - len(failures),
        with_details={entry.name for entry in detailed},
        timeline=_timeline(report, spans, numbers),
        graph=_drawing(report, numbers),
        rows=rows,
        results_left_out=sum(row.outcome is None for row in rows),
        rows_left_out=len(entries) - len(rows),
        limits={
            "open": OPEN_FAILURES,
            "listed": LISTED_FAILURES,
            "names": MAX_NAMES,
            "nodes": MAX_NODES,
            "bar": NARROW,
        },
        signs=SIGNS,
        node_height=NODE_HEIGHT,
        short=_short,
        number=_number,
        duration=_duration,
        megabytes=_megabytes,
    )


def _hash(text: str) -> str:
    """Return by what name a page's policy knows a style or script of its own."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _short(text: str) -> str:
    text = visible(text[: MAX_NAME + 1])
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.0f}"


def _date(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):  # of a report that was made by hand
        return ""


# Totals


def _statuses(entries: list[TaskReportEntry]) -> list[tuple[str, str, int]]:
    """Give each status that is shown: its name, its word, how many tasks have it."""
    counts = Counter(entry.status for entry in entries)
    return [
        (status.value, word, counts[status])
        for status, word in WORDS.items()
        if counts[status] or status.value in ("errored", "success")
    ]


def _facts(
    report: ProcessExecutionReport, spans: list[Span], taken_over: frozenset[str]
) -> list[tuple[str, str]]:
    """Give what was measured of the whole run: how much, and what it is."""
    # What was taken over has the time and the attempts of an earlier run.
    entries = [entry for name, entry in report.entries.items() if name not in taken_over]
    metrics = report.metrics.values()
    in_tasks = sum(entry.elapsed_seconds for entry in entries)
    at_a_time = in_tasks / report.elapsed_seconds if report.elapsed_seconds > 0 else 0.0
    peak = max((one.peak_rss_bytes for one in metrics), default=0)
    retries = sum(max(0, entry.attempts - 1) for entry in entries)
    facts = [
        (_duration(report.elapsed_seconds), "on the wall clock"),
        (_duration(in_tasks), f"in tasks, {at_a_time:.1f} at a time" if at_a_time >= 0.05 else "in tasks"),
    ]
    if cpu := sum(one.cpu_seconds for one in metrics):
        facts.append((_duration(cpu), "of processor time"))
    if peak:
        facts.append((f"{_megabytes(peak)} MB", "peak memory of a process"))
    if workers := len({(span.metrics.host, span.metrics.worker) for span in spans}):
        facts.append((_number(workers), "worker" if workers == 1 else "workers"))
    if retries:
        facts.append((_number(retries), "retry" if retries == 1 else "retries"))
    if taken_over:
        facts.append((_number(len(taken_over)), "from the checkpoint"))
    return facts


# Timeline


def _timeline(report: ProcessExecutionReport, spans: list[Span], numbers: dict[str, int]) -> Timeline | None:
    if not spans:
        return None
    origin, end = spans[0].start, max(span.end for span in spans)
    whole = max(end - origin, 1e-6)
    several_hosts = len({span.metrics.host for span in spans}) > 1
    lanes = lanes_of(spans, lambda metrics: (metrics.host, metrics.worker))
    views = []
    for lane in lanes[:MAX_LANES]:
        bars = list(_bars(report, lane, numbers, origin, whole))
        busy = 100 * sum(span.end - span.start for span in lane.spans) / whole
        host = lane.spans[0].metrics.host if several_hosts else ""
        views.append(LaneView(_short(lane.label), _short(host), len(lane.spans), busy, bars))
    drawn = {status for view in views for bar in view.bars for status in (bar.status, bar.mark)}
    return Timeline(
        views,
        {status: word for status, word in WORD_OF.items() if status in drawn},
        _ticks(whole),
        len(lanes) - len(views),
        any(not bar.number for view in views for bar in view.bars),
    )


def _bars(
    report: ProcessExecutionReport, lane: Lane, numbers: dict[str, int], origin: float, whole: float
) -> Iterator[Bar]:
    def x_of(seconds: float) -> float:
        return 100 * (seconds - origin) / whole

    for group in _groups(lane, x_of):
        statuses = Counter(status_of(report, span) for span in group)
        status = statuses.most_common(1)[0][0]
        x = x_of(group[0].start)
        width = x_of(group[-1].end) - x
        if len(group) > 1:
            worst = next(one for one in ("errored", "retried", status) if one in statuses)
            seconds = sum(span.end - span.start for span in group)
            title = f"{_number(len(group))} attempts, {_duration(seconds)} in all"
            if failed := statuses["errored"]:
                title += f", {_number(failed)} failed"
            yield Bar(x, width, status, worst if worst != status else "", title, "", 0)
            continue
        (span,) = group
        name, attempts = _short(span.name), report.entries[span.name].attempts
        attempt = f", attempt {span.number} of {attempts}" if attempts > 1 else ""
        title = f"{name}{attempt}: {WORD_OF[status]}, {_duration(span.end - span.start)}"
        text = name if width >= ROOM_FOR_NAME else ""
        yield Bar(x, width, status, "", title, text, numbers[span.name])


def _groups(lane: Lane, x_of: Callable[[float], float]) -> list[list[Span]]:
    """Part a lane into spans that share a bar: several if they are narrow and next to each other."""
    groups: list[list[Span]] = []
    was_narrow = False
    for span in lane.spans:
        is_narrow = x_of(span.end) - x_of(span.start) < NARROW
        if (
            is_narrow
            and was_narrow
            and x_of(span.start) - x_of(groups[-1][-1].end) < NARROW
            and x_of(span.end) - x_of(groups[-1][0].start) < GROUP
        ):
            groups[-1].append(span)
        else:
            groups.append([span])
        was_narrow = is_narrow
    return groups


def _ticks(whole: float) -> list[tuple[float, str]]:
    """Place round times on an axis of so many seconds."""
    unit, seconds = next((unit, size) for unit, size in UNITS if whole >= 2 * size or size == 1e-6)
    length = whole / seconds
    step = 10.0 ** floor(log10(length / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if length / (step * factor) <= TICKS)
    count = int(length / step + 1e-9)  # 0.35 / 0.05 is a little less than 7
    return [(100 * number * step / length, f"{number * step:g} {unit}") for number in range(count + 1)]


# Graph


def _drawing(report: ProcessExecutionReport, numbers: dict[str, int]) -> Drawing | None:
    """Draw the tasks that depend on others, or on which others depend; None if there is none."""
    edges = [
        (other, name)
        for name, needed in report.dependencies.items()
        for other in needed
        if name in numbers
        and numbers.get(other, len(numbers)) < numbers[name]  # a part of a report lacks some
    ]
    names = sorted({name for edge in edges for name in edge}, key=numbers.__getitem__)
    if not names:
        return None
    alone = len(numbers) - len(names)
    index = {name: place for place, name in enumerate(names)}
    dependencies: list[list[int]] = [[] for _ in names]
    for other, name in edges:
        dependencies[index[name]].append(index[other])
    layers = layers_of(dependencies)
    pieces = sum(layers[index[name]] - layers[index[other]] for other, name in edges)
    if len(names) > MAX_NODES or pieces > MAX_LINES:
        return Drawing(len(names), len(edges), alone, [], [], 0, 0)
    labels = [_label(_short(name)) for name in names]
    layout = lay_out(dependencies, [NODE_PADDING + LETTER_WIDTH * width_of(label) for label in labels])
    entries = [report.entries[name] for name in names]
    nodes = [
        Node(x, y, width, entry.status.value, label, _node_title(entry), numbers[entry.name])
        for (x, y, width), label, entry in zip(layout.nodes, labels, entries, strict=True)
    ]
    lines = [
        (_path(points), entries[source].status is TaskStatus.SUCCESS) for source, _, points in layout.lines
    ]
    return Drawing(len(names), len(edges), alone, nodes, lines, layout.width, layout.height)


def _label(name: str) -> str:
    while width_of(name) > NODE_LETTERS:
        name = f"{name.removesuffix('…')[:-1]}…"
    return name


def _node_title(entry: TaskReportEntry) -> str:
    time = f", {_duration(entry.elapsed_seconds)}" if entry.attempts else ""
    return f"{_short(entry.name)}: {WORDS[entry.status]}{time}"


def _path(points: list[tuple[float, float]]) -> str:
    """Draw a line: curved from layer to layer, straight through a layer."""
    x, y = points[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for place, (next_x, next_y) in enumerate(points[1:]):
        if place % 2:
            path.append(f"H{next_x:.1f}")
        else:
            middle = (x + next_x) / 2
            path.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {next_y:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return "".join(path)


# Tasks


def _row(
    report: ProcessExecutionReport,
    viewer: Viewer,
    entry: TaskReportEntry,
    number: int,
    taken_over: frozenset[str],
    *,
    with_outcome: bool,
) -> Row:
    metrics = report.metrics.get(entry.name)
    worker = "checkpoint" if entry.name in taken_over else ""
    outcome = None
    if with_outcome:
        outcome = viewer.headline(entry, MAX_CELL) if entry.error is not None else viewer.result(entry) or ""
    return Row(
        number,
        _short(entry.name),
        entry,
        _short(entry.function),
        "" if outcome == "None" else outcome,
        metrics,
        worker if metrics is None else _short(metrics.worker),
    )
