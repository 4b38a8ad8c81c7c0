"""An attempt as a request to a worker that another engine runs, and the response to it.

Engines carry both as values of their own calls: bytes, text and numbers in objects of our own classes. So
what a user's values do when they are read, they do where it costs their own task alone.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from _socket import gethostname
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ..attempt import Attempt, Finished, Raised, Returned, Worker, WorkerDied, put_in
from ..exceptions import SerializationError, WorkerDiedError
from ..log_capture import Capture
from ..output_capture import CapturedOutput
from ..perform import perform
from ..serialization.pickling import ARGUMENTS, dump, load
from ..serialization.rebuild import reader
from .failures import dump_failure, failure_on_the_way, load_failure
from .logs import (
    apply_awaited_levels,
    apply_levels,
    dump_record,
    handle_record,
    log_for,
    log_levels,
    reach_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ..attempt import Outcome, Place
    from ..serialization.pickling import Buffer

_attempts = count()  # those that were read here
_MARK: Final = os.urandom(16)  # of this interpreter, and of processes that are forked from it


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """What a worker needs to perform an attempt.

    Parameters
    ----------
    task_name, frame_filter
        As in :class:`~processes.attempt.Attempt`.
    function, arguments : bytes
        Serialized.
    places : sequence of list of int or str
        Where the results of other attempts belong among the arguments; they come beside the request.
    sender : tuple
        Who has sent it.
    ticket : int
        By it no two requests of a sender are the same: some engines make the same call once.
    levels : bytes
        The log levels of the sender, and whose loggers are the engine's own.
    has_file, captures_output : bool
        Whether there is a file for what the function logs, and whether what it prints goes there too.
    """

    task_name: str
    frame_filter: str | None
    function: bytes
    arguments: bytes
    places: Sequence[list[Place]]
    sender: tuple[bytes, int]
    ticket: int
    levels: bytes
    has_file: bool
    captures_output: bool


@dataclass(slots=True, eq=False, repr=False)
class Response:
    """How an attempt ended.

    Parameters
    ----------
    value : bytes
        What the function returned, serialized.
    failure : bytes
        How it failed, serialized; empty if it did not.
    records : list of bytes or str
        What it logged, and the lines that it printed, as text.
    is_elsewhere : bool
        Whether it was not the sender's own process that ran it: then nobody has heard the records yet.
    measured : tuple of numbers
        ``started_at, elapsed_seconds, cpu_seconds, peak_rss_bytes`` of :class:`~processes.attempt.Finished`.
    task_name : str
        Whose attempt it was.
    worker : tuple of str, int, int
        Who ran it: host, process and thread.
    """

    value: bytes
    failure: bytes
    records: list[bytes | str]
    is_elsewhere: bool
    measured: tuple[float, float, float, int]
    task_name: str
    worker: tuple[str, int, int]


# In the worker


def respond(request: Request, results: Iterable[Buffer] = ()) -> Response:
    """Perform an attempt in this thread; what goes wrong is part of the response.

    Serialized `results` of other attempts are arguments of this one; a SerializationError that they raise
    is its failure.
    """
    worker = Worker.here("")
    is_elsewhere = request.sender != _whoever_is_here()
    records: list[bytes | str] = []

    def note(record: logging.LogRecord) -> None:
        reach, _ = reach_of(logging.getLogger(record.name))
        records.append(dump_record(record, reach))

    if is_elsewhere:
        _take_over_levels(request.levels)
    try:
        function, args, kwargs = _load_call(request, results)
    except (SerializationError, KeyboardInterrupt) as error:
        finished = Finished.unmeasured(0, failure_on_the_way(error), worker)
    else:
        attempt = Attempt(0, request.task_name, function, args, kwargs, None, request.frame_filter)
        del function, args, kwargs  # large ones shall go as soon as the function lets them go
        owns_process = is_elsewhere and threading.current_thread() is threading.main_thread()
        is_heard = is_elsewhere or request.has_file
        with (
            Capture(note, alone=is_elsewhere) if is_heard else nullcontext(),
            CapturedOutput(records.extend) if request.captures_output else nullcontext(),
        ):
            finished = perform(attempt, worker, owns_process=owns_process)
        del attempt
    value, failure = _pack(finished.outcome, request.task_name)
    measured = (
        finished.started_at,
        finished.elapsed_seconds,
        finished.cpu_seconds,
        finished.peak_rss_bytes,
    )
    return Response(value, failure, records, is_elsewhere, measured, request.task_name, whoever_runs())


def whoever_runs() -> tuple[str, int, int]:
    """Name what runs here: host, process and thread."""
    return gethostname(), os.getpid(), threading.get_ident()


def _whoever_is_here() -> tuple[bytes, int]:
    """Name this interpreter: processes that are forked have the same mark, interpreters the same process."""
    return _MARK, os.getpid()


_levels = b""  # those that were taken over last


def _take_over_levels(levels: bytes) -> None:
    """Log from the levels on that the program has set."""
    global _levels
    if levels != _levels:
        _levels = levels
        apply_levels(*pickle.loads(levels))  # noqa: S301 - from our own sender


def _load_call(request: Request, results: Iterable[Buffer]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    name = request.task_name
    reader.guest = f"{next(_attempts)} "
    try:
        function = load(request.function, task_name=name, what="func")
        args, kwargs = load(request.arguments, task_name=name, what=ARGUMENTS)
        values = [load(result, task_name=name, what=ARGUMENTS) for result in results]
    finally:
        reader.guest = ""
    apply_awaited_levels()
    return function, *put_in(args, kwargs, zip(values, request.places, strict=True))


def _pack(outcome: Outcome, task_name: str) -> tuple[bytes, bytes]:
    """Serialize what was returned, or the failure; a result that cannot travel is one."""
    if isinstance(outcome, Returned):
        try:
            pickled = dump(outcome.value, task_name=task_name, what="result", to_sender=True)
            if not pickled.plain:
                # What this breaks is better broken here.
                load(pickled.data, task_name=task_name, what="result")
        except (SerializationError, KeyboardInterrupt) as error:
            outcome = failure_on_the_way(error)
        else:
            return pickled.data, b""
    assert isinstance(outcome, Raised)
    return b"", dump_failure(outcome)


# In the program


class Requests:
    """The requests of one run, and what their responses say.

    Parameters
    ----------
    label : str
        What workers are called, followed by a number.
    is_shared : callable
        Tells whether several tasks of the run call a function. What only one calls may be bound to much, and
        is not kept once it is sent.
    engine : collection of str
        Packages whose log levels in the workers are the engine's business.
    """

    def __init__(self, label: str, is_shared: Callable[[object], bool], engine: Collection[str] = ()) -> None:
        self._label = label
        self._is_shared = is_shared
        self._levels = pickle.dumps((*log_levels(), engine))
        self._functions: dict[int, tuple[object, bytes]] = {}  # by id, which no other has while it is kept
        self._workers: dict[tuple[str, int, int], Worker] = {}

    def make(
        self,
        attempt: Attempt,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        places: Sequence[list[Place]] = (),
    ) -> Request:
        """Serialize an attempt, with these of its arguments; others come beside the request, for `places`.

        Raises
        ------
        SerializationError
            If its function or one of its arguments cannot be serialized.
        """
        name = attempt.task_name
        _, function = self._functions.get(id(attempt.func), (None, b""))
        if not function:
            function = dump(attempt.func, task_name=name, what="func").data
            if self._is_shared(attempt.func):
                self._functions[id(attempt.func)] = (attempt.func, function)
        arguments = dump((args, kwargs), task_name=name, what=ARGUMENTS).data
        return Request(
            name,
            attempt.frame_filter,
            function,
            arguments,
            places,
            _whoever_is_here(),
            attempt.ticket,
            self._levels,
            has_file=attempt.on_record is not None,
            captures_output=attempt.captures_output,
        )

    def worker(self, host: str, pid: int, thread: int) -> Worker:
        """Return a worker under its label."""
        worker = self._workers.get((host, pid, thread))
        if worker is None:
            label = f"{self._label}-{len(self._workers) + 1}"
            worker = self._workers[host, pid, thread] = Worker(label, pid, host)
        return worker

    def finish(self, attempt: Attempt, response: Response) -> Finished:
        """Log what an attempt has logged, and tell how it ended.

        Raises
        ------
        BaseException
            What a signal's handler raises meanwhile.
        """
        worker = self.worker(*response.worker)
        outcome = self._log(attempt, response, worker) or self._outcome(attempt, response)
        return Finished(attempt.ticket, outcome, *response.measured, worker)

    def lost(self, attempt: Attempt, message: str, reason: BaseException) -> Finished:
        """Tell the end, now, of an attempt for which the engine has no response, and why."""
        error = WorkerDiedError(message, task_name=attempt.task_name)
        error.__cause__ = reason.with_traceback(None)
        return Finished.unmeasured(attempt.ticket, WorkerDied(error), Worker(self._label, 0, ""))

    def _log(self, attempt: Attempt, response: Response, worker: Worker) -> Raised | None:
        """Log the records; up to the first failure of a handler, as that would have ended the function."""
        for record in response.records:
            if isinstance(record, bytes):
                failure = log_for(worker, handle_record, record, attempt.on_record, response.is_elsewhere)
            else:
                assert attempt.on_record is not None
                failure = log_for(worker, attempt.on_record.take_lines, [record])
            if failure is not None:
                return failure
        return None

    def _outcome(self, attempt: Attempt, response: Response) -> Outcome:
        if response.failure:
            return load_failure(response.failure)
        if not response.value:
            return Returned(None)  # it stays where it is
        try:
            return Returned(load(response.value, task_name=attempt.task_name, what="result"))
        except SerializationError as error:
            return failure_on_the_way(error)
