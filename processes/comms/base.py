"""`ReportChannel`: the interface of everything that a report can be sent through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..checks import check_plain

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport


class ReportChannel(ABC):
    """Renders a report and sends it; derive from it to write a channel of your own.

    Examples
    --------
    >>> class Printer(ReportChannel):
    ...     def send_report(self, report, *, errors_only):
    ...         print(report.process_name, len(report.entries))
    """

    @abstractmethod
    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        """Send a report.

        Parameters
        ----------
        report : ProcessExecutionReport
            What to send; it holds only the tasks that shall be shown.
        errors_only : bool
            Whether only failed tasks were asked for, so that the title can say so.

        Raises
        ------
        Exception
            If the report could not be sent; :meth:`ProcessExecutionReport.notify` turns it into a warning.
        """


def check_sends(channel: object) -> None:
    """Refuse a channel whose `send_report` is a coroutine or generator function."""
    check_plain(f"{type(channel).__name__}.send_report", getattr(channel, "send_report", None))
