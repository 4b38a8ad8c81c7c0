"""What there is of a run's tasks, by name; their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .checks import did_you_mean
from .reprs import behind_type, brief_repr
from .task_types import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .execution_report import TaskReportEntry

MAX_CHARACTERS = 300  # of a failure, in the message of an error


Value = TypeVar("Value")


class ByName(dict[str, Value]):
    """Something for each task, or for some, by name; the KeyError for another name tells the nearest one.

    Parameters
    ----------
    values : mapping of str to object, or iterable of pairs, default ()
        What there is.
    which : str, default ""
        Of which tasks: `` that has failed``, say. All by default.
    tasks : collection of str, default ()
        The names of all tasks: who asks for one of these means no other.
    """

    def __init__(
        self,
        values: Mapping[str, Value] | Iterable[tuple[str, Value]] = (),
        which: str = "",
        tasks: Collection[str] = (),
    ) -> None:
        super().__init__(values)
        self._which = which
        self._tasks = tasks

    def __missing__(self, name: object) -> Value:
        if not isinstance(name, str):
            raise KeyError(f"{brief_repr(name)} is no task's name")
        nearest = "" if name in self._tasks else did_you_mean(name, self._names())
        raise KeyError(f"There is no task {name!r}{self._which}{nearest}")

    def _names(self) -> Iterable[str]:
        return self


class Results(ByName[Any]):
    """The results of the tasks that succeeded; the KeyError for another one says why it has none.

    Parameters
    ----------
    entries : mapping of str to TaskReportEntry
        All entries of the report, by name.
    exceptions : mapping of str to BaseException
        What the tasks that failed have raised, by name.
    """

    def __init__(
        self, entries: Mapping[str, TaskReportEntry], exceptions: Mapping[str, BaseException]
    ) -> None:
        success = TaskStatus.SUCCESS
        super().__init__({name: entry.result for name, entry in entries.items() if entry.status is success})
        # Texts alone: who keeps the results is to keep nothing else of a report.
        self._missing = {
            name: _why_none(entry, exceptions.get(name))
            for name, entry in (entries.items() if len(self) < len(entries) else ())
            if entry.status is not success
        }

    def __missing__(self, name: object) -> Any:
        if name in self._missing:
            raise KeyError(f"Task {name!r} has no result: {self._missing[name]}")
        return super().__missing__(name)

    def _names(self) -> Iterable[str]:
        return [*self, *self._missing]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def failure_line(entry: TaskReportEntry, exception: BaseException | None) -> str:
    """Return the text of a failed task's exception, behind its type if the report has the exception."""
    text = entry.error.exception if entry.error is not None else ""
    return text if exception is None else behind_type(exception, text)


def _why_none(entry: TaskReportEntry, exception: BaseException | None) -> str:
    if entry.status is TaskStatus.ERRORED:
        return f"it failed: {failure_line(entry, exception)}"[:MAX_CHARACTERS]
    if entry.status is TaskStatus.SKIPPED:
        return "it was skipped, since a task that it depends on has failed"
    return "it did not run to its end"
