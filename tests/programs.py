"""Programs that tests start, and waiting for what they do: neither outlasts its test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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


END = "=" * 80  # of what a script prints

# Each as if it were the only one, in a folder of its own; the first one that fails ends it.
RUN_EACH = f"""
import os, runpy, sys

places = sys.argv[1:]
for script, folder in zip(places[::2], places[1::2]):
    sys.argv[:] = [os.path.basename(script)]
    sys.path[0] = os.path.dirname(script)
    os.chdir(folder)
    runpy.run_path(script, run_name="__main__")
    print({END!r}, flush=True)
"""


def outputs_of_each(places: Sequence[tuple[Path, Path]], **environment: str) -> tuple[list[str], str]:
    """Run scripts one after the other in one Python, each in its folder, with warnings as errors.

    They must end well; gives what each prints, and what they complain of.
    """
    flags = ["-W", "error", "-W", NOT_SLOW_FOR_DASK]
    done = ended(
        [sys.executable, *flags, "-c", RUN_EACH, *(path for place in places for path in place)],
        300,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr
    *printed, _ = done.stdout.split(f"{END}\n")
    return printed, done.stderr


def wait_until(happened: Callable[[], object], seconds: float = 60) -> None:
    give_up_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up_at, f"has not happened within {seconds} s"
        time.sleep(0.01)
