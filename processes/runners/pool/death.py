"""How a worker ended, in words."""

from __future__ import annotations

import signal
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from ...cgroup import group_folders, read
from ...exceptions import WorkerDiedError
from .launch import may_be_no_interpreter


class Death(NamedTuple):
    """The end of a worker process, and what it left to read."""

    pid: int
    code: int | None  # its exit code; below zero the signal that ended it; None where nobody told us
    stack: str = ""  # what faulthandler wrote
    peak_rss: int | None = None  # in bytes
    stderr: str = ""  # the end of its standard error
    short_of_memory: bool | None = None  # whether the system killed it for that; None where nobody knows

    def error(self, task_name: str) -> WorkerDiedError:
        """Make the error of a task that the worker was running."""
        how = self._how()
        if self.signal is None:
            how += " before the task had ended"
        return self._error(task_name, f"The worker process of task {task_name!r} (pid {self.pid}) {how}")

    def boot_error(self, task_name: str, in_a_row: int, program: str) -> WorkerDiedError:
        """Make the error of a task for which no worker comes up; this is the last of several that tried."""
        message = (
            f"Task {task_name!r} could not be run: {in_a_row} worker processes in a row ended before they "
            f"came up; the last {self._how()}"
        )
        if may_be_no_interpreter(program):
            message += (
                f"; if {program!r}, with which they are started, is no Python interpreter, name one by "
                "multiprocessing.set_executable()"
            )
        return self._error(task_name, message)

    def loss_error(self, task_name: str, result_of: str) -> WorkerDiedError:
        """Make the error of a task that needed a result which the worker had kept for it."""
        return self._error(
            task_name,
            f"Task {task_name!r} could not be run: the worker process (pid {self.pid}) that had kept the "
            f"result of {result_of!r} for it {self._how()}; with keep_result=True it would be sent at once",
        )

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it; None if it exited."""
        if self.code is None or self.code >= 0:
            return None
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    def _how(self) -> str:
        if self.code is None:
            return "ended (its exit code is not known, since this program handles or ignores SIGCHLD)"
        if self.signal is None:
            # Windows tells in this way that it has ended a process: 0xC0000005 for an access violation.
            return f"exited with code {self.code if self.code < 1 << 31 else f'0x{self.code:08X}'}"
        how = f"was ended by {self.signal}"
        if self.signal != "SIGKILL":
            return how
        if self.short_of_memory is None:
            return f"{how}; where nobody killed it, the system was short of memory"
        if self.short_of_memory:
            return f"{how}: the system was short of memory; use fewer workers or smaller tasks"
        return f"{how}, and not by the kernel for lack of memory"

    def _error(self, task_name: str, message: str) -> WorkerDiedError:
        error = WorkerDiedError(
            message,
            task_name=task_name,
            signal=self.signal,
            exitcode=None if self.signal else self.code,
            pid=self.pid,
            peak_rss=self.peak_rss,
            python_stack=self.stack,
            stderr=self.stderr,
        )
        if self.stack:
            error.add_note(f"Its Python stack, innermost call first:\n{self.stack.rstrip()}")
        if self.stderr:
            error.add_note(f"The end of its standard error:\n{self.stderr.rstrip()}")
        return error


class OutOfMemoryKills:
    """The processes of our control group that the system has killed for lack of memory.

    Only what happens after this object is made counts.
    """

    def __init__(self) -> None:
        self._file = _counter_file()
        self._explained = self._count()

    def claim(self) -> bool | None:
        """Tell whether there is one that explains a death, and no other yet; None where nobody counts."""
        if self._file is None:
            return None
        if self._count() <= self._explained:
            return False
        self._explained += 1
        return True

    def _count(self) -> int:
        return 0 if self._file is None else _kills_in(self._file) or 0


@cache
def _counter_file() -> str | None:
    """Return the file that counts the kills; None where there is none."""
    for controller, name in (("", "memory.events"), ("memory", "memory.oom_control")):
        for group in group_folders(controller):
            if _kills_in(f"{group}/{name}") is not None:
                return f"{group}/{name}"
    return None


def _kills_in(file: str) -> int | None:
    for line in (read(file) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            with suppress(ValueError):
                return int(value)
    return None
