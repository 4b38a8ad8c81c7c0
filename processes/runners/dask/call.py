"""An attempt as a call of Dask's: what goes to a worker of the cluster, and what is done there."""

from __future__ import annotations

import pickle
import signal
from multiprocessing import current_process
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, Final

from ...exceptions import SerializationError
from ...reprs import brief_repr
from ...serialization.pickling import LARGE
from ..failures import load_failure
from ..remote import respond, whoever_runs

if TYPE_CHECKING:
    from distributed import Worker

    from ...serialization.pickling import Buffer
    from ..remote import Request, Response

    Packed = list[bytes]

CALL: Final = "__import__('importlib').import_module('processes.runners.dask.call').respond_here(*given)"
"""What Dask evaluates, for it names nothing of ours.

It reads the functions and classes that it is given before it calls anything. A scheduler without this package
could not do that, and a worker would end.
"""

TOPIC: Final = "processes"  # of Dask's events; one for all programs, since schedulers forget none


def pack(request: Request) -> Packed:
    """Take a request apart into bytes, of which the last two may be large."""
    function, arguments = request.function, request.arguments
    request.function = request.arguments = b""
    return [pickle.dumps(request), function, arguments]


def _unpack(packed: Packed) -> Request:
    head, function, arguments = packed
    request: Request = pickle.loads(head)  # noqa: S301 - from our own sender
    request.function, request.arguments = function, arguments
    return request


class Kept:
    """A response whose value is large, and stays on the cluster until somebody there or here needs it.

    Attributes
    ----------
    response : Response
        All but the value.
    value : bytes-like
        The value, serialized.
    """

    __slots__ = ("response", "value")

    def __init__(self, response: Response, value: bytes) -> None:
        self.response = response
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # From protocol 5 on it is not copied on its way.
        return Kept, (self.response, pickle.PickleBuffer(self.value) if protocol >= 5 else bytes(self.value))

    def __sizeof__(self) -> int:
        return len(self.value)  # by which Dask knows when to put it on a disk


def respond_here(packed: Packed, run: str, ticket: int, *kept: Kept | Response) -> Response | Kept:
    """Tell the program that an attempt begins, and perform it."""
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    # Not by `worker.log_event`, which returns before it has told; the call may be the end of this process.
    begun = (run, ticket, worker.address, *whoever_runs())
    sync(worker.loop, worker.scheduler.log_event, topic=TOPIC, msg=begun)
    response = respond(_unpack(packed), map(value_of, kept))
    if len(response.value) < LARGE:
        return response
    value, response.value = response.value, b""
    return Kept(response, value)


def response_of(key: str, dask_worker: Worker) -> bytes:
    """Return all of a result but its value, serialized."""
    kept = dask_worker.data[key]
    return pickle.dumps(getattr(kept, "response", kept))


def value_of(kept: Kept | Response) -> Buffer:
    """Return a result, serialized.

    Raises
    ------
    SerializationError
        If it was lost, and the call that Dask has made again did not return.
    """
    if isinstance(kept, Kept):
        return kept.value
    if kept.failure:
        raise failed_again(kept.task_name, load_failure(kept.failure).exception)
    return kept.value


def failed_again(task_name: str, reason: BaseException) -> SerializationError:
    """Make the error of a result that was lost, and whose function has failed since."""
    error = SerializationError(
        f"The result of task {task_name!r} was lost with its worker; Dask has called its function again, and "
        f"that failed: {brief_repr(reason)}",
        task_name=task_name,
    )
    error.__cause__ = reason
    return error


def dask_setup(_: object) -> None:
    """Leave Ctrl-C to the program, in a worker of a cluster of ours; Dask calls it by this name.

    A terminal interrupts all its processes. A worker would end, and what it holds would be lost.
    """
    if current_thread() is main_thread():  # else it is no process of its own
        current_process().daemon = False  # tasks may have processes of their own
        signal.signal(signal.SIGINT, lambda *_: None)  # SIG_IGN would go on to what tasks start
    if hasattr(signal, "pthread_sigmask"):  # and so would this, from thread to thread
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
