"""Hears what a function logs, through whatever logger, and tells the attempt that runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps

from .forks import fork_safe_lock

Listener = Callable[[logging.LogRecord], None]
CallHandlers = Callable[[logging.Logger, logging.LogRecord], None]

_around: ContextVar[tuple[Capture, ...]] = ContextVar("processes_log_captures", default=())

is_handled: ContextVar[bool] = ContextVar("processes_log_record_is_handled", default=False)
"""Whether the program's handlers have a record just now, which listeners have had already."""

_lock = fork_safe_lock()  # guards _captures and the exchange of Logger.callHandlers
_captures = 0


def anybody_listens() -> bool:
    """Tell whether records are heard beside the program's handlers: by a block, or by a worker's parent."""
    # By where it is defined: what stands in its place, ours too, may have its name and its module.
    return getattr(logging.Logger.callHandlers, "__globals__", None) is not vars(logging)


class Capture:
    """Gives a listener each record that is logged inside the block by this thread (or its coroutines).

    Threads that it starts count too where they take over its context variables, as they do by default without
    the GIL (Python 3.14); none of them after the block. In nested blocks every listener hears. Handlers that
    the program configured get the record as ever, unless one of the listeners is to hear it alone.

    A handler on the root logger would miss loggers that do not propagate, and would silence both
    ``basicConfig`` and the handler of last resort. So `logging.Logger.callHandlers`, which every record
    passes after levels and filters, is exchanged as long as any block lasts.

    No generator of `contextlib`: it would put frames of its own before the function's in the traceback of
    what this raises, and could not if its class forbids that.

    Parameters
    ----------
    listener : callable
        Takes each record.
    alone : bool, default False
        Whether it sees to the program's handlers, which are in another process.
    """

    __slots__ = ("_token", "alone", "is_over", "listener")

    def __init__(self, listener: Listener, *, alone: bool = False) -> None:
        self.listener = listener
        self.alone = alone
        self.is_over = False

    def __enter__(self) -> None:
        global _captures, _theirs, _ours
        with _lock:
            _captures += 1
            if _captures == 1:
                if logging.Logger.callHandlers is not _theirs:  # the program has patched it since
                    _theirs = logging.Logger.callHandlers
                    _ours = _telling_listeners(_theirs)
                logging.Logger.callHandlers = _ours  # type: ignore[assignment, method-assign]
        self._token = _around.set((*_lasting(), self))

    def __exit__(self, *_: object) -> None:
        global _captures
        self.is_over = True
        _around.reset(self._token)
        with _lock:
            _captures -= 1
            if not _captures and logging.Logger.callHandlers is _ours:
                logging.Logger.callHandlers = _theirs  # type: ignore[assignment, method-assign]


def _lasting() -> list[Capture]:
    """Return the blocks around this thread that last: one that a function has started may outlast them."""
    return [capture for capture in _around.get() if not capture.is_over]


def _telling_listeners(call_handlers: CallHandlers) -> CallHandlers:
    @wraps(call_handlers)
    def call_handlers_and_listeners(logger: logging.Logger, record: logging.LogRecord) -> None:
        # One that is not the latest stands below a patch that was made in its time, such as Sentry's.
        captures = _lasting() if call_handlers_and_listeners is _ours else []
        for capture in reversed(captures):  # those around it then know in which files it stands
            capture.listener(record)
        if any(capture.alone for capture in captures):
            return
        token = is_handled.set(True)
        try:
            call_handlers(logger, record)
        finally:
            is_handled.reset(token)

    return call_handlers_and_listeners


_theirs: CallHandlers = logging.Logger.callHandlers
_ours = _telling_listeners(_theirs)  # what stands in its place while any block lasts
