"""Who drives a run while the thread that does so is kept from it by a user's function."""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

from .failure import HAS_DAEMONS

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_SECONDS = 0.01
"""To hand over takes longer than a short call does: it is done for what takes longer than this."""


class StandIn:
    """Drives a run on another thread while the run's own is kept in a ``with`` block for long.

    Parameters
    ----------
    drive : callable
        Drives the run for as long as `kept_by` is the object that it is given.
    wake : callable
        Ends the wait of who drives the run.

    Attributes
    ----------
    kept_by : object or None
        Another one for each block; None while the run's own thread is in none.
    """

    def __init__(self, drive: Callable[[object], None], wake: Callable[[], None]) -> None:
        self.kept_by: object | None = None
        self._drive = drive
        self._wake = wake
        self._driving = threading.Lock()  # held by who stands in
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self._thread is None:
            context = copy_context()  # handlers of records may look at it
            self._thread = threading.Thread(target=context.run, args=(self._watch,), daemon=HAS_DAEMONS)
            with suppress(RuntimeError):  # no thread can be started: the run waits then
                self._thread.start()
        self.kept_by = object()

    def __exit__(self, *_: object) -> None:
        self.kept_by = None
        if self._driving.locked():
            self._wake()
            with self._driving:
                pass

    def _watch(self) -> None:
        seen = None
        while not self._is_over.wait(KEPT_SECONDS):
            kept_by = self.kept_by
            if kept_by is not None and kept_by is seen:
                with self._driving:
                    self._drive(kept_by)
            seen = kept_by

    def close(self) -> None:
        """End the thread; also where a signal has raised while a block was left."""
        self.kept_by = None
        self._is_over.set()
        self._wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        del self._drive  # it holds the run, which holds this
