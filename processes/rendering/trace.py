"""A report in the Trace Event Format, which Perfetto (ui.perfetto.dev) and other viewers open."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

from ..visible import without_surrogates
from .json_text import jsonable
from .spans import lanes_of, spans_of, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..execution_report import ProcessExecutionReport
    from .spans import Lane, Span

MAX_PID = 2**22  # of Linux; other systems' are smaller

Event = dict[str, Any]


def to_chrome_trace(report: ProcessExecutionReport) -> str:
    """Render a report as a trace: a row for each worker, a slice for each attempt, arrows for dependencies.

    A process of the system is one of the trace, and a worker is a thread in it. What never began is not in
    the trace.
    """
    spans = spans_of(report)
    of_process: dict[tuple[str, int], list[Lane]] = {}
    for lane in lanes_of(spans, lambda metrics: (metrics.host, metrics.worker, str(metrics.pid))):
        metrics = lane.spans[0].metrics
        of_process.setdefault((metrics.host, metrics.pid), []).append(lane)
    pids: set[int] = set()
    tids = count(1)
    metadata: list[Event] = []
    slices: list[Event] = []
    for (host, pid), lanes in of_process.items():
        while pid in pids:  # a process of another machine has the same
            pid += MAX_PID
        pids.add(pid)
        for lane in lanes:
            tid = next(tids)
            if lane is lanes[0]:
                metadata += _named("process", _process_name(host, lanes), pid, tid)
            metadata += _named("thread", lane.label, pid, tid)
            slices += _slices(report, lane, spans[0].start, pid, tid)
    text = json.dumps(
        {
            "traceEvents": [*metadata, *slices, *_arrows(report, slices)],
            "displayTimeUnit": "ms",
            "otherData": {"process_name": report.process_name, "runner": report.runner},
        },
        ensure_ascii=False,  # Perfetto shows escapes in the names of rows as they are
    )
    return without_surrogates(text)


def _process_name(host: str, lanes: list[Lane]) -> str:
    """Name a process by its first and last worker; viewers add its number."""
    workers = lanes[0].label if len(lanes) == 1 else f"{lanes[0].label} … {lanes[-1].label}"
    return f"{workers} on {host}" if host else workers


def _named(kind: str, name: str, pid: int, tid: int) -> list[Event]:
    """Name a process or a thread, and put it in its place among the others."""
    place = {"ph": "M", "pid": pid, "tid": tid}
    return [
        {**place, "name": f"{kind}_name", "args": {"name": name}},
        {**place, "name": f"{kind}_sort_index", "args": {"sort_index": tid}},
    ]


def _slices(report: ProcessExecutionReport, lane: Lane, origin: float, pid: int, tid: int) -> Iterator[Event]:
    free_from = 0  # in nanoseconds, as all here: slices of one thread must not overlap by rounding
    for span in lane.spans:
        start = max(free_from, round((span.start - origin) * 1e9))
        free_from = max(start + 1, round((span.end - origin) * 1e9))  # an arrow needs a slice of some length
        yield {
            "ph": "X",
            "name": span.name,
            "cat": "task",
            "pid": pid,
            "tid": tid,
            "ts": start / 1000,
            "dur": (free_from - start) / 1000,
            "args": jsonable(_arguments(report, span)),
        }


def _arguments(report: ProcessExecutionReport, span: Span) -> Event:
    entry, metrics = report.entries[span.name], span.metrics
    return {
        "status": status_of(report, span),
        "function": entry.function,
        "attempt": span.number,
        "attempts": entry.attempts,
        "queue_seconds": metrics.queue_seconds,
        "cpu_seconds": metrics.cpu_seconds,
        "peak_rss_bytes": metrics.peak_rss_bytes,
    }


def _arrows(report: ProcessExecutionReport, slices: list[Event]) -> Iterator[Event]:
    """Lead from the last attempt at a task to the first one at each that depends on it."""
    first: dict[str, Event] = {}
    last: dict[str, Event] = {}
    for event in sorted(slices, key=lambda event: event["ts"]):
        first.setdefault(event["name"], event)
        last[event["name"]] = event
    number = 0
    for name, needed in report.dependencies.items():
        for other in needed:
            if name not in first or other not in last:
                continue
            source, target = last[other], first[name]
            # Within its slice, else it begins nowhere; and not behind its end, else it leads back in time.
            start = min(round(source["ts"] + source["dur"] - 0.001, 3), target["ts"])
            if start < source["ts"]:
                continue
            number += 1
            arrow = {"name": "dependency", "cat": "dependency", "id": number}
            yield {**arrow, "ph": "s", "ts": start, "pid": source["pid"], "tid": source["tid"]}
            yield {
                **arrow,
                "ph": "f",
                "bp": "e",
                "ts": target["ts"],
                "pid": target["pid"],
                "tid": target["tid"],
            }
