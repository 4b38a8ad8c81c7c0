"""Adapters for what `processes` is compared with; see `subjects` for what an adapter is.

Each drives a graph the way its library is meant to be used. Libraries that need not be installed are
imported where they are used.
"""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from functools import partial
from graphlib import TopologicalSorter
from importlib import import_module
from inspect import isfunction
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from shapes import Graph
    from subjects import Functions, Run

    Done = SimpleQueue[tuple[int, Future[int]]]


CLUSTER: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": "CRITICAL"}

# The standard library


@contextmanager
def graphlib_loop(_workers: int) -> Iterator[Run]:
    def run(graph: Graph, functions: Functions) -> list[int]:
        results = [0] * len(graph)
        for index in sorter_of(graph).static_order():
            results[index] = functions[index](*_arguments(graph, results, index))
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

    def run(_graph: Graph, functions: Functions) -> list[int]:
        readers = []
        for worker in range(workers):
            reader, writer = os.pipe()
            if not os.fork():
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump([function() for function in functions[worker::workers]], pipe)
                os._exit(0)
            os.close(writer)
            readers.append(reader)
        results = [0] * len(functions)
        for worker, reader in enumerate(readers):
            with os.fdopen(reader, "rb") as pipe:
                results[worker::workers] = pickle.load(pipe)
            os.wait()
        return results

    yield run


# Others


@contextmanager
def dask_scheduler(workers: int, *, module: str) -> Iterator[Run]:
    get = import_module(module).get

    def run(graph: Graph, functions: Functions) -> list[int]:
        calls = {
            name: (function, *[graph[index].name for index in dependencies])
            for (name, dependencies), function in zip(graph, functions, strict=True)
        }
        return list(get(calls, [name for name, _ in graph], num_workers=workers))

    yield run


@contextmanager
def dask_cluster(workers: int, *, last_only: bool = False) -> Iterator[Run]:
    distributed = import_module("distributed")
    numbers = count()

    def run(graph: Graph, functions: Functions) -> list[int]:
        run_number = next(numbers)  # the scheduler may still know the keys of the run before
        keys = [f"{name}-{run_number}" for name, _ in graph]
        calls = {
            key: (function, *[keys[index] for index in dependencies])
            for key, (_, dependencies), function in zip(keys, graph, functions, strict=True)
        }
        return list(client.get(calls, keys[-1:] if last_only else keys))

    cluster = distributed.LocalCluster(n_workers=workers, **CLUSTER)
    with cluster, distributed.Client(cluster) as client:
        yield run


@contextmanager
def ray_cluster(workers: int, *, last_only: bool = False) -> Iterator[Run]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_module("ray")

    def remote(function: Callable[..., int]) -> Any:
        # Ray takes nothing but functions.
        return ray.remote(function if isfunction(function) else lambda *below: function(*below))

    def run(graph: Graph, functions: Functions) -> list[int]:
        remotes = {function: remote(function) for function in set(functions)}
        references: list[Any] = []
        for (_, dependencies), function in zip(graph, functions, strict=True):
            arguments = [references[index] for index in dependencies]
            references.append(remotes[function].remote(*arguments))
        return list(ray.get(references[-1:] if last_only else references))

    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        yield run
    finally:
        ray.shutdown()


@contextmanager
def joblib_parallel(workers: int) -> Iterator[Run]:
    joblib = import_module("joblib")

    def run(graph: Graph, functions: Functions) -> list[int]:
        # joblib knows no dependencies, so it gets one generation of nodes after the other.
        results = [0] * len(graph)
        sorter = sorter_of(graph)
        sorter.prepare()
        while generation := sorter.get_ready():
            calls = [
                joblib.delayed(functions[index])(*_arguments(graph, results, index)) for index in generation
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


# Driving a graph


def _drive(submit: Callable[..., Future[int]], graph: Graph, functions: Functions) -> list[int]:
    """Run a graph on anything that makes futures: graphlib says what is ready, a queue what is done."""
    sorter = sorter_of(graph)
    sorter.prepare()
    results = [0] * len(graph)
    done: Done = SimpleQueue()
    while sorter.is_active():
        for index in sorter.get_ready():
            future = submit(functions[index], *_arguments(graph, results, index))
            future.add_done_callback(partial(_put, done, index))
        index, future = done.get()
        results[index] = future.result()
        sorter.done(index)
    return results


def _put(done: Done, index: int, future: Future[int]) -> None:
    done.put((index, future))


def sorter_of(graph: Graph) -> TopologicalSorter[int]:
    return TopologicalSorter({index: dependencies for index, (_, dependencies) in enumerate(graph)})


def _arguments(graph: Graph, results: list[int], index: int) -> list[int]:
    return [results[other] for other in graph[index].dependencies]
