"""How it is measured: each sample in a fresh interpreter, the subjects in turns, every sample kept."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from shapes import SHAPES, wide
from subjects import SUBJECTS
from work import WORK, depth, expected_results, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from subjects import Run
    from tables import Table
    from workflows import Workflow

LIMIT_SECONDS = 120  # a sample that takes longer is given up
ONCE_SECONDS = 4  # what takes longer is measured in the first round only
TABLE_SECONDS = 20  # no other round of a table begins after that: all ends in time on slow machines too
SAMPLE_SECONDS = 0.25  # a sample repeats its run for so long ...
MOST_RUNS = 3  # ... but not more often than that


class Settings(NamedTuple):
    """How thoroughly to measure."""

    rounds: int = 3
    workers: int = 2
    quick: bool = False
    workflows: Mapping[Path, Workflow] = MappingProxyType({})  # recorded, by file


class NotMeasuredError(Exception):
    """A sample failed; the text says why."""


def take_turns(
    table: Table,
    rounds: int,
    columns: Iterable[str],
    rows: Iterable[str],
    sample: Callable[..., list[float]],
) -> None:
    """Fill a table, `rounds` times from its first cell to its last, but for what takes too long.

    What changes on the machine from minute to minute so meets all rows of a column alike.

    Parameters
    ----------
    table : Table
        Gets the samples.
    rounds : int
        How often each cell is measured at most.
    columns, rows : iterable of str
        The cells' names. Rows that are subjects which are not installed are left out.
    sample : callable
        Takes a row and a column, and returns samples.
    """
    columns, rows = list(columns), [row for row in rows if row not in SUBJECTS or SUBJECTS[row].installed]
    given_up = set()
    end = monotonic() + TABLE_SECONDS
    for number in range(rounds):
        if number and monotonic() > end:
            break
        for column in columns:
            for row in rows:
                if (row, column) in given_up:
                    continue
                start = monotonic()
                _show(f"{table.title}: {column}, {row}, round {number + 1}")
                try:
                    table.add(row, column, sample(row, column))
                except NotMeasuredError as error:
                    table.put(row, column, str(error))
                    given_up.add((row, column))
                if monotonic() - start > ONCE_SECONDS:
                    given_up.add((row, column))
    _show("")


def _show(line: str) -> None:
    """Show what is measured now, in the terminal's last line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr)


def call_fresh(function: Callable[..., Any], *args: Any, under: Sequence[str] = ()) -> Any:
    """Call a function in a fresh interpreter and return what it returns; all must be plain data.

    Parameters
    ----------
    function, *args
        What to call.
    under : sequence of str, optional
        The command that runs the interpreter's.

    Raises
    ------
    NotMeasuredError
        If it fails or takes too long.
    """
    code = (
        f"from {function.__module__} import {function.__name__} as function\n"
        f"result = function(*{args!r})\n"
        "import json; print(json.dumps(result))"  # not before the call, whose time may count from the start
    )
    process = subprocess.Popen(
        [*under, sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"over {LIMIT_SECONDS} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also workers that were left behind
        process.wait()
    if process.returncode:
        raise NotMeasuredError((errors.strip().splitlines() or ["died"])[-1])
    return json.loads(output.splitlines()[-1])


def microseconds_a_task(subject: str, shape: str, size: int, work: str, workers: int) -> list[float]:
    """Time runs of a graph on warm workers, in a fresh interpreter."""
    seconds = call_fresh(seconds_per_run, subject, shape, size, work, workers)
    return [second / size * 1e6 for second in seconds]


# What is called in a fresh interpreter


def seconds_per_run(subject: str, shape: str, size: int, work: str, workers: int) -> list[float]:
    """Time runs of a graph on warm workers; each is checked."""
    graph = SHAPES[shape](size)
    functions = WORK[work](graph)
    expected = expected_results(graph)
    with warm(subject, workers) as run:
        return time_runs(lambda: run(graph, functions), expected, SAMPLE_SECONDS)


@contextmanager
def warm(subject: str, workers: int) -> Iterator[Run]:
    """Open a subject and start its workers."""
    with SUBJECTS[subject].open(workers) as run:
        warm_up(run, workers)
        yield run


def warm_up(run: Run, workers: int) -> None:
    """Start workers, and let them and the caller import what they need."""
    nodes = wide(4 * workers)
    while_all_start = partial(pause, 0.02)  # long enough that each worker gets some
    run(nodes, [while_all_start] * len(nodes))
    run(nodes, [depth] * len(nodes))


def time_runs(
    run: Callable[[], list[int]], expected: list[int], enough: float = 0.0, most: int = MOST_RUNS
) -> list[float]:
    """Time a run, and again until the times add up to `enough` seconds or are `most`; each is checked."""
    gc.freeze()  # what the measuring made shall cost the measured no collection
    seconds: list[float] = []
    while not seconds or (sum(seconds) < enough and len(seconds) < most):
        gc.collect()
        start = perf_counter()
        results = run()
        seconds.append(perf_counter() - start)
        if results != expected:
            raise ValueError("the results are wrong")
    return seconds
