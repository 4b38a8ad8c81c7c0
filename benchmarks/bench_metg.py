"""METG(50 %): how short tasks may be before more than half of the workers' time is lost.

The minimum effective task granularity is the measure of Task Bench (Slaughter et al., "Task Bench: A
Parameterized Benchmark for Evaluating Parallel Runtime Performance", SC 2020): the smallest mean length of a
task at which at least half of the workers' time is useful work. Unlike the cost of a no-op it counts all that
keeps workers idle: what a task costs, where that cost cannot overlap with work, and waits for dependencies.
"""

from __future__ import annotations

from functools import cache, partial
from time import perf_counter
from typing import TYPE_CHECKING

from measuring import NotMeasuredError, call_fresh, take_turns, time_runs, warm
from shapes import SHAPES, WIDTH
from subjects import POOL, SEQUENTIAL, SLOW, THREADS, WARM_POOLS
from tables import Table
from work import expected_results, hash_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

PATTERNS = {
    "trivial": "wide",
    "stencil": "stencil",
    "FFT": "fft",
    "random nearest": "nearest",
    "tree": "broadcast",
}
ALONE = [SEQUENTIAL, "graphlib, bare loop", "dask, sync"]  # one worker: the thread that calls them
ROWS = [*ALONE, THREADS, "ThreadPoolExecutor", "dask, threads", POOL, *WARM_POOLS]
QUICK_ROWS = [SEQUENTIAL, THREADS, "ThreadPoolExecutor", POOL, "ProcessPoolExecutor, fork"]
SIZE = 12 * WIDTH  # nodes: twelve steps
EFFICIENT = 0.5
ENOUGH_SECONDS = 0.1  # shorter runs are repeated, and the quickest counts ...
MOST_RUNS = 8  # ... of no more than that
MOST_SECONDS = 2  # of a run without any loss; the search ends before it takes longer
CALIBRATION = 5_000  # iterations: some milliseconds


def measure(settings: Settings) -> Iterator[Table]:
    """Measure each runner and peer on each pattern."""
    patterns = ["trivial", "stencil"] if settings.quick else list(PATTERNS)

    def sample(row: str, column: str) -> list[float]:
        if row in SLOW and column != patterns[0]:
            raise NotMeasuredError("left out: takes too long")
        workers = 1 if row in ALONE else settings.workers
        seconds = call_fresh(metg_seconds, row, PATTERNS[column], SIZE, workers)
        if seconds is None:
            raise NotMeasuredError(f"not with runs of {MOST_SECONDS} s")
        return [seconds * 1e6]

    table = Table(f"METG(50 %), {SIZE} tasks on {settings.workers} warm workers: µs")
    rows = QUICK_ROWS if settings.quick else ROWS
    take_turns(table, settings.rounds, patterns, rows, sample)
    yield table


# What is called in a fresh interpreter


def metg_seconds(subject: str, shape: str, size: int, workers: int) -> float | None:
    """Search for the task length at which half of the workers' time is useful.

    The search begins at twice the time that a worker spends on a task without work, doubles the length until
    a run is efficient, halves it until one is not, and interpolates between the last two.

    Returns
    -------
    float or None
        The length in seconds; None if runs get too long before one is efficient.
    """
    graph = SHAPES[shape](size)
    expected = expected_results(graph)
    least, iteration = _kernel_seconds()
    with warm(subject, workers) as run:

        def worker_seconds_per_task(iterations: int) -> float:
            functions = [partial(hash_on, iterations)] * len(graph)
            seconds = min(time_runs(lambda: run(graph, functions), expected, ENOUGH_SECONDS, MOST_RUNS))
            return seconds * workers / len(graph)

        def length(iterations: int) -> float:
            return least + iterations * iteration

        @cache
        def efficiency(iterations: int) -> float:
            return length(iterations) / worker_seconds_per_task(iterations)

        longer = max(2, round(2 * worker_seconds_per_task(1) / iteration))
        while efficiency(longer) <= EFFICIENT:
            longer *= 2
            if length(longer) * len(graph) / workers > MOST_SECONDS:
                return None
        shorter = longer // 2
        while efficiency(shorter) > EFFICIENT:
            if shorter == 1:
                return length(shorter)
            longer, shorter = shorter, shorter // 2
        part = (EFFICIENT - efficiency(shorter)) / (efficiency(longer) - efficiency(shorter))
        return length(shorter) * float((length(longer) / length(shorter)) ** part)


def _kernel_seconds() -> tuple[float, float]:
    """Time the work on one processor: without iterations, and what each one adds."""
    seconds = {}
    for iterations in (1, CALIBRATION):
        samples = []
        for _ in range(20):
            start = perf_counter()
            hash_on(iterations)
            samples.append(perf_counter() - start)
        seconds[iterations] = min(samples)  # at its quickest: what others use is not counted
    iteration = (seconds[CALIBRATION] - seconds[1]) / (CALIBRATION - 1)
    return seconds[1] - iteration, iteration
