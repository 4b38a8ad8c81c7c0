"""Recorded workflows, replayed: how near the order in which tasks start comes to the shortest makespan.

Three orders are compared: first come, first served; the library's own, which starts the task above the
longest chain of tasks; and its order once durations are known, which starts the task above the chain that
takes longest.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from measuring import NotMeasuredError, call_fresh, time_runs, warm, warm_up
from peers import sorter_of
from subjects import process_of, results_of, run_process
from tables import Table
from work import depth, expected_results, pause
from workflows import read_workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from measuring import Settings
    from shapes import Graph
    from workflows import Workflow

    from processes import ProcessExecutionReport

WORKERS = (2, 8)
THREADS, PROCESSES = "threads", "processes"
MEASURED = [(2, THREADS), (8, THREADS), (2, PROCESSES)]
FIRST_COME, OWN, KNOWN = "first come", "longest chain", "durations known"
WORSE = 1.02  # times first come: more is remarked on for the library's own order
FAR = 1.1  # times the lower bound: more is remarked on for known durations
BOUND_SECONDS = 0.75  # what is measured is scaled to this lower bound, or to a larger one
MEAN_SECONDS = 0.002  # that a task sleeps then: to fall asleep and to wake up takes 0.1 ms in any order
MOST_MEASURED = 20  # files; the others are simulated only


def measure(settings: Settings) -> Iterator[Table]:
    """Simulate and measure each file, on few workers and on many."""
    workflows = settings.workflows
    if not workflows:
        print("workflows: left out, since --files names none", file=sys.stderr)
        return
    files = {f"{file.stem}, {len(workflow.graph)} tasks": file for file, workflow in workflows.items()}

    def simulate(row: str, workers: int) -> dict[str, float]:
        workflow = workflows[files[row]]
        bound = workflow.lower_bound(workers)
        return {order: seconds / bound for order, seconds in simulated_makespans(workflow, workers).items()}

    def replay(row: str, kind: str, workers: int) -> dict[str, float]:
        bound = max(BOUND_SECONDS, MEAN_SECONDS * len(workflows[files[row]].graph) / workers)
        bound /= 5 if settings.quick else 1
        seconds = call_fresh(measured_makespans, str(files[row]), kind, workers, bound)
        return {order: value / bound for order, value in seconds.items()}

    for workers in WORKERS:
        title = f"Recorded workflows on {workers} workers, simulated: makespan ÷ lower bound"
        yield _table(title, list(files), partial(simulate, workers=workers))
    for workers, kind in MEASURED:
        title = f"Recorded workflows on {workers} {kind}, measured: makespan ÷ lower bound"
        yield _table(title, list(files)[:MOST_MEASURED], partial(replay, kind=kind, workers=workers))


def _table(title: str, rows: list[str], ratios_of: Callable[[str], dict[str, float]]) -> Table:
    """Fill a table with the ratios of all orders, and remark on those that are not as they should be."""
    table = Table(title, "workflow")
    for row in rows:
        try:
            ratios = ratios_of(row)
        except NotMeasuredError as error:
            table.put(row, "remark", str(error))
            continue
        for order, ratio in ratios.items():
            table.add(row, order, [ratio])
        remarks = []
        if FIRST_COME in ratios and ratios[OWN] > WORSE * ratios[FIRST_COME]:
            remarks.append(f"{OWN}: {ratios[OWN] / ratios[FIRST_COME]:.2f} times {FIRST_COME}")
        if ratios[KNOWN] > FAR:
            remarks.append(f"{KNOWN}: over {FAR} times the bound")
        table.put(row, "remark", "; ".join(remarks))
    return table


# Simulating


class Order(Protocol):
    """What a simulation asks for the next task; the library's plan is one."""

    @property
    def unfinished(self) -> int: ...

    def count_ready(self, group: int) -> int: ...

    def take(self, group: int) -> int: ...

    def succeed(self, task: int) -> object: ...


class FirstCome:
    """Starts tasks in the order in which they became ready."""

    def __init__(self, graph: Graph) -> None:
        self._sorter = sorter_of(graph)
        self._sorter.prepare()
        self._ready = deque(self._sorter.get_ready())

    @property
    def unfinished(self) -> bool:
        return self._sorter.is_active()

    def count_ready(self, _group: int) -> int:
        return len(self._ready)

    def take(self, _group: int) -> int:
        return self._ready.popleft()

    def succeed(self, task: int) -> None:
        self._sorter.done(task)
        self._ready += self._sorter.get_ready()


def simulated_makespans(workflow: Workflow, workers: int) -> dict[str, float]:
    """Tell by order how long a workflow takes where nothing but its tasks takes time."""
    from processes.graph import Graph as TaskGraph
    from processes.plan import Plan

    graph = TaskGraph(process_of(workflow.graph, [depth] * len(workflow.graph)).tasks)
    groups = [0] * len(graph.tasks)
    orders: dict[str, Order] = {
        FIRST_COME: FirstCome(workflow.graph),
        OWN: Plan(graph, groups),
        KNOWN: Plan(graph, groups, workflow.seconds),
    }
    return {name: _makespan(order, workflow.seconds, workers) for name, order in orders.items()}


def _makespan(order: Order, seconds: list[float], workers: int) -> float:
    """Simulate list scheduling: whenever a worker is free and a task is ready, one starts."""
    now = 0.0
    running: list[tuple[float, int]] = []  # a heap: when each task ends
    while order.unfinished:
        while order.count_ready(0) and len(running) < workers:
            task = order.take(0)
            heappush(running, (now + seconds[task], task))
        now = running[0][0]
        while running and running[0][0] == now:  # all that end now, before any starts
            order.succeed(heappop(running)[1])
    return now


# What is called in a fresh interpreter


def measured_makespans(file: str, kind: str, workers: int, bound: float) -> dict[str, float]:
    """Replay a workflow in each order, with tasks that sleep, scaled to a lower bound in seconds.

    A makespan goes from the start of the first task to the end of the last. First come is for threads alone.
    """
    from processes import ProcessPoolRunner, ThreadRunner

    workflow = read_workflow(Path(file))
    graph = workflow.graph
    factor = bound / workflow.lower_bound(workers)
    seconds = [factor * seconds for seconds in workflow.seconds]
    makespans = {}
    if kind == THREADS:
        makespans[FIRST_COME] = _first_come_makespan(graph, seconds, workers)
    functions = [partial(pause, length) for length in seconds]
    expected = expected_results(graph)
    reports: list[ProcessExecutionReport] = []

    def run_informed() -> list[int]:
        report = process_of(graph, functions).run(runner=runner, durations=reports[-1] if reports else None)
        reports.append(report)
        return results_of(report, graph)

    with (ThreadRunner if kind == THREADS else ProcessPoolRunner)(workers) as runner:
        warm_up(partial(run_process, runner), workers)
        for order in (OWN, KNOWN):  # the second knows what the first took
            time_runs(run_informed, expected)
            metrics = reports[-1].metrics.values()
            first, last = min(task.started_at for task in metrics), max(task.finished_at for task in metrics)
            makespans[order] = last - first
    return makespans


def _first_come_makespan(graph: Graph, seconds: list[float], workers: int) -> float:
    moments: list[float] = []  # at which tasks started and ended
    functions = [partial(_noted_pause, moments, length) for length in seconds]
    with warm("ThreadPoolExecutor", workers) as run:
        time_runs(lambda: run(graph, functions), expected_results(graph))
    return max(moments) - min(moments)


def _noted_pause(moments: list[float], seconds: float, *below: int) -> int:
    moments.append(perf_counter())
    result = pause(seconds, *below)
    moments.append(perf_counter())
    return result
