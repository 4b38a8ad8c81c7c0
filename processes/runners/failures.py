"""How an attempt failed, on its way from a worker."""

from __future__ import annotations

import pickle

from ..attempt import Raised
from ..failure import describe_failure, let_go_of_variables
from ..serialization.exception_state import dump_exception, dump_stand_in, load_exception
from ..serialization.pickling import Contained


def dump_failure(failed: Raised) -> bytes:
    """Serialize a failure in the worker, whatever the exception is.

    Where what it holds does what nobody has thought of, a stand-in has its names, text and traceback.
    """
    with Contained():
        try:
            exception = dump_exception(failed.exception, to_sender=True, text=failed.failure.exception)
        except MemoryError:
            let_go_of_variables(failed.exception)
            exception = dump_exception(failed.exception, to_sender=True, text=failed.failure.exception)
        return pickle.dumps((exception, failed.failure))
    return pickle.dumps((dump_stand_in(failed.exception), failed.failure))


def load_failure(data: bytes | memoryview) -> Raised:
    """Make the failure that :func:`dump_failure` has serialized."""
    exception, failure = pickle.loads(data)  # noqa: S301 - from our own worker
    return Raised(load_exception(exception), failure)


def failure_on_the_way(error: BaseException) -> Raised:
    """Make the failure of an attempt whose values cannot travel; no frame of ours is shown."""
    return Raised(error, describe_failure(error.with_traceback(None)))
