"""Sends the report when a run has ended: what ``run(notify=…, notify_on=…)`` does."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..failure import brief_repr
from .base import ReportChannel, check_sends

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

NOTIFY_ON = ("always", "error")
INTERRUPT_SECONDS = 1.0  # Ctrl-C shall end a run within two seconds, whatever the mail server does


def check_notify(notify: object, notify_on: str) -> tuple[ReportChannel, ...]:
    """Return the channels that a run was given; refuse wrong ones, before anything runs.

    Raises
    ------
    TypeError
        If `notify` is no iterable of ReportChannel, or `send_report` of one is a coroutine or generator
        function.
    ValueError
        If `notify_on` is neither ``"always"`` nor ``"error"``.
    """
    if isinstance(notify, ReportChannel):
        raise TypeError(f"notify must be a list of channels: write notify=[{type(notify).__name__}(…)]")
    if not isinstance(notify, Iterable) or isinstance(notify, str):
        raise TypeError(f"notify must be a list of channels, not {brief_repr(notify)}: write notify=[…]")
    channels = tuple(notify)
    for channel in channels:
        if not isinstance(channel, ReportChannel):
            raise TypeError(f"notify must hold ReportChannel objects, not {brief_repr(channel)}")
        check_sends(channel)
    if notify_on not in NOTIFY_ON:
        raise ValueError(f"notify_on must be 'always' or 'error', not {brief_repr(notify_on)}")
    return channels


def notify_after(
    report: ProcessExecutionReport,
    channels: tuple[ReportChannel, ...],
    notify_on: str,
    *,
    interrupted: bool = False,
) -> None:
    """Send the report of a run that has ended.

    Parameters
    ----------
    report : ProcessExecutionReport
        The whole report.
    channels : tuple of ReportChannel
        As :func:`check_notify` gives them.
    notify_on : {"always", "error"}
        Send it in any case, or only if a task failed.
    interrupted : bool, default False
        Whether Ctrl-C ended the run. What is not sent after a second is sent by a thread then, for which
        the interpreter waits at its exit.
    """
    if not channels or (notify_on == "error" and not report.errored):
        return
    if not interrupted:
        report.notify(*channels)
        return
    thread = threading.Thread(target=report.notify, args=channels, name="processes-notify", daemon=False)
    thread.start()
    thread.join(INTERRUPT_SECONDS)
