"""Tasks in order: who needs whom, and whether that can work out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .checks import did_you_mean
from .collector import collector_paused
from .exceptions import CircularDependencyError, DependencyNotFoundError
from .lazy_mapping import LazyMapping
from .task import check_dependencies, checked_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from .task import Task
    from .task_types import TaskDependency

    Passed = tuple[tuple[int, str | None], ...] | None

_NO_TASK: Any = None  # what stands in the place of one that was removed
SHOWN_IN_CYCLE = 12  # more names than that tell nobody more
FOLLOWED = 20  # dependencies for each task, in search of circles; to make a new graph takes about as long


class Graph:
    """Tasks and their dependencies, checked, in an order in which they can run; never changed.

    A task is named by its index in that order: whatever it depends on has a smaller one. The order is
    the one that was given, but for tasks that had to be moved up before the first one that needs them.
    Everything costs O(V + E).

    Parameters
    ----------
    tasks : iterable of Task
        The tasks. What their `name` and `dependencies` hold is read here, once; a name that is not in
        lower case any more is written back so.

    Attributes
    ----------
    tasks : list of Task
        The tasks, by index.
    names : list of str
        Their names, by index.
    index : dict of str to int
        The index of each name.
    dependencies, dependants : list of sequence of int
        For each task the tasks that it depends on, as it lists them; and the tasks that depend on it.
    passed : list of tuple, or None
        For each task what of the results of its dependencies it is passed: pairs of a place in its
        `dependencies` and a keyword, which is None for a positional argument. None where all are passed by
        position, as most are.
    heights : list of int
        For each task the number of tasks in the longest chain below it.

    Raises
    ------
    TypeError
        If a name is no str, or dependencies are no list of TaskDependency.
    ValueError
        If two tasks have the same name, or one names a dependency or gets a keyword argument twice.
    DependencyNotFoundError
        If a task depends on one that is not there.
    CircularDependencyError
        If tasks depend on each other in a circle, or one on itself.
    """

    __slots__ = ("dependants", "dependencies", "heights", "index", "names", "passed", "tasks")

    def __init__(self, tasks: Iterable[Task]) -> None:
        with collector_paused():
            tasks = list(tasks)
            index = _index_of_names(tasks)
            dependencies = _dependencies(tasks, index)
            passed = [what_is_passed(task.dependencies) if task.dependencies else None for task in tasks]
            self._put_in_order(tasks, index, dependencies, passed)

    @classmethod
    def of_draft(cls, draft: Draft) -> Self:
        """Make the graph of a draft, of what that has read of each task."""
        graph = cls.__new__(cls)
        with collector_paused():
            graph._put_in_order(*draft.members())  # noqa: SLF001 - its own
        return graph

    def _put_in_order(
        self,
        tasks: list[Task],
        index: dict[str, int],
        dependencies: list[tuple[int, ...]],
        passed: list[Passed],
    ) -> None:
        names = list(index)
        order = _order(names, dependencies)
        if order is not None:
            names = [names[old] for old in order]
            index = {name: task for task, name in enumerate(names)}
            tasks, dependencies, passed = _picked(order, tasks, dependencies, passed)
        self.tasks = tasks
        self.names = names
        self.index = index
        self.dependencies = dependencies
        self.passed = passed
        self.dependants = _dependants(dependencies)
        self.heights = _heights(dependencies)

    def dependency_names(self) -> LazyMapping[tuple[str, ...]]:
        """Return by name what a task depends on, for those that depend on any."""
        names, dependencies = self.names, self.dependencies
        return LazyMapping(
            lambda: {
                name: tuple([names[other] for other in needed])
                for name, needed in zip(names, dependencies, strict=True)
                if needed
            }
        )

    def passed_by_name(self) -> LazyMapping[Passed]:
        """Return by name what of the results of its dependencies a task is passed, where that is any."""
        rows = self.names, self.dependencies, self.passed
        return LazyMapping(
            lambda: {name: what for name, needed, what in zip(*rows, strict=True) if needed and what != ()}
        )

    def descendants(self, task: int) -> list[int]:
        """Return all tasks that depend on one, directly or not, in order."""
        found: set[int] = set()
        reached = [task]
        while reached:
            for dependant in self.dependants[reached.pop()]:
                if dependant not in found:
                    found.add(dependant)
                    reached.append(dependant)
        return sorted(found)

    def bottom_levels(self, durations: Sequence[float]) -> list[float]:
        """Return for each task how long the longest chain takes that begins with it, its own time included.

        Parameters
        ----------
        durations : sequence of float
            How long each task takes, in seconds.
        """
        levels = [0.0] * len(self.names)
        for task in range(len(self.names) - 1, -1, -1):
            below = max([levels[dependant] for dependant in self.dependants[task]], default=0.0)
            levels[task] = durations[task] + below
        return levels

    def critical_path(self) -> list[int]:
        """Return the longest chain of tasks, from its first to its last; the first of several."""
        path: list[int] = []
        below: Sequence[int] = range(len(self.names))
        while below:
            path.append(max(below, key=self.heights.__getitem__))
            below = self.dependants[path[-1]]
        return path


class Draft:
    """Tasks without a circle, from which a graph is to be made once it is needed.

    What a task depends on is read when it is added, once. To add or remove one costs O(1), and O(1) more for
    each of its dependencies.

    Parameters
    ----------
    graph : Graph
        What the draft begins with.

    Attributes
    ----------
    tasks, index, dependencies, passed
        As a graph has them; but for tasks that were removed, which still have their places, and no name.
    """

    __slots__ = (
        *("_followed", "_is_order", "_needed_by", "_removed"),
        *("dependencies", "index", "passed", "tasks"),
    )

    def __init__(self, graph: Graph) -> None:
        self.tasks = [*graph.tasks]
        self.index = {**graph.index}
        self.dependencies = [*graph.dependencies]
        self.passed = [*graph.passed]
        self._needed_by = [len(dependants) for dependants in graph.dependants]
        self._removed: set[int] = set()
        self._is_order = True  # whether each task comes after all that it depends on
        self._followed = 0

    def members(self) -> tuple[list[Task], dict[str, int], list[tuple[int, ...]], list[Passed]]:
        """Return tasks, index, dependencies and what is passed, without what was removed."""
        if not self._removed:
            return self.tasks, self.index, self.dependencies, self.passed
        kept = [place for place in range(len(self.tasks)) if place not in self._removed]
        tasks, dependencies, passed = _picked(kept, self.tasks, self.dependencies, self.passed)
        return tasks, {name: place for place, name in enumerate(self.index)}, dependencies, passed

    def add(self, task: Task) -> None:
        """Add a task, or refuse it as a graph does."""
        name = task.name = checked_name(task.name)
        if name in self.index:
            raise _duplicate(name)
        self.dependencies += _dependencies([task], self.index)
        self._count(self.dependencies[-1], 1)
        self._needed_by.append(0)
        self.passed.append(what_is_passed(task.dependencies))
        self.tasks.append(task)
        self.index[name] = len(self.tasks) - 1  # the last of all: another thread may look for it

    def remove(self, name: str) -> Task:
        """Remove a task and return it, or refuse that where others depend on it."""
        index = self.index[name]
        if self._needed_by[index]:
            dependants = [
                repr(task.name)
                for task, needed in zip(self.tasks, self.dependencies, strict=True)
                if index in needed
            ]
            raise ValueError(
                f"Task {name!r} cannot be removed: it is needed by {', '.join(dependants)}; "
                "remove what needs it first"
            )
        self._count(self.dependencies[index], -1)
        self.dependencies[index] = ()
        self._removed.add(index)
        del self.index[name]
        task, self.tasks[index] = self.tasks[index], _NO_TASK  # which may hold much
        return task

    def _count(self, needed: tuple[int, ...], sign: int) -> None:
        for other in needed:
            self._needed_by[other] += sign

    def read_again(self, index: int) -> Graph | None:
        """Read again what a task depends on, or refuse it as a graph does.

        Returns
        -------
        Graph or None
            None if that makes no circle; else, and where it takes long to tell, what takes the draft's place.
        """
        before = self.dependencies[index], self.passed[index]
        (needed,) = _dependencies([self.tasks[index]], self.index)
        self.dependencies[index], self.passed[index] = needed, what_is_passed(self.tasks[index].dependencies)
        is_order = self._is_order and max(needed, default=-1) < index
        if is_order or not self._may_lead_back(index):
            self._is_order = is_order
            self._count(before[0], -1)
            self._count(needed, 1)
            return None
        try:
            return Graph.of_draft(self)
        except BaseException:
            self.dependencies[index], self.passed[index] = before
            raise

    def _may_lead_back(self, index: int) -> bool:
        """Tell whether a task may depend on itself: it does, or it takes long to tell."""
        if not self._needed_by[index]:
            return False
        seen = {index}
        pending = [*self.dependencies[index]]
        limit = FOLLOWED * len(self.tasks)
        while pending and self._followed < limit:
            task = pending.pop()
            if task == index:
                return True
            if task not in seen:
                seen.add(task)
                pending += self.dependencies[task]
                self._followed += 1 + len(self.dependencies[task])
        return bool(pending)


def what_is_passed(dependencies: Sequence[TaskDependency]) -> Passed:
    """Tell what of the results of its dependencies a task is passed; see :attr:`Graph.passed`."""
    for dependency in dependencies:
        if dependency.use_result_as_additional_kwargs or not dependency.use_result_as_additional_args:
            break
    else:
        return None
    passed: list[tuple[int, str | None]] = []
    for place, dependency in enumerate(dependencies):
        if dependency.use_result_as_additional_args:
            passed.append((place, None))
        if dependency.use_result_as_additional_kwargs:
            passed.append((place, dependency.additional_kwarg_name))
    return tuple(passed)


def bind(
    args: tuple[Any, ...], kwargs: dict[str, Any], passed: Passed, values: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the results of a task's dependencies, in their order, behind its own arguments."""
    if passed is None:
        return (*args, *values), kwargs
    if not passed:  # they are only waited for, which is common too
        return args, kwargs
    all_args, all_kwargs = [*args], {**kwargs}
    for place, keyword in passed:
        if keyword is None:
            all_args.append(values[place])
        else:
            all_kwargs[keyword] = values[place]
    return tuple(all_args), all_kwargs


def unknown_task(name: str, names: Iterable[str]) -> str:
    """Say that no task has a name, and which name was perhaps meant."""
    return f"No task of this process has the name {name!r}{did_you_mean(name, names)}"


def _index_of_names(tasks: list[Task]) -> dict[str, int]:
    index: dict[str, int] = {}
    for place, task in enumerate(tasks):
        name = task.name = checked_name(task.name)
        if name in index:
            raise _duplicate(name)
        index[name] = place
    return index


def _duplicate(name: str) -> ValueError:
    return ValueError(f"Duplicate task name: {name} (case does not count); give one of them another name")


def _dependencies(tasks: list[Task], index: dict[str, int]) -> list[tuple[int, ...]]:
    dependencies: list[tuple[int, ...]] = []
    for task in tasks:
        if not (names := check_dependencies(task.name, task.dependencies, task.kwargs)):
            dependencies.append(())
            continue
        try:
            dependencies.append(tuple([index[name] for name in names]))
        except KeyError as error:
            missing = error.args[0]
            raise DependencyNotFoundError(
                f"Task {task.name!r} depends on {missing!r}, which is no task of this process"
                f"{did_you_mean(missing, index) or _swapped(task, missing, index) or '; add it to the tasks'}"
            ) from None
    return dependencies


def _swapped(task: Task, missing: str, index: dict[str, int]) -> str:
    """Give the end of a message where ``results_of(task="keyword")`` may be meant the other way round."""
    for dependency in task.dependencies:
        if dependency.task_name.lower() == missing and dependency.use_result_as_additional_kwargs:
            keyword = dependency.additional_kwarg_name
            name = next((name for name in index if name.replace("-", "_") == keyword.lower()), None)
            if name is not None and missing.isidentifier():
                return f"; did you mean results_of({missing}={name!r})?"
    return ""


def _order(names: list[str], dependencies: list[tuple[int, ...]]) -> list[int] | None:
    """Return a topological order, by depth-first search; None if the given one is one already."""
    if _is_order(dependencies):
        return None
    order: list[int] = []
    entered, left = bytearray(len(names)), bytearray(len(names))
    for start in range(len(names)):
        stack = [start]
        while stack:
            task = stack.pop()
            if task < 0:  # the mark, ~task, of a task that was entered: all it needs is in order now
                order.append(~task)
                left[~task] = True
            elif not entered[task]:
                entered[task] = True
                stack.append(~task)
                for other in reversed(dependencies[task]):
                    if not entered[other]:
                        stack.append(other)
                    elif not left[other]:
                        path = [~mark for mark in stack if mark < 0]
                        raise CircularDependencyError(_cycle_message(names, path[path.index(other) :]))
    return order


def _picked(
    places: list[int], tasks: list[Task], dependencies: list[tuple[int, ...]], passed: list[Passed]
) -> tuple[list[Task], list[tuple[int, ...]], list[Passed]]:
    """Pick what stands at some places, in their order; all that is depended on is among it."""
    place = [0] * len(tasks)
    for new, old in enumerate(places):
        place[old] = new
    return (
        [tasks[old] for old in places],
        [tuple([place[other] for other in dependencies[old]]) for old in places],
        [passed[old] for old in places],
    )


def _is_order(dependencies: list[tuple[int, ...]]) -> bool:
    for task, needed in enumerate(dependencies):
        for other in needed:
            if other >= task:
                return False
    return True


def _cycle_message(names: list[str], cycle: list[int]) -> str:
    circle = [names[task] for task in (*cycle, cycle[0])]
    if len(circle) > SHOWN_IN_CYCLE:
        hidden = len(circle) - SHOWN_IN_CYCLE
        circle[SHOWN_IN_CYCLE - 2 : -2] = [f"({hidden} more)"]
    return f"Circular dependency detected. {' -> '.join(circle)}; remove one of these dependencies"


def _dependants(dependencies: list[tuple[int, ...]]) -> list[list[int]]:
    none: list[int] = []  # shared: what need not be made need not be looked at by the garbage collector
    dependants = [none] * len(dependencies)
    for task, needed in enumerate(dependencies):
        for other in needed:
            if dependants[other]:
                dependants[other].append(task)
            else:
                dependants[other] = [task]
    return dependants


def _heights(dependencies: list[tuple[int, ...]]) -> list[int]:
    heights = [0] * len(dependencies)
    for task in range(len(dependencies) - 1, -1, -1):
        height = heights[task] + 1
        for other in dependencies[task]:
            if heights[other] < height:
                heights[other] = height
    return heights
