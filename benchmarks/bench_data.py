"""What large data costs on its way between processes: the pool of `processes` beside other pools."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from measuring import call_fresh, take_turns
from peers import dask_cluster, ray_cluster
from shapes import Node, chain
from subjects import POOL, SUBJECTS, our_pool
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from measuring import Settings
    from shapes import Graph

    Run = Callable[[int], list[Any]]
    Step = Callable[[np.ndarray], Any]

ROWS = [POOL, "ProcessPoolExecutor, fork", "joblib"]  # loky copies as the former does, as slowly
CLUSTER = "dask, distributed"  # has no way of its own to call a function many times with one argument
RAY = "ray"
LAST_ONLY = {
    POOL: partial(our_pool, last_only=True),
    CLUSTER: partial(dask_cluster, last_only=True),
    RAY: partial(ray_cluster, last_only=True),
}
FIRST, LATER = "first run, s", "later runs, s"  # on memory that the system has to find, or just had
MOST_RUNS = 4
ENOUGH_SECONDS = 2.0
MB = 1 << 20


def measure(settings: Settings) -> Iterator[Table]:
    """Measure one result for many, results from task to task, and one argument for many."""
    less = 10 if settings.quick else 1
    cases = {
        f"{200 // less} MB to 8 consumers": ("fan-out", 200 // less, 8),
        f"{100 // less} MB along a chain of 10": ("chain", 100 // less, 10),
        f"{100 // less} MB along a chain of 10, of which only the last is kept": ("last", 100 // less, 10),
        f"{50 // less} MB, an argument of 40 tasks": ("argument", 50 // less, 40),
    }
    for title, case in cases.items():
        table = Table(f"{title}, {settings.workers} warm workers")
        sample = partial(_sample, table, case, settings.workers)
        take_turns(table, settings.rounds, [FIRST], _rows(case[0], quick=settings.quick), sample)
        table.add_ratio(FIRST, POOL)
        yield table


def _sample(table: Table, case: tuple[str, int, int], workers: int, row: str, _column: str) -> list[float]:
    """Measure a row once; return the first run, and put the later ones into their own column."""
    first, *later = call_fresh(seconds_with_data, row, *case, workers)
    table.add(row, FIRST, ())  # the left one of the two
    table.add(row, LATER, later)
    return [first]


def _rows(case: str, *, quick: bool) -> list[str]:
    if case == "last":
        return [POOL] if quick else [POOL, CLUSTER, RAY]
    if quick:
        return ROWS
    return [*ROWS, RAY] if case == "argument" else [*ROWS, CLUSTER, RAY]


# What is called in a fresh interpreter


def seconds_with_data(subject: str, case: str, megabytes: int, size: int, workers: int) -> list[float]:
    """Time runs on warm workers; each is checked. Arrays are read to the end by who gets them."""
    numbers = megabytes * MB // 8
    if case == "argument":
        opened, expected = _mapping(subject, size, workers), [numbers] * size
    elif case in ("chain", "last"):
        opened = _running(subject, chain(size), _grow, workers, last_only=case == "last")
        expected = [size * numbers]
    else:
        opened, expected = _running(subject, _fan_out(size), _total, workers), [numbers] * size
    seconds: list[float] = []
    with opened as run:
        run(1)  # workers start, and import what they need
        while not seconds or (sum(seconds) < ENOUGH_SECONDS and len(seconds) < MOST_RUNS):
            start = perf_counter()
            results = run(megabytes)
            seconds.append(perf_counter() - start)
            if [_total(result) for result in results[-len(expected) :]] != expected:
                raise ValueError("the results are wrong")
            del results  # it is dropped before the next run
    return seconds


@contextmanager
def _running(
    subject: str, graph: Graph, step: Step, workers: int, *, last_only: bool = False
) -> Iterator[Run]:
    """Run a graph whose first node makes an array; the others take one."""
    open_subject = LAST_ONLY[subject] if last_only else SUBJECTS[subject].open
    with open_subject(workers) as run:
        yield lambda megabytes: run(graph, [partial(_make, megabytes), *[step] * (len(graph) - 1)])


@contextmanager
def _mapping(subject: str, size: int, workers: int) -> Iterator[Run]:
    """Call a function so many times with one and the same array, the way that each library has for it."""
    if subject == POOL:
        from processes import Process, ProcessPoolRunner, Task

        def run(array: np.ndarray) -> list[Any]:
            tasks = [Task(f"use-{number}", _total, args=(array,)) for number in range(size)]
            report = Process(tasks).run(runner=runner)
            report.raise_for_errors()
            return list(report.results.values())

        with ProcessPoolRunner(workers) as runner:
            yield lambda megabytes: run(_make(megabytes))
    elif subject == "joblib":
        joblib = import_module("joblib")
        with joblib.Parallel(n_jobs=workers) as parallel:
            yield lambda megabytes: parallel([joblib.delayed(_total)(_make(megabytes))] * size)
    elif subject == RAY:
        ray = import_module("ray")
        use = ray.remote(_total)

        def run_on_ray(megabytes: int) -> list[Any]:
            array = ray.put(_make(megabytes))
            return list(ray.get([use.remote(array) for _ in range(size)]))

        with ray_cluster(workers):
            yield run_on_ray
    else:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with ProcessPoolExecutor(workers, get_context("fork")) as executor:
            yield lambda megabytes: list(executor.map(_total, [_make(megabytes)] * size))


def _fan_out(consumers: int) -> Graph:
    return [Node("make"), *(Node(f"use-{number}", (0,)) for number in range(consumers))]


def _make(megabytes: int) -> np.ndarray:
    import numpy as np

    return np.ones(megabytes * MB // 8)


def _total(array: np.ndarray | float) -> float:
    import numpy as np

    return float(np.sum(array))


def _grow(array: np.ndarray) -> np.ndarray:
    return array + 1
