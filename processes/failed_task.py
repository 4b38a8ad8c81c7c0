"""What a task that failed leaves for the report, with a hint where something is easily mistaken."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from .attempt import Raised, Returned, TimedOut, Unsendable, WorkerDied
from .error_data import ErrorData
from .failure import Failure, describe_failure
from .task import Task, function_name

if TYPE_CHECKING:
    from typing import Any

    from .attempt import Outcome
    from .exceptions import ProcessesError


def exception_of(outcome: Outcome, task_name: str) -> tuple[BaseException, Failure]:
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
        case Returned():
            raise AssertionError("a returned value is no failure")
        case _:
            assert_never(outcome)


def with_variables_of(failure: Failure, error: ProcessesError) -> Failure:
    """Describe an error of ours that a failure has led to, with the variables of where that was."""
    told = describe_failure(error.with_traceback(None))
    return Failure(told.exception, told.traceback_str, failure.traced_vars, failure.traced_vars_location)


def with_hint(task: Task, exception: BaseException, failure: Failure) -> Failure:
    """Note what is mistaken most about arguments, where that may be what a function has failed for."""
    hint = _hint_for(task, exception, failure)
    if not hint:
        return failure
    exception.add_note(hint)
    text = f"{failure.traceback_str}{hint}\n"
    return Failure(failure.exception, text, failure.traced_vars, failure.traced_vars_location)


def _hint_for(task: Task, exception: BaseException, failure: Failure) -> str:
    if "Task" in failure.exception:  # as in "'Task' object is not iterable"
        for value in (*task.args, *task.kwargs.values()):
            if issubclass(type(value), Task):  # what a value says of its class may raise
                return (
                    f"Task {task.name!r} has task {value.name!r} itself among its arguments, not its result: "
                    f"dependencies=results_of({value.name!r}) passes that on."
                )
    if type(exception) is not TypeError or exception.__traceback__ is not None:
        return ""  # it was called, or is no function's refusal of its arguments
    if not any(word in failure.exception for word in ("missing", "at least", "(0 given)", "got 0")):
        return ""
    for dependency in task.dependencies:
        if not (dependency.use_result_as_additional_args or dependency.use_result_as_additional_kwargs):
            need, keyword = repr(dependency.task_name), dependency.additional_kwarg_name
            named = f"{keyword}={need}" if keyword.isidentifier() else need
            return (
                f"Task {task.name!r} depends on {need}, but does not get its result: "
                f"dependencies=results_of({named}) passes it on."
            )
    if task.log_path is not None and not task.args and not str(task.log_path).endswith(".log"):
        return (
            f"Task {task.name!r} has log_path={str(task.log_path)!r} and no args: "
            "arguments of the function are args=(…)."
        )
    return ""


def error_data_of(
    task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], failure: Failure, downstream: list[str]
) -> ErrorData:
    """Make what a report tells of a failed task."""
    return ErrorData(
        task_name=task.name,
        function=function_name(task.func),
        args=args,
        kwargs=kwargs,
        downstream_impact=downstream,
        exception=failure.exception,
        traceback_str=failure.traceback_str,
        traced_vars=failure.traced_vars,
        traced_vars_location=failure.traced_vars_location,
    )
