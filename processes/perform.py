"""The one place that calls a user's function, whatever thread or process that is in."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Coroutine
from itertools import takewhile
from time import process_time, thread_time, time

from . import forks
from .attempt import Finished, Outcome, Raised, Returned
from .clock import perf_counter
from .failure import describe_failure, drop_leading_frames
from .memory import reserve
from .reprs import HAS_DAEMONS

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any, Final, NoReturn

    from .attempt import Attempt, Worker


_NOT_AWAITED: Final = frozenset({type(None), bool, int, float, str, tuple, list, dict})
"""What most calls return; to look for more than the type takes ten times as long."""

RECENT_SECONDS = 5e-5
"""How long a reading of a processor clock serves; processor times of calls are exact to that.

To read it takes as long as all else here does. So short calls that follow each other share a reading: since
then the thread has computed.
"""


class _Clock:
    """A processor clock, a thread's or the whole process's, and what it showed last."""

    __slots__ = ("_of_process", "_peak_rss", "_read_at", "_seconds")

    def __init__(self, of_process: bool) -> None:
        self._of_process = of_process
        self._read_at = -1.0
        self._seconds = 0.0
        self._peak_rss = 0

    def at(self, now: float) -> tuple[float, int]:
        """Tell processor seconds and peak memory at a moment by `perf_counter`."""
        since = now - self._read_at
        if since < RECENT_SECONDS:
            return self._seconds + since, self._peak_rss
        self._read_at = now
        self._seconds, self._peak_rss = found = usage(self._of_process)
        return found


class _Local(threading.local):
    def __init__(self) -> None:
        self.clock = _Clock(of_process=False)


_process_clock = _Clock(of_process=True)
_thread = _Local()


def perform(attempt: Attempt, worker: Worker, *, owns_process: bool = False) -> Finished:
    """Call the attempt's function and tell how it ended; whatever it raises is caught.

    Parameters
    ----------
    attempt : Attempt
        What to call.
    worker : Worker
        Who calls.
    owns_process : bool, default False
        The call has the process to itself, so the processor time of all its threads counts as its own.

    Returns
    -------
    Finished
        With :class:`~processes.attempt.Returned` or :class:`~processes.attempt.Raised`.
    """
    clock = _process_clock if owns_process else _thread.clock
    forks_before = forks.behind
    started_at = time()
    start = perf_counter()
    cpu_start, _ = clock.at(start)
    try:
        value = _call(attempt) if attempt.on_record is None else _call_and_capture(attempt)
    except BaseException as exception:
        reserve.clear()  # first of all: there may be no memory left, not even for a number
        end = perf_counter()
        cpu_end, peak_rss = clock.at(end)
        drop_leading_frames(exception, {__name__})
        outcome: Outcome = _raised(exception, attempt)
    else:
        end = perf_counter()
        cpu_end, peak_rss = clock.at(end)
        outcome = Returned(value)
    if forks.behind != forks_before:
        _end_fork(outcome)
    cpu_seconds = cpu_end - cpu_start if cpu_end > cpu_start else 0.0
    try:
        return Finished(attempt.ticket, outcome, started_at, end - start, cpu_seconds, peak_rss, worker)
    finally:
        del outcome, attempt  # an exception's frames lead to this one, which is not to lead back to it


def _raised(exception: BaseException, attempt: Attempt) -> Raised:
    try:
        return Raised(exception, describe_failure(exception, attempt.frame_filter))
    except BaseException as error:  # a signal has led to it, as it might have done a little earlier
        return Raised(error, describe_failure(error, attempt.frame_filter))


def _end_fork(outcome: Outcome) -> NoReturn:
    """End a process that the function has forked, and that has left the function too.

    As those of `multiprocessing`, it ends at once: the run around it is its parent's, and so is what the
    program does at its end.
    """
    status: object = 0
    try:
        if isinstance(outcome, Raised):
            status, error = 1, outcome.exception
            if isinstance(error, SystemExit):
                status = error.code or 0
            else:
                sys.excepthook(type(error), error, error.__traceback__)
        if not isinstance(status, int):
            print(status, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # whatever the exception's code does, or the streams, which may be closed or none
        os._exit(status & 0xFF if isinstance(status, int) else 1)


CALLERS: Final = frozenset({perform.__code__.co_filename})
"""The files with the frames of ours that are next to the user's, whatever runs `perform`."""


def format_stack(frames: Iterable[tuple[str, int | str, str]], callers: Collection[str] = CALLERS) -> str:
    """Format where a call stands, outermost frame first, from the user's function on.

    Parameters
    ----------
    frames : iterable of tuple
        File, line and function of each, from the innermost on.
    callers : collection of str
        The files whose frames are ours.
    """
    users = takewhile(lambda frame: frame[0] not in callers, frames)
    lines = [f'  File "{file}", line {line}, in {function}\n' for file, line, function in users]
    return "".join(reversed(lines))


def _call_and_capture(attempt: Attempt) -> Any:
    from .log_capture import Capture

    assert attempt.on_record is not None
    with Capture(attempt.on_record):
        if not attempt.captures_output:
            return _call(attempt)
        from .output_capture import CapturedOutput

        with CapturedOutput(attempt.on_record.take_lines):
            return _call(attempt)


def _call(attempt: Attempt) -> Any:
    value = attempt.func(*attempt.args, **attempt.kwargs)
    if type(value) not in _NOT_AWAITED and _is_coroutine(value):
        value = _await(value)
    return value


def _is_coroutine(value: object) -> bool:
    """Tell whether a value is a coroutine, by whatever compiler."""
    return hasattr(type(value), "__await__") and isinstance(value, Coroutine)


def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine to its end, on a thread of its own where this one has an event loop running."""
    import asyncio

    async def catch() -> tuple[Any, BaseException | None]:
        # Caught here, the exception's traceback has no frame of the event loop.
        try:
            return await coroutine, None
        except BaseException as exception:
            return None, exception

    def run() -> tuple[Any, BaseException | None]:
        catching = catch()
        try:
            return asyncio.run(catching)
        except BaseException as exception:  # no event loop could be made
            catching.close()
            coroutine.close()
            return None, exception

    try:
        asyncio.get_running_loop()
        is_in_loop = True
    except RuntimeError:
        is_in_loop = False
    # Not in the `except` above: the RuntimeError would become the context of what the coroutine raises.
    value, exception = _call_on_thread(run) if is_in_loop else run()
    if exception is not None:
        raise exception
    return value


def _call_on_thread(function: Callable[[], tuple[Any, BaseException | None]]) -> Any:
    import contextvars

    from .interrupt import LOOK_SECONDS

    results: list[Any] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: results.append(context.run(function)), daemon=HAS_DAEMONS)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)  # so that Python looks for a Ctrl-C that came just before this wait
    return results[0]


if sys.platform != "win32":
    import resource
    from resource import RUSAGE_SELF, getrusage

    _RUSAGE_THREAD = getattr(resource, "RUSAGE_THREAD", 1)  # PyPy does not name it


def usage(of_process: bool) -> tuple[float, int]:
    """Return processor seconds, of this thread or of the whole process, and the process's peak memory."""
    if sys.platform == "linux":
        # One call for both: half of what the clock and the memory cost apart. ru_maxrss is in kilobytes, and
        # the process's for a thread too (getrusage(2)).
        found = getrusage(RUSAGE_SELF if of_process else _RUSAGE_THREAD)
        seconds, peak_rss = found[0] + found[1], found[2] * 1024
    else:
        seconds = process_time() if of_process else thread_time()
        if sys.platform == "win32":
            import psutil

            peak_rss = int(psutil.Process().memory_info().peak_wset)
        else:
            unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes: getrusage(2)
            peak_rss = getrusage(RUSAGE_SELF).ru_maxrss * unit
    return seconds, peak_rss
