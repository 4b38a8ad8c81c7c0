"""What a task that failed leaves for the report, with a hint where something is easily mistaken."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from .attempt import Raised, TimedOut, Unsendable, WorkerDied
from .error_data import ErrorData
from .exceptions import ProcessesError, SerializationError
from .failure import Failure, describe_failure
from .reprs import name_of_class, type_name
from .retry import TRANSIENT
from .task import Task, function_name
from .task_types import TaskDependency, TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .attempt import Failed


MAX_NAMES = 5  # of tasks, in a hint


def exception_of(outcome: Failed, task_name: str) -> tuple[BaseException, Failure]:
    """Give what a failed attempt leaves: the live exception, and its description."""
    match outcome:
        case Raised(exception, failure):
            return exception, failure
        case Unsendable(exception) | WorkerDied(exception):
            return exception, describe_failure(exception)
        case TimedOut(limit, stack):
            error = TimeoutError(f"Task {task_name!r} timed out after {limit:g}s")
            if stack:
                error.add_note(f"Where it stood (most recent call last):\n{stack.rstrip()}")
            return error, describe_failure(error)
        case _:
            assert_never(outcome)


def with_variables_of(failure: Failure, error: ProcessesError) -> Failure:
    """Describe an error of ours that a failure has led to, with the variables of where that was."""
    told = describe_failure(error.with_traceback(None))
    return Failure(told.exception, told.traceback_str, failure.traced_vars, failure.traced_vars_location)


def with_hint(task: Task, exception: BaseException, failure: Failure, attempts: int) -> Failure:
    """Note what is mistaken most about arguments and retries, where that may be why the task has failed."""
    hint = _hint_for(task, exception, failure) or _hint_for_retries(task, exception, attempts)
    if not hint:
        return failure
    with suppress(Exception):  # one that is a frozen data class takes no notes
        if hint not in getattr(exception, "__notes__", ()):  # as it is if another task has raised it, too
            exception.add_note(hint)
    if f"\n{hint}\n" in failure.traceback_str:
        return failure
    text = f"{failure.traceback_str}{hint}\n"
    return Failure(failure.exception, text, failure.traced_vars, failure.traced_vars_location)


def _hint_for(task: Task, exception: BaseException, failure: Failure) -> str:
    for keyword, value in (*(("", value) for value in task.args), *task.kwargs.items()):
        if hint := _hint_for_argument(task, keyword, value, failure.exception):
            return hint
    if type(exception) is not TypeError or exception.__traceback__ is not None:
        return ""  # it was called, or is no function's refusal of its arguments
    if not any(word in failure.exception for word in ("missing", "at least", "(0 given)", "got 0")):
        return _hint_for_refusal(task, failure.exception)
    for dependency in task.dependencies:
        if not (dependency.use_result_as_additional_args or dependency.use_result_as_additional_kwargs):
            passing = _results_of(dependency.task_name, dependency.additional_kwarg_name)
            return (
                f"Task {task.name!r} depends on {dependency.task_name!r}, but does not get its result: "
                f"dependencies={passing} passes it on."
            )
    if task.log_path is not None and not task.args and not str(task.log_path).endswith(".log"):
        return (
            f"Task {task.name!r} has log_path={str(task.log_path)!r} and no args: "
            "arguments of the function are args=(…)."
        )
    if not task.args and not task.kwargs and not task.dependencies:
        return (
            f"Task {task.name!r} passes nothing: args=(…) and kwargs={{…}} pass values, "
            "dependencies=results_of('name') the result of another task."
        )
    return _hint_for_refusal(task, failure.exception)


def _hint_for_argument(task: Task, keyword: str, value: Any, text: str) -> str:
    """Tell of an argument that stands for a result, alone or in a list, if the failure names its type."""
    first: Any = value
    if type(value) in (list, tuple) and value:
        first = value[0]
    if issubclass(type(first), Task):  # what a value says of its class may raise
        name, what = first.name, f"task {first.name!r} itself"
    elif issubclass(type(first), TaskDependency):
        name, what = first.task_name, f"a dependency on {first.task_name!r}"
    else:
        return ""
    if type(value).__name__ not in text and type(first).__name__ not in text:
        return ""  # as "'Task' object is not iterable" does
    return (
        f"Task {task.name!r} has {what} among its arguments, not its result: "
        f"dependencies={_results_of(name, keyword)} passes that on."
    )


def _hint_for_refusal(task: Task, text: str) -> str:
    """Tell which results a function gets that has refused its arguments."""
    passed = [repr(one.task_name) for one in task.dependencies if one.use_result_as_additional_args]
    may_take_all = len(passed) > 1 and "keyword" not in text and "multiple" not in text
    passed += [
        f"{one.additional_kwarg_name}={one.task_name!r}"
        for one in task.dependencies
        if one.use_result_as_additional_kwargs
    ]
    if not passed or not any(words in text for words in ("argument", "is not iterable")):
        return ""  # the latter as sum says that gets numbers one by one
    if len(passed) > MAX_NAMES:
        passed[MAX_NAMES:] = ["…"]
    own = "its args and " if task.args else ""
    how = ": a function takes any number of results as *values" if may_take_all else ""
    return f"Task {task.name!r} passes {own}results_of({', '.join(passed)}){how}."


def _hint_for_retries(task: Task, exception: BaseException, attempts: int) -> str:
    """Tell why there are attempts left, unless the task itself says what they are for.

    The words are the same for all tasks that raise one object, as of a future that they share.
    """
    kind = type(exception)
    if attempts > task.retries or kind in (ProcessesError, SerializationError):
        return ""  # the last two say themselves what they mean for further attempts
    if task.retry_on is None:
        *names, last = (name_of_class(one) for one in TRANSIENT)
        why = f"without retry_on, that is for {', '.join(names)} and {last}, not for {type_name(exception)}"
    elif any(name_of_class(one) == name_of_class(kind) for one in task.retry_on):
        module = name_of_class(kind, "__module__")
        why = f"the {name_of_class(kind)} of {module} is none of those in its retry_on"
    else:
        return ""
    return f"Not attempted again, though retries={task.retries}: {why}."


def _results_of(name: str, keyword: str) -> str:
    return f"results_of({keyword + '=' if keyword.isidentifier() else ''}{name!r})"


def errored_result(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    exception: BaseException,
    failure: Failure,
    downstream: list[str],
    elapsed_seconds: float = 0.0,
    attempts: int = 0,
) -> TaskResult:
    """Make the result of a task that has failed, with all that a report tells of it."""
    error_data = ErrorData(
        task_name=name,
        function=function_name(func),
        args=args,
        kwargs=kwargs,
        downstream_impact=downstream,
        exception=failure.exception,
        traceback_str=failure.traceback_str,
        traced_vars=failure.traced_vars,
        traced_vars_location=failure.traced_vars_location,
    )
    return TaskResult(TaskStatus.ERRORED, None, exception, error_data, elapsed_seconds, attempts)
