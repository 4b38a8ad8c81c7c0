"""What is measured: every runner of `processes`, and its peers.

A subject is a context manager that is called with a number of workers. It yields what runs a graph, with a
function for each node, and returns the results in order. Workers stay warm within its block. A run includes
all that a user has to make for it and gets from it: tasks, futures, the report.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from shapes import Graph

    from processes import Process, ProcessExecutionReport, ProcessRunner

    Functions = Sequence[Callable[..., Any]]
    Run = Callable[[Graph, Functions], list[Any]]


class Subject(NamedTuple):
    """What runs a graph, and the library that it needs."""

    open: Callable[[int], AbstractContextManager[Run]]
    library: str = "processes"

    @property
    def installed(self) -> bool:
        """Whether the library is there."""
        return find_spec(self.library) is not None


@contextmanager
def our_sequential(_workers: int) -> Iterator[Run]:
    from processes import SequentialRunner

    yield partial(run_process, SequentialRunner())


@contextmanager
def our_threads(workers: int) -> Iterator[Run]:
    from processes import ThreadRunner

    with ThreadRunner(workers) as runner:
        yield partial(run_process, runner)


@contextmanager
def our_pool(workers: int, *, last_only: bool = False, timeout: float | None = None) -> Iterator[Run]:
    from processes import ProcessPoolRunner

    with ProcessPoolRunner(workers) as runner:
        yield partial(run_process, runner, last_only=last_only, timeout=timeout)


@contextmanager
def our_runner_on_loky(workers: int) -> Iterator[Run]:
    from processes import ExecutorRunner

    with import_module("loky").ProcessPoolExecutor(workers) as executor:
        yield partial(run_process, ExecutorRunner(executor))


@contextmanager
def our_runner_on_dask(workers: int) -> Iterator[Run]:
    from processes import DaskRunner

    with DaskRunner(n_workers=workers, **peers.CLUSTER) as runner:
        yield partial(run_process, runner)


def run_process(runner: ProcessRunner, graph: Graph, functions: Functions, **options: Any) -> list[Any]:
    """Run a graph on a runner of `processes`; options as of :func:`process_of`."""
    return results_of(process_of(graph, functions, **options).run(runner=runner), graph)


def process_of(
    graph: Graph, functions: Functions, *, last_only: bool = False, timeout: float | None = None
) -> Process:
    """Build what `processes` runs; all results are kept, or only the last; `timeout` is for each task."""
    from processes import Process, Task, TaskDependency

    return Process(
        [
            Task(
                name,
                function,
                dependencies=[TaskDependency(graph[index].name, True) for index in dependencies],
                timeout=timeout,
                keep_result=not last_only or name == graph[-1].name,
            )
            for (name, dependencies), function in zip(graph, functions, strict=True)
        ]
    )


def results_of(report: ProcessExecutionReport, graph: Graph) -> list[Any]:
    """Take the results of a run in the order of the nodes; all must have succeeded."""
    report.raise_for_errors()
    results = report.results
    return [results[name] for name, _ in graph]


SEQUENTIAL, THREADS, POOL = "processes: sequential", "processes: thread", "processes: process"
POOL_WITH_LIMITS = "processes: process, time limits"

SUBJECTS = {
    SEQUENTIAL: Subject(our_sequential),
    THREADS: Subject(our_threads),
    POOL: Subject(our_pool),
    POOL_WITH_LIMITS: Subject(partial(our_pool, timeout=3600)),
    "processes: on loky": Subject(our_runner_on_loky, "loky"),
    "processes: on dask": Subject(our_runner_on_dask, "distributed"),
    "graphlib, bare loop": Subject(peers.graphlib_loop, "graphlib"),
    "ThreadPoolExecutor": Subject(peers.thread_pool_executor, "concurrent"),
    "ProcessPoolExecutor, fork": Subject(
        partial(peers.process_pool_executor, start_method="fork"), "concurrent"
    ),
    "ProcessPoolExecutor, forkserver": Subject(
        partial(peers.process_pool_executor, start_method="forkserver"), "concurrent"
    ),
    "ProcessPoolExecutor, spawn": Subject(
        partial(peers.process_pool_executor, start_method="spawn"), "concurrent"
    ),
    "bare forks, a share each": Subject(peers.forked_shares, "os"),
    "dask, sync": Subject(partial(peers.dask_scheduler, module="dask"), "dask"),
    "dask, threads": Subject(partial(peers.dask_scheduler, module="dask.threaded"), "dask"),
    "dask, distributed": Subject(peers.dask_cluster, "distributed"),
    "ray": Subject(peers.ray_cluster, "ray"),
    "joblib": Subject(peers.joblib_parallel, "joblib"),
    "loky": Subject(peers.loky_executor, "loky"),
    "mpire": Subject(peers.mpire_pool, "mpire"),
    "pebble": Subject(peers.pebble_pool, "pebble"),
}

PEER_POOLS = [
    "ProcessPoolExecutor, fork",
    "ProcessPoolExecutor, forkserver",
    "ProcessPoolExecutor, spawn",
    "loky",
    "mpire",
    "pebble",
    "joblib",
    "dask, distributed",
    "ray",
]
"""Peers that run what can be pickled, with dependencies, on processes."""

WARM_POOLS = [name for name in PEER_POOLS if not name.endswith(("forkserver", "spawn"))]
"""Those that still differ once their workers run."""

SLOW = ("dask, distributed", "ray")  # where others take microseconds a task, they take milliseconds

ON_ENGINES = {"processes: on loky": "loky", "processes: on dask": "dask, distributed"}
"""What runs graphs on an engine of other people's, and that engine by itself."""
