"""Who ran what, and when: the attempts of a report in lanes, one for each worker."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..measurements import Measurements, TaskMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..execution_report import ProcessExecutionReport

# The wall clock tells when an attempt began, a finer one how long it took: one may seem to end a little
# after the next one on its worker has begun.
CLOCKS_DIFFER = 0.001  # seconds

_END_OF_TIMES = 2**53  # beyond, a float does not tell one second from the next


@dataclass(frozen=True, slots=True)
class Span:
    """An attempt at a task; the task as a whole where nothing is known of its attempts.

    Parameters
    ----------
    name : str
        The task's name.
    number : int
        The attempt's number; the first is 1.
    is_last : bool
        Whether the task ended with it.
    metrics : TaskMetrics
        What was measured of it.
    """

    name: str
    number: int
    is_last: bool
    metrics: TaskMetrics

    @property
    def start(self) -> float:
        """When it began, in seconds since the epoch."""
        return self.metrics.started_at

    @property
    def end(self) -> float:
        """When it ended, in seconds since the epoch."""
        return self.metrics.finished_at


@dataclass(frozen=True, slots=True)
class Lane:
    """What one worker ran, in order; no two of its spans overlap.

    Parameters
    ----------
    label : str
        The worker's. Where it did several things at a time, further lanes have a number behind it.
    spans : list of Span
        What it ran.
    """

    label: str
    spans: list[Span]


def spans_of(report: ProcessExecutionReport) -> list[Span]:
    """Return each attempt that a report knows of, in the order in which they began."""
    spans: list[Span] = []
    numbers: dict[str, int] = {}
    for name, metrics in _measured(report):
        entry = report.entries.get(name)
        # What was never started has no times, and a report that was made by hand may have any.
        if entry is None or not 0 < metrics.started_at <= metrics.finished_at < _END_OF_TIMES:
            continue
        numbers[name] = numbers.get(name, 0) + 1
        number = numbers[name] if isinstance(report.metrics, Measurements) else entry.attempts
        spans.append(Span(name, number, number >= entry.attempts, metrics))
    return sorted(spans, key=lambda span: span.start)


def status_of(report: ProcessExecutionReport, span: Span) -> str:
    """Tell how an attempt ended: as its task did, or with another one to follow."""
    return report.entries[span.name].status.value if span.is_last else "retried"


def lanes_of(spans: list[Span], worker_of: Callable[[TaskMetrics], tuple[str, ...]]) -> list[Lane]:
    """Put spans into lanes, workers in the order of their names and numbers.

    Parameters
    ----------
    spans : list of Span
        In the order in which they began.
    worker_of : callable
        Tells from an attempt's metrics who ran it: the machine, the label, and what else counts.
    """
    lanes: dict[tuple[str, ...], list[Lane]] = {}
    for span in spans:
        worker = worker_of(span.metrics)
        of_worker = lanes.setdefault(worker, [])
        for lane in of_worker:
            if (fitted := _fitted(span, lane.spans[-1].end)) is not None:
                lane.spans.append(fitted)
                break
        else:
            label = worker[1] or "?"
            of_worker.append(Lane(f"{label} ({len(of_worker) + 1})" if of_worker else label, [span]))
    ordered = sorted(lanes, key=lambda worker: [_natural(part) for part in worker])
    return [lane for worker in ordered for lane in lanes[worker]]


def _measured(report: ProcessExecutionReport) -> Iterator[tuple[str, TaskMetrics]]:
    if isinstance(report.metrics, Measurements):
        yield from report.metrics.attempts()
    else:  # a report that was made by hand, or a part of one
        yield from report.metrics.items()


def _fitted(span: Span, free_from: float) -> Span | None:
    """Return a span such that it begins when its lane is free; None if it does not fit there."""
    if span.start >= free_from:
        return span
    if free_from - span.start > CLOCKS_DIFFER or span.end < free_from:
        return None
    return replace(span, metrics=replace(span.metrics, started_at=free_from))


def _natural(text: str) -> list[tuple[str, int]]:
    """Return a key that sorts process-10 behind process-9."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D+|^)(\d{0,18})", text)]
