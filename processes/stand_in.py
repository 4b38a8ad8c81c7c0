"""Who drives a run while the thread that does so is kept from it by a user's function."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .caller import is_importing
from .reprs import HAS_DAEMONS, start_thread
from .thread_context import context_for_thread

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
    has_driven : bool
        Whether it has driven the run during the latest block.
    """

    def __init__(self, drive: Callable[[object], None], wake: Callable[[], None]) -> None:
        self.kept_by: object | None = None
        self.has_driven = False
        self._drive = drive
        self._wake = wake
        self._driving = threading.Lock()  # held by who stands in
        self._is_over = False
        self._bell = threading.Event()
        self._is_parked = False  # whether it waits for the bell alone
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self._thread is None and not is_importing():
            context = context_for_thread()  # handlers of records may look at it
            self._thread = threading.Thread(target=context.run, args=(self._watch,), daemon=HAS_DAEMONS)
            start_thread(self._thread)  # where none is to be had, the run waits
        self.has_driven = False
        self.kept_by = object()
        if self._is_parked:
            self._bell.set()

    def __exit__(self, *_: object) -> None:
        self.kept_by = None
        if self._driving.locked():
            self._wake()
            with self._driving:
                pass

    def _watch(self) -> None:
        while True:
            self._bell.clear()
            if self._is_over:
                return
            # First this, then the look at who keeps the run; who enters a block does it the other way round.
            self._is_parked = True
            kept_by = self.kept_by
            self._is_parked = kept_by is None
            rang = self._bell.wait(None if kept_by is None else KEPT_SECONDS)
            if not rang and self.kept_by is kept_by:
                with self._driving:
                    self.has_driven = True
                    self._drive(kept_by)

    def close(self) -> None:
        """End the thread; also where a signal has raised while a block was left."""
        self.kept_by = None
        self._is_over = True
        self._bell.set()
        self._wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        del self._drive  # it holds the run, which holds this
