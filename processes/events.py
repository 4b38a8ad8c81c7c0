"""What a run tells those who watch it, in the order in which it happens.

An observer is any callable that takes one event. It is called in the thread that drives the run; an
observer that raises is reported once by a warning, and the run goes on without it.

>>> def observe(event):
...     match event:
...         case TaskFinished(name, result) if not result.worked:
...             print(name, "did not succeed")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .task_types import TaskResult


class RunStarted(NamedTuple):
    """A run begins: the process's name, its tasks in topological order, the runner's name."""

    process_name: str
    tasks: tuple[str, ...]
    runner: str


class TaskStarted(NamedTuple):
    """An attempt at a task was handed to its runner; the first attempt is number 1."""

    name: str
    attempt: int


class TaskRetried(NamedTuple):
    """An attempt failed, and the task is attempted again after `delay` seconds."""

    name: str
    attempt: int
    exception: BaseException
    delay: float


class TaskFinished(NamedTuple):
    """A task has its result: SUCCESS, ERRORED or SKIPPED.

    With `from_checkpoint`, it is the one that an earlier run has saved, and the task is not started.
    """

    name: str
    result: TaskResult
    from_checkpoint: bool = False


class RunFinished(NamedTuple):
    """A run has ended, after `elapsed_seconds` on the wall clock; tasks without result stay PENDING."""

    elapsed_seconds: float


Event = RunStarted | TaskStarted | TaskRetried | TaskFinished | RunFinished


class Observer(Protocol):
    """Whatever can be called with an event."""

    def __call__(self, event: Event, /) -> object:
        """Take notice of an event; what is returned does not count."""
