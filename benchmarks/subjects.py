"""What is measured: small adapters that drive the same graph, each the way its library is meant to be used.

A subject is a context manager, called with a number of workers. What is warm between two runs (workers) lives
as long as its block; what it yields runs a graph and returns the results of the nodes, in order. That
includes all that a user has to make for it and gets from it: tasks, futures, the report.

Peers are imported where they are used, so that those that are not installed are only left out.
"""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from functools import partial
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from processes import ProcessRunner
    from shapes import Graph

    Functions = Sequence[Callable[..., int]]
    Run = Callable[[Graph, Functions], list[int]]
    Submit = Callable[..., Future[int]]

# processes itself


@contextmanager
def our_sequential(_workers: int) -> Iterator[Run]:
    from processes import SequentialRunner

    yield partial(_run_process, SequentialRunner())


@contextmanager
def our_threads(workers: int) -> Iterator[Run]:
    from processes import ThreadRunner

    with ThreadRunner(workers) as runner:
        yield partial(_run_process, runner)


@contextmanager
def our_pool(workers: int) -> Iterator[Run]:
    from processes import ProcessPoolRunner

    with ProcessPoolRunner(workers) as runner:
        yield partial(_run_process, runner)


def _run_process(runner: ProcessRunner, graph: Graph, functions: Functions) -> list[int]:
    from processes import Process, Task, TaskDependency

    tasks = [
        Task(name, function, dependencies=[TaskDependency(graph[index].name, True) for index in dependencies])
        for (name, dependencies), function in zip(graph, functions, strict=True)
    ]
    report = Process(tasks).run(runner=runner)
    report.raise_for_errors()
    return [report.entries[name].result for name, _ in graph]  # type: ignore[misc]


# The standard library


@contextmanager
def graphlib_loop(_workers: int) -> Iterator[Run]:
    def run(graph: Graph, functions: Functions) -> list[int]:
        sorter = TopologicalSorter({index: node.dependencies for index, node in enumerate(graph)})
        results = [0] * len(graph)
        for index in sorter.static_order():
            results[index] = functions[index](*[results[other] for other in graph[index].dependencies])
        return results

    yield run


@contextmanager
def thread_pool_executor(workers: int) -> Iterator[Run]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as executor:
        yield partial(_drive, executor.submit)


@contextmanager
def process_pool_executor(workers: int, *, start_method: str) -> Iterator[Run]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context(start_method)) as executor:
        yield partial(_drive, executor.submit)


@contextmanager
def forked_shares(workers: int) -> Iterator[Run]:
    """Fork, let each child do its share of independent nodes, collect: what no pool can beat by much."""

    def run(graph: Graph, functions: Functions) -> list[int]:
        results = [0] * len(graph)
        pipes = []
        for worker in range(workers):
            reader, writer = os.pipe()
            if not os.fork():
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump([function() for function in functions[worker::workers]], pipe)
                os._exit(0)
            os.close(writer)
            pipes.append(reader)
        for worker, reader in enumerate(pipes):
            with os.fdopen(reader, "rb") as pipe:
                results[worker::workers] = pickle.load(pipe)
            os.wait()
        return results

    yield run


# Others


@contextmanager
def dask_scheduler(workers: int, *, scheduler: str) -> Iterator[Run]:
    get = import_module("dask.threaded" if scheduler == "threads" else "dask").get

    def run(graph: Graph, functions: Functions) -> list[int]:
        tasks = {
            name: (function, *[graph[index].name for index in dependencies])
            for (name, dependencies), function in zip(graph, functions, strict=True)
        }
        return list(get(tasks, [name for name, _ in graph], num_workers=workers))

    yield run


@contextmanager
def joblib_parallel(workers: int) -> Iterator[Run]:
    joblib = import_module("joblib")

    def run(graph: Graph, functions: Functions) -> list[int]:
        # joblib knows no dependencies, so it gets one generation of nodes after the other.
        results = [0] * len(graph)
        sorter = TopologicalSorter({index: node.dependencies for index, node in enumerate(graph)})
        sorter.prepare()
        while generation := sorter.get_ready():
            calls = [
                joblib.delayed(functions[index])(*[results[other] for other in graph[index].dependencies])
                for index in generation
            ]
            for index, result in zip(generation, parallel(calls), strict=True):
                results[index] = result
            sorter.done(*generation)
        return results

    with joblib.Parallel(n_jobs=workers) as parallel:
        yield run


@contextmanager
def loky_executor(workers: int) -> Iterator[Run]:
    with import_module("loky").ProcessPoolExecutor(workers) as executor:
        yield partial(_drive, executor.submit)


@contextmanager
def mpire_pool(workers: int) -> Iterator[Run]:
    from concurrent.futures import Future

    def submit(function: Callable[..., int], *args: int) -> Future[int]:
        future: Future[int] = Future()
        pool.apply_async(function, args, callback=future.set_result, error_callback=future.set_exception)
        return future

    with import_module("mpire").WorkerPool(workers) as pool:
        yield partial(_drive, submit)


@contextmanager
def pebble_pool(workers: int) -> Iterator[Run]:
    with import_module("pebble").ProcessPool(workers) as pool:
        yield partial(_drive, lambda function, *args: pool.schedule(function, args))


def _drive(submit: Submit, graph: Graph, functions: Functions) -> list[int]:
    """Run a graph on anything that makes futures: graphlib says what is ready, a queue what is done."""
    sorter = TopologicalSorter({index: node.dependencies for index, node in enumerate(graph)})
    sorter.prepare()
    results = [0] * len(graph)
    done: SimpleQueue[tuple[int, Future[int]]] = SimpleQueue()
    while sorter.is_active():
        for index in sorter.get_ready():
            future = submit(functions[index], *[results[other] for other in graph[index].dependencies])
            future.add_done_callback(partial(_put, done, index))
        index, future = done.get()
        results[index] = future.result()
        sorter.done(index)
    return results


def _put(done: SimpleQueue[tuple[int, Future[int]]], index: int, future: Future[int]) -> None:
    done.put((index, future))


SUBJECTS: dict[str, Callable[[int], AbstractContextManager[Run]]] = {
    "processes, sequential": our_sequential,
    "processes, threads": our_threads,
    "processes, processes": our_pool,
    "graphlib, bare loop": graphlib_loop,
    "graphlib + ThreadPoolExecutor": thread_pool_executor,
    "graphlib + ProcessPoolExecutor, fork": partial(process_pool_executor, start_method="fork"),
    "graphlib + ProcessPoolExecutor, forkserver": partial(process_pool_executor, start_method="forkserver"),
    "graphlib + ProcessPoolExecutor, spawn": partial(process_pool_executor, start_method="spawn"),
    "bare fork, a share each": forked_shares,
    "dask, sync": partial(dask_scheduler, scheduler="sync"),
    "dask, threads": partial(dask_scheduler, scheduler="threads"),
    "joblib": joblib_parallel,
    "graphlib + loky": loky_executor,
    "graphlib + mpire": mpire_pool,
    "graphlib + pebble": pebble_pool,
}


def missing_library(subject: str) -> str | None:
    """Return the library that a subject needs and that is not installed; None if all is there."""
    libraries = [name for name in ("dask", "joblib", "loky", "mpire", "pebble") if name in subject]
    return next((name for name in libraries if find_spec(name) is None), None)


def unused() -> Any:
    ...
