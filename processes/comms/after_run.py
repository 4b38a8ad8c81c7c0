"""Sends the report when a run has ended: what ``run(notify=…, notify_on=…)`` does."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..reprs import brief_repr
from .base import ReportChannel, check_sends

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

NOTIFY_ON = ("always", "error")
INTERRUPT_SECONDS = 1.0  # Ctrl-C shall end a run within two seconds, whatever the mail server does


class Notifier:
    """Sends the report of a run that has ended.

    Parameters
    ----------
    notify : iterable of ReportChannel
        Where to send it.
    notify_on : {"always", "error"}
        Send it in any case, or only if a task failed.

    Raises
    ------
    TypeError
        If `notify` is no iterable of ReportChannel, `send_report` of one is a coroutine or generator
        function, or `notify_on` is no str.
    ValueError
        If `notify_on` is neither ``"always"`` nor ``"error"``.
    """

    def __init__(self, notify: object, notify_on: str) -> None:
        if isinstance(notify, ReportChannel):
            raise TypeError(f"notify must be a list of channels: write notify=[{type(notify).__name__}(…)]")
        if not isinstance(notify, Iterable) or isinstance(notify, str):
            raise TypeError(f"notify must be a list of channels, not {brief_repr(notify)}: write notify=[…]")
        self.channels = tuple(notify)
        for channel in self.channels:
            if not isinstance(channel, ReportChannel):
                raise TypeError(f"notify must hold ReportChannel objects, not {brief_repr(channel)}")
            check_sends(channel)
        if not isinstance(notify_on, str):
            raise TypeError(f"notify_on must be str, not {brief_repr(notify_on)}")
        if notify_on not in NOTIFY_ON:
            raise ValueError(f"notify_on must be 'always' or 'error', not {brief_repr(notify_on)}")
        self._only_on_error = notify_on == "error"

    def send(self, report: ProcessExecutionReport, *, interrupted: bool = False) -> None:
        """Send a whole report.

        Where Ctrl-C has `interrupted` the run, what is not sent after a second is sent by a thread, for which
        the interpreter waits at its exit.
        """
        if not self.channels or (self._only_on_error and not report.errored):
            return
        if not interrupted:
            report.notify(*self.channels)
            return
        thread = threading.Thread(
            target=report.notify, args=self.channels, name="processes-notify", daemon=False
        )
        thread.start()
        thread.join(INTERRUPT_SECONDS)
