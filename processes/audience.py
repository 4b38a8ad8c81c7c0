"""Who is told of a run's events."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from .caller import warn
from .clock import monotonic
from .events import RunFinished
from .interrupt import is_of_signal
from .reprs import brief_repr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .events import Event, Observer
    from .interrupt import Interrupt

TELL_SECONDS = 1.0  # after a Ctrl-C, for what the observers have not been told yet; then of the end alone


class Audience:
    """Tells recorders of each event at once, in whatever thread, and observers when the run's own tells them.

    Parameters
    ----------
    observers : iterable of Observer
        The user's own.
    recorders : iterable of Observer
        Ours.

    Attributes
    ----------
    is_there : bool
        Whether there is anybody: else no event need be made.
    untold : deque of Event
        What the observers have not been told yet.
    """

    def __init__(self, observers: Iterable[Observer], recorders: Iterable[Observer]) -> None:
        self._observers, self._recorders = list(observers), list(recorders)
        self.is_there = bool(self._observers or self._recorders)
        self.untold: deque[Event] = deque()

    def add_recorder(self, recorder: Observer) -> None:
        """Have one more told at once."""
        self._recorders.append(recorder)
        self.is_there = True

    def tell(self, event: Event) -> None:
        """Tell the recorders of an event, and keep it for the observers."""
        _call(self._recorders, event)
        if self._observers:
            self.untold.append(event)

    def tell_observers(self, interrupt: Interrupt) -> None:
        """Tell the observers what they have not been told yet; after a Ctrl-C not for long."""
        while self.untold:
            event = self.untold.popleft()
            if monotonic() < interrupt.happened_at + TELL_SECONDS or isinstance(event, RunFinished):
                try:
                    _call(self._observers, event)
                except KeyboardInterrupt:
                    if not interrupt.happened:
                        raise
                    interrupt.happened_at = -inf  # from now on they are told of the end alone

    def leave(self) -> None:
        """Let go of the recorders, some of which know the run: results go with who keeps them, at once."""
        self._recorders.clear()


def _call(observers: list[Observer], event: Event) -> None:
    """Call observers with an event, and leave those out that raise; what a signal has raised goes on."""
    for observer in tuple(observers):
        try:
            observer(event)
        except Exception as error:
            if is_of_signal(error):
                raise
            observers[:] = [one for one in observers if one is not observer]
            warn(f"observer {brief_repr(observer)} raised {brief_repr(error)}; the run goes on without it")
