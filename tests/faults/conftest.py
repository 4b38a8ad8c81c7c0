"""The systems that the tests of faults run on, and workers that several of them share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from processes import Process, ProcessPoolRunner, Task
from processes.runners.pool import abilities

pytest.register_assert_rewrite("faulty_runs")


@pytest.fixture(params=["as it is", "without guard", "without guard and token pipe"])
def system(request, monkeypatch):
    """This system, one that has no descriptor for processes, and one whose pipes always wait besides."""
    if request.param != "as it is":
        monkeypatch.setattr(abilities, "CAN_GUARD", False)
    if request.param == "without guard and token pipe":
        monkeypatch.setattr(abilities, "CAN_TAKE_BACK", False)
    return request.param


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolRunner]:
    """Two workers that stay, each started."""
    with ProcessPoolRunner(2) as runner:
        Process([Task(f"t{n}", time.sleep, args=(0.2,)) for n in range(4)]).run(runner=runner)
        yield runner
