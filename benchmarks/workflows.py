"""Recorded workflows, read from files: graphs whose nodes have a duration each.

Two formats are read: WfFormat, the JSON of WfCommons (https://wfcommons.org), in its layout since schema 1.4
and the flat one before; and STG, the text of the Standard Task Graph Set (Tobita and Kasahara, "A Standard
Task Graph Set for Fair Evaluation of Multiprocessor Scheduling Algorithms", 2002).
"""

from __future__ import annotations

import json
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shapes import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shapes import Graph


MOST_ENDS = 30  # at which windows begin, or end


class Workflow(NamedTuple):
    """A graph, and the seconds that each node takes."""

    graph: Graph
    seconds: list[float]

    def lower_bound(self, workers: int) -> float:
        """Tell what no schedule can beat, in seconds.

        One bound is the longest chain. Others come from windows, which leave some seconds before them and
        some behind: what of a task its chains do not let happen outside, workers do within. After Fernandez
        and Bussell, "Bounds on the Number of Processors and Time for Multiprocessor Optimal Schedules", 1973.
        """
        tasks = list(zip(self.seconds, *self._seconds_around(), strict=True))
        bound = chain = max(map(sum, tasks))
        befores = _some(head + part for seconds, head, _ in tasks for part in (0, seconds))
        behinds = _some(tail + part for seconds, _, tail in tasks for part in (0, seconds))
        for before, behind in product(befores, behinds):
            if before + behind < chain:
                parts = [
                    min(seconds, head + seconds - before, seconds + tail - behind)
                    for seconds, head, tail in tasks
                ]
                window = _least_seconds([part for part in parts if part > 0], workers)
                bound = max(bound, before + window + behind)
        return bound

    def _seconds_around(self) -> tuple[list[float], list[float]]:
        """Tell how long the longest chains are that end before each node, and that start behind it."""
        heads, tails = [0.0] * len(self.graph), [0.0] * len(self.graph)
        for place, (_, dependencies) in enumerate(self.graph):
            heads[place] = max((heads[other] + self.seconds[other] for other in dependencies), default=0.0)
        for place, (_, dependencies) in reversed(list(enumerate(self.graph))):
            for other in dependencies:
                tails[other] = max(tails[other], tails[place] + self.seconds[place])
        return heads, tails


def _some(values: Iterable[float]) -> list[float]:
    """Pick some of the values, the smallest among them."""
    distinct = sorted(set(values))
    return distinct[:: len(distinct) // MOST_ENDS + 1]


def _least_seconds(parts: list[float], workers: int) -> float:
    """Tell how long a window is at least in which workers do parts of tasks; 0.0 where each has its worker.

    A part may be longer than the window, and then takes a worker of its own.
    """
    least = 0.0
    parts = sorted(parts, reverse=True)
    for count in range(workers, len(parts), workers):  # of so many and one more, a worker gets several
        least = max(least, sum(parts[count - count // workers : count + 1]))
    if len(parts) > workers:
        for alone in range(workers):
            share = sum(parts[alone:]) / (workers - alone)
            if parts[alone] <= share:
                return max(least, share)
    return least


def find_files(paths: Iterable[str]) -> list[Path]:
    """List the files that are named, and those of both formats in the folders that are named."""
    files: list[Path] = []
    for path in [Path(path).absolute() for path in paths]:
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.suffix in {".json", ".stg"})
        else:
            files.append(path)
    return files


def read_workflow(file: Path) -> Workflow:
    """Read a file: WfFormat if its name ends so, else STG.

    Raises
    ------
    ValueError
        If it has another format, or tasks that depend on each other in a circle.
    """
    text = file.read_text(encoding="utf-8")
    try:
        workflow = _read_wfformat(json.loads(text)) if file.suffix == ".json" else _read_stg(text)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(file)!r} is no workflow in WfFormat (.json) or STG (others): {error!r}"
        ) from error
    if not sum(workflow.seconds):
        raise ValueError(f"{str(file)!r} has no task that takes time")
    return workflow


def _read_wfformat(data: dict[str, Any]) -> Workflow:
    workflow = data["workflow"]
    if "specification" in workflow:
        tasks = workflow["specification"]["tasks"]
        seconds = {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}
        places = {task["id"]: place for place, task in enumerate(tasks)}
        durations = [seconds[task["id"]] for task in tasks]
    else:  # before 1.4, where names are unique and parents are named by them
        tasks = workflow["tasks"] if "tasks" in workflow else workflow["jobs"]
        places = {task["name"]: place for place, task in enumerate(tasks)}
        durations = [task.get("runtimeInSeconds", task.get("runtime")) for task in tasks]
    return _in_order([[places[name] for name in task["parents"]] for task in tasks], durations)


def _read_stg(text: str) -> Workflow:
    """Read the number of tasks, then a line for each: number, time, number of predecessors, predecessors.

    Tasks without time that stand for the entry and the exit are not in that number; some files lack them.
    """
    lines = [
        [int(word) for word in line.split()]
        for line in text.splitlines()
        if line.strip()[:1] not in {"", "#"}
    ]
    (size, *_), *tasks = lines
    if not size <= len(tasks) <= size + 2:
        raise ValueError(f"{len(tasks)} tasks instead of {size}")
    places = {number: place for place, (number, *_) in enumerate(tasks)}
    dependencies = []
    for number, _, count, *others in tasks:
        if len(others) != count:
            raise ValueError(f"task {number} has {len(others)} predecessors instead of {count}")
        dependencies.append([places[other] for other in others])
    return _in_order(dependencies, [seconds for _, seconds, *_ in tasks])


def _in_order(dependencies: Sequence[Sequence[int]], seconds: Sequence[float]) -> Workflow:
    """Put the nodes in an order in which they can run."""
    order = list(TopologicalSorter(dict(enumerate(dependencies))).static_order())
    places = {old: new for new, old in enumerate(order)}
    graph = [
        Node(f"node-{new}", tuple({places[other]: None for other in dependencies[old]}))  # each once
        for new, old in enumerate(order)
    ]
    return Workflow(graph, [float(seconds[old]) for old in order])
