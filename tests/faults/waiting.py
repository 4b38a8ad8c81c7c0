"""Functions that wait for each other, for workers that are many: they import this, and no pytest."""

from __future__ import annotations

import time
from pathlib import Path

SHORT = 400  # tasks; after the first hundred their mean is short enough for lines of many
LIMIT_SECONDS = 120


def wait_for_files(folder: Path, count: int) -> bool:
    """Wait until there are so many files; False if that takes too long."""
    end = time.monotonic() + LIMIT_SECONDS
    while len(list(folder.iterdir())) < count:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def wait_until_it_is_long_at_it(folder: Path) -> None:
    wait_for_files(folder, 1)
    while time.time() - (folder / "first").stat().st_mtime < 0.2:
        time.sleep(0.01)


def begin_and_wait(folder: Path) -> bool:
    (folder / "first").touch()
    return wait_for_files(folder, 1 + SHORT)


def touch(folder: Path, number: int) -> None:
    (folder / str(number)).touch()


def take_a_moment(folder: Path, number: int) -> None:
    # Calls of 2 ms have many in line, where nothing else is to come; as they become longer, ever fewer.
    time.sleep(0.002 if number < 10 else 0.01)
    touch(folder, number)
