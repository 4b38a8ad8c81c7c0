"""What a worker has started, where it has no guard to end it."""

from __future__ import annotations

from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING

from ...clock import monotonic
from ...memory import can_look_at_others
from .boot import GRACE_SECONDS

if TYPE_CHECKING:
    import psutil


def kill_descendants(pid: int) -> None:
    """Stop a process, and kill what it has started, as far as it can be found; see :mod:`.boot` for Linux.

    Resource trackers of multiprocessing are left: they remove shared memory and end when all others are gone.
    """
    if not can_look_at_others():
        return  # what psutil would name is somebody else's
    import psutil

    give_up_at = monotonic() + GRACE_SECONDS

    def stop(process: psutil.Process) -> None:
        with suppress(psutil.Error):
            process.suspend()  # which takes a moment
            while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                if monotonic() >= give_up_at:
                    break
                sleep(0.001)

    with suppress(psutil.Error):
        worker = psutil.Process(pid)
        stop(worker)
        family: set[psutil.Process] = set()
        # All are stopped before any is killed: its parent would start the next one.
        while found := {*filter(_is_mortal, worker.children(recursive=True))} - family:
            for process in found:
                stop(process)
            family |= found
        for process in family:
            with suppress(psutil.Error):
                process.kill()


def _is_mortal(process: psutil.Process) -> bool:
    import psutil

    try:
        return not any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:  # it is gone
        return False
