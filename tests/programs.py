"""Programs that tests start, and waiting for what they do: neither outlasts its test."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

NAMED = ("sequential", "thread", "process")
"""The runners that a program can name and that start in no time."""

NOT_SLOW_FOR_DASK = "ignore:Creating scratch directories is taking:UserWarning"
"""What Dask says on a busy machine is no fault of a program's: for an option -W behind others."""


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a program, and kill it at the end of the block if it still runs."""
    with subprocess.Popen(command, **options) as program:
        try:
            yield program
        finally:
            program.kill()


def ended(
    command: Sequence[str | os.PathLike[str]], seconds: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and tell how it ended and what it has printed."""
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)


def output_of(command: Sequence[str | os.PathLike[str]], seconds: float = 120, **options: Any) -> str:
    """Run a program to its end, and give what it prints; it must end well, and complain of nothing."""
    done = ended(command, seconds, **options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done.stdout


def wait_until(happened: Callable[[], object], seconds: float = 60) -> None:
    give_up_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up_at, f"has not happened within {seconds} s"
        time.sleep(0.01)
