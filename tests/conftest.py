"""What all tests share: the runners, and the look at what a test leaves behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

RUNNERS = ("sequential", "thread", "process")


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    """Each runner in turn, by name."""
    name: str = request.param
    return name


def _descriptors() -> set[str]:
    """What the open descriptors of this process point to, without what Python opens as it goes."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{descriptor} {os.readlink(f'/proc/self/fd/{descriptor}')}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith("left-behind")}


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a process or a descriptor; mark `leaves_threads` for time limits."""
    gc.collect()
    descriptors, threads, children = _descriptors(), _threads(), _children()
    yield
    allowed_threads = request.node.get_closest_marker("leaves_threads") is not None
    deadline = time.monotonic() + 5
    while True:
        gc.collect()
        left = (
            _descriptors() - descriptors,
            set() if allowed_threads else _threads() - threads,
            _children() - children,
        )
        if not any(left) or time.monotonic() > deadline:
            break
        time.sleep(0.02)  # a thread that has ended its work takes a moment to be gone
    assert left == (set(), set(), set()), f"left behind (descriptors, threads, processes): {left}"
