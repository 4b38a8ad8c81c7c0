"""How an attempt ended, on its way from a worker to its parent."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from ...attempt import Raised, Returned
from ...exception_state import dump_exception, load_exception
from ...exceptions import SerializationError
from ...failure import Failure, describe_failure, let_go_of_variables
from ...pickling import dump, load
from . import wire

if TYPE_CHECKING:
    from ...attempt import Outcome


def pack_outcome(outcome: Outcome, task_name: str) -> tuple[int, bytes]:
    """Serialize an outcome in the worker: how it ended, and with what.

    A result that cannot travel is the task's failure.
    """
    if isinstance(outcome, Returned):
        try:
            return wire.RETURNED, _dump_result(outcome.value, task_name)
        except (SerializationError, KeyboardInterrupt) as error:  # nobody's Ctrl-C comes to a worker
            outcome = Raised(error, describe_failure(error.with_traceback(None)))
    assert isinstance(outcome, Raised)
    failure = outcome.failure
    description = (
        failure.exception,
        failure.traceback_str,
        failure.traced_vars,
        failure.traced_vars_location,
    )
    try:
        exception = dump_exception(outcome.exception, to_sender=True)
    except MemoryError:
        let_go_of_variables(outcome.exception)
        exception = dump_exception(outcome.exception, to_sender=True)
    return wire.RAISED, pickle.dumps((description, exception.data))


def _dump_result(value: object, task_name: str) -> bytes:
    pickled = dump(value, task_name=task_name, what="result", to_sender=True)
    if not pickled.plain:
        load(pickled.data, task_name=task_name, what="result")  # what this breaks is better broken here
    return pickled.data


def unpack_outcome(how: int, data: memoryview, task_name: str) -> Outcome:
    """Make the outcome in the parent."""
    if how == wire.RETURNED:
        try:
            return Returned(load(data, task_name=task_name, what="result"))
        except SerializationError as error:
            return Raised(error, describe_failure(error.with_traceback(None)))
    description, exception = pickle.loads(data)  # noqa: S301 - from our own worker
    return Raised(load_exception(exception), Failure(*description))
