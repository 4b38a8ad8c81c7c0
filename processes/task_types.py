"""How a task stands (`TaskStatus`), how it ended (`TaskResult`), what it needs (`TaskDependency`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from .checks import no_bool
from .reprs import bounded_dataclass_repr, brief_repr, type_name

if TYPE_CHECKING:
    from .attempt import Sealed
    from .error_data import ErrorData
    from .task import Task


class TaskStatus(Enum):
    """How a task of a run stands.

    Attributes
    ----------
    PENDING
        It has not ended, or the run ended before it.
    SUCCESS
        Its function returned.
    ERRORED
        Its function raised, in the last attempt that it was granted, or could not be called.
    SKIPPED
        It never ran, because a task that it depends on did not succeed.
    """

    PENDING = "pending"
    SUCCESS = "success"
    ERRORED = "errored"
    SKIPPED = "skipped"


class _Unopened:
    """What a result holds beside its fields until it is first asked for them."""

    __slots__ = ("_sealed",)
    _sealed: Sealed | None


@dataclass(slots=True, repr=False)
class TaskResult(_Unopened):
    """How a task ended.

    Parameters
    ----------
    status : TaskStatus
        How the task stands.
    result : object
        What the function returned; None unless the task succeeded.
    exception : BaseException or None
        What the function raised; None unless the task failed.
    error_data : ErrorData, optional
        The failure in detail; None unless the task failed.
    elapsed_seconds : float, default 0.0
        Wall-clock time of all attempts together, in seconds.
    attempts : int, default 0
        How many attempts were made; 0 if none could be.
    """

    status: TaskStatus
    result: Any
    exception: BaseException | None
    error_data: ErrorData | None = None
    elapsed_seconds: float = 0.0
    attempts: int = 0

    __repr__ = bounded_dataclass_repr

    def __getattr__(self, name: str) -> Any:
        """Open the result when it is first asked for, if it is sealed: until then the field is not set."""
        if name != "result":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        sealed = self._sealed
        if sealed is not None:
            self.result = sealed.open()
            self._sealed = None  # type: ignore[misc] # the slot is the base's
        return object.__getattribute__(self, name)  # another thread may have been faster

    def seal(self, sealed: Sealed) -> None:
        """Set the result to a value that is opened when it is first asked for."""
        self._sealed = sealed  # type: ignore[misc] # the slot is the base's
        del self.result

    def __getstate__(self) -> dict[str, Any]:
        from .serialization.exception_state import Carried

        state = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.exception is not None:
            state["exception"] = Carried(self.exception)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from .serialization.exception_state import released

        for name, value in state.items():
            setattr(self, name, released(value))

    @property
    def worked(self) -> bool:
        """True if the task succeeded."""
        return self.status is TaskStatus.SUCCESS

    @classmethod
    def pending(cls) -> TaskResult:
        """Return the result of a task that has not ended."""
        return cls(TaskStatus.PENDING, None, None)

    @classmethod
    def skipped(cls) -> TaskResult:
        """Return the result of a task that was skipped."""
        return cls(TaskStatus.SKIPPED, None, None)

    @classmethod
    def success(cls, result: Any, *, elapsed_seconds: float = 0.0, attempts: int = 0) -> TaskResult:
        """Return the result of a task whose function returned; parameters as of the class."""
        return cls(TaskStatus.SUCCESS, result, None, None, elapsed_seconds, attempts)

    @classmethod
    def errored(
        cls,
        exception: BaseException,
        *,
        error_data: ErrorData | None = None,
        elapsed_seconds: float = 0.0,
        attempts: int = 0,
    ) -> TaskResult:
        """Return the result of a task that failed; parameters as of the class."""
        return cls(TaskStatus.ERRORED, None, exception, error_data, elapsed_seconds, attempts)


class TaskDependency:
    """Says that a task needs another one, and what it gets from it.

    Two dependencies are equal if they name the same task.

    Parameters
    ----------
    task_name : str
        The task that is needed. Kept in lower case, as the names of tasks are.
    use_result_as_additional_args : bool, default False
        Pass the needed task's result as a positional argument, after the task's own.
    use_result_as_additional_kwargs : bool, default False
        Pass the needed task's result as a keyword argument.
    additional_kwarg_name : str, default ""
        The keyword for that. Alone, without `use_result_as_additional_kwargs`, it passes nothing.

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or if the result shall be passed by keyword and
        `additional_kwarg_name` is not the name of a keyword.
    """

    def __init__(
        self,
        task_name: str,
        use_result_as_additional_args: bool = False,
        use_result_as_additional_kwargs: bool = False,
        additional_kwarg_name: str = "",
    ) -> None:
        if not isinstance(task_name, str):
            raise _no_name(task_name)
        if use_result_as_additional_args is not True and use_result_as_additional_args is not False:
            raise _no_bool("use_result_as_additional_args", use_result_as_additional_args)
        if use_result_as_additional_kwargs is not True and use_result_as_additional_kwargs is not False:
            raise _no_bool("use_result_as_additional_kwargs", use_result_as_additional_kwargs)
        if not isinstance(additional_kwarg_name, str):
            raise TypeError(f"additional_kwarg_name must be str, not {type_name(additional_kwarg_name)}")
        if use_result_as_additional_kwargs and not additional_kwarg_name.isidentifier():
            raise TypeError(
                "additional_kwarg_name must be the name of a keyword argument when "
                f"use_result_as_additional_kwargs is True, not {brief_repr(additional_kwarg_name)} "
                f"(for the result of {brief_repr(task_name)})"
            )
        self.task_name: str = task_name.lower()
        self.use_result_as_additional_args = use_result_as_additional_args
        self.use_result_as_additional_kwargs = use_result_as_additional_kwargs
        self.additional_kwarg_name = additional_kwarg_name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskDependency):
            return NotImplemented
        return self.task_name == other.task_name

    def __hash__(self) -> int:
        return hash(self.task_name)

    def __repr__(self) -> str:
        return (
            f"TaskDependency({self.task_name!r}, {self.use_result_as_additional_args!r}, "
            f"{self.use_result_as_additional_kwargs!r}, {self.additional_kwarg_name!r})"
        )


def results_of(*tasks: str | Task, **keywords: str | Task) -> list[TaskDependency]:
    """Make the dependencies of a task that gets the results of others.

    Each of these is told by its name, or is a `Task`, which stands for the name that it has now.

    Parameters
    ----------
    *tasks : str or Task
        Tasks whose results are passed as positional arguments, after the task's own and in this order.
    **keywords : str or Task
        Tasks whose results are passed as keyword arguments: ``rate="daily-rate"`` passes that of the task
        ``daily-rate`` as ``rate``.

    Returns
    -------
    list of TaskDependency
        What `dependencies` of a `Task` takes; a dependency that passes nothing can be added to it.

    Raises
    ------
    TypeError
        If one is neither a str nor a Task, or a keyword not the name of one.

    Examples
    --------
    >>> names = ["north", "south"]
    >>> results_of(*names)
    [TaskDependency('north', True, False, ''), TaskDependency('south', True, False, '')]
    >>> results_of("sum", rate="daily-rate")
    [TaskDependency('sum', True, False, ''), TaskDependency('daily-rate', False, True, 'rate')]
    """
    dependencies = [TaskDependency(task if type(task) is str else _name_of(task), True) for task in tasks]
    for keyword, task in keywords.items():
        if not keyword.isidentifier():
            raise _no_keyword(keyword, _name_of(task))
        dependencies.append(TaskDependency(_name_of(task), False, True, keyword))
    return dependencies


def _name_of(task: str | Task) -> str:
    if isinstance(task, str):
        return task
    from .task import Task

    return task.name if isinstance(task, Task) else task


def _no_keyword(keyword: str, name: object) -> TypeError:
    fitting = "".join(one if one.isalnum() else "_" for one in keyword)
    if not fitting.isidentifier():
        fitting = f"_{fitting}"
    return TypeError(
        f"{brief_repr(keyword)} is not the name of a keyword argument: write "
        f"results_of({fitting}={brief_repr(name)}), or pass many results to a function that takes *values"
    )


def _no_name(task_name: object) -> TypeError:
    from .task import Task

    hint = "name the task, as in 'load'"
    match task_name:
        case Task(name=name):
            hint = f"write its name, {brief_repr(name)}"
        case TaskDependency():
            hint = "it goes beside others, as in [*results_of('load'), TaskDependency('setup')]"
        case Mapping():
            hint = "results_of(**names) makes dependencies whose results are keyword arguments"
        case Iterable() if not isinstance(task_name, bytes):
            hint = "results_of(*names) makes the dependencies on several"
    return TypeError(f"task_name must be str, not {type_name(task_name)}: {hint}")


def _no_bool(parameter: str, value: object) -> TypeError:
    error = no_bool(parameter, value)
    if isinstance(value, str) and value.isidentifier():  # it is meant as the keyword
        keyword = brief_repr(value)
        error = TypeError(
            f"{error}: write use_result_as_additional_kwargs=True, additional_kwarg_name={keyword}"
        )
    return error
