"""The runners of one run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from . import make_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..attempt import Message
    from ..task import Task
    from ..task_types import TaskResult
    from .base import ProcessRunner
    from .waker import Waker


class Team:
    """Copies of the runners of a run, which are its own, and which of them runs which task.

    Parameters
    ----------
    tasks : sequence of Task
        The run's tasks.
    default : ProcessRunner
        What runs the tasks that name no runner for themselves.
    results : dict of str to TaskResult
        The run's results.
    has_line : bool
        Whether the run redraws a progress line.
    waker : Waker
        The run's.

    Attributes
    ----------
    default : ProcessRunner
        The copy of that.
    numbered : list of ProcessRunner
        The copies that have tasks to run.
    number_of : list of int
        For each task the number of its runner among these.
    runners : list of ProcessRunner
        All copies.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        default: ProcessRunner,
        results: dict[str, TaskResult],
        has_line: bool,
        waker: Waker,
    ) -> None:
        self._waker = waker
        self.default = default.for_run()
        self.numbered, self.number_of = _numbered_runners(tasks, default, self.default)
        self.runners = [self.default, *(one for one in self.numbered if one is not self.default)]
        is_shared = _shared_functions(tasks)
        for one in self.runners:
            one.results = results
            one.is_shared = is_shared
            one.has_line = has_line

    def runner_of(self, task: int) -> ProcessRunner:
        """Return what runs a task."""
        return self.numbered[self.number_of[task]]

    def performing(self) -> ProcessRunner | None:
        """Return the runner whose next wait calls a function itself, if there is one."""
        return next((runner for runner in self.runners if runner.performs_while_waiting), None)

    def wait_for_others(self, timeout: float) -> list[Message]:
        """Wait for messages of those runners that call no function themselves."""
        runners = [runner for runner in self.runners if not runner.performs_while_waiting]
        messages = _collect(runners)
        if not messages and timeout != 0:
            timeout = min([timeout, *(runner.poll_seconds for runner in runners)])
            sleeper = next((runner for runner in runners if runner.waits_itself), None)
            if sleeper is None:
                self._waker.wait(timeout, [fd for runner in runners if (fd := runner.fileno()) is not None])
            else:
                messages = sleeper.wait(timeout)
            messages += _collect(runners)
        return messages


def _collect(runners: Iterable[ProcessRunner]) -> list[Message]:
    return [message for runner in runners for message in runner.wait(0)]


def _shared_functions(tasks: Sequence[Task]) -> Callable[[object], bool]:
    """Make what tells whether several tasks call a function; it counts when it is first asked."""
    calls: Counter[int] = Counter()  # by the ids of functions

    def is_shared(function: object) -> bool:
        if not calls:
            calls.update([id(task.func) for task in tasks])
        return calls[id(function)] > 1

    return is_shared


def _numbered_runners(
    tasks: Sequence[Task], default: ProcessRunner, default_copy: ProcessRunner
) -> tuple[list[ProcessRunner], list[int]]:
    """Return this run's own copies of the runners that tasks run on, and the number of each task's."""
    if not any(task.runner is not None for task in tasks):
        return [default_copy], [0] * len(tasks)
    named: dict[str, ProcessRunner] = {default.name: default}
    numbered: dict[int, tuple[int, ProcessRunner]] = {}  # by id: the user's may be equal, or without hash
    number_of: list[int] = []
    for task in tasks:
        runner = default if task.runner is None else task.runner
        if isinstance(runner, str):
            if runner not in named:
                named[runner] = make_runner(runner)
            runner = named[runner]
        number_of.append(numbered.setdefault(id(runner), (len(numbered), runner))[0])
    copies = [default_copy if runner is default else runner.for_run() for _, runner in numbered.values()]
    return copies, number_of
