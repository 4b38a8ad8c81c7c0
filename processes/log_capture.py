"""Hears what a function logs, through whatever logger, and tells the attempt that runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar

from .forks import fork_safe_lock

Listener = Callable[[logging.LogRecord], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("processes_log_listeners", default=())
_handlers_hear: ContextVar[bool] = ContextVar("processes_log_handlers_hear", default=True)

is_handled: ContextVar[bool] = ContextVar("processes_log_record_is_handled", default=False)
"""Whether the program's handlers have a record just now, which listeners have had already."""

_original_call_handlers = logging.Logger.callHandlers
_lock = fork_safe_lock()  # guards _captures and the exchange of Logger.callHandlers
_captures = 0


def anybody_listens() -> bool:
    """Tell whether records are heard beside the program's handlers: by a block, or by a worker's parent."""
    return logging.Logger.callHandlers.__module__ != logging.__name__


class Capture:
    """Gives a listener each record that is logged inside the block by this thread (or its coroutines).

    In nested blocks every listener hears. Handlers that the program configured get the record as ever, unless
    one of the listeners is to hear it alone.

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

    __slots__ = ("_alone", "_listener", "_tokens")

    def __init__(self, listener: Listener, *, alone: bool = False) -> None:
        self._listener = listener
        self._alone = alone

    def __enter__(self) -> None:
        global _captures
        with _lock:
            _captures += 1
            logging.Logger.callHandlers = _call_handlers_and_listeners  # type: ignore[assignment, method-assign]
        self._tokens = (
            _listeners.set((*_listeners.get(), self._listener)),
            _handlers_hear.set(_handlers_hear.get() and not self._alone),
        )

    def __exit__(self, *_: object) -> None:
        global _captures
        before, heard_before = self._tokens
        _listeners.reset(before)
        _handlers_hear.reset(heard_before)
        with _lock:
            _captures -= 1
            if not _captures:
                logging.Logger.callHandlers = _original_call_handlers  # type: ignore[method-assign]


def _call_handlers_and_listeners(logger: logging.Logger, record: logging.LogRecord) -> None:
    for listener in _listeners.get():
        listener(record)
    if not _handlers_hear.get():
        return
    token = is_handled.set(True)
    try:
        _original_call_handlers(logger, record)
    finally:
        is_handled.reset(token)
