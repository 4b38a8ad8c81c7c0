"""The runners on other people's engines, by name: all tests of the contract share one of each."""

from __future__ import annotations

import pytest
from functions import ENGINES
from programs import NAMED

from processes import ExecutorRunner
from processes.runners import RUNNERS


@pytest.fixture(params=NAMED)
def named_runner(request: pytest.FixtureRequest) -> str:
    """Each runner that a program can name and that starts in no time."""
    name: str = request.param
    return name


@pytest.fixture(params=NAMED + ENGINES)
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each runner in turn, by name."""
    name: str = request.param
    if name in ENGINES:
        engine = request.getfixturevalue(name)
        monkeypatch.setitem(
            RUNNERS,
            name,
            lambda workers: engine if name == "dask" else ExecutorRunner(engine, max_workers=workers),
        )
    elif name == "process":
        request.getfixturevalue("shared_workers")
    return name
