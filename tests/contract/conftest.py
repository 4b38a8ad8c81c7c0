"""The runners on other people's engines, by name: all tests of the contract share one of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from multiprocessing import get_context

import pytest

from processes import DaskRunner, ExecutorRunner, Process, Task
from processes.runners import RUNNERS

NAMED = ("sequential", "thread", "process")
ENGINES = ("executor", "dask")


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """An executor with two processes that are up."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        wait([executor.submit(os.getpid) for _ in range(2)])
        yield executor


@pytest.fixture(scope="session")
def dask() -> Iterator[DaskRunner]:
    """A runner whose cluster, of two workers, is up."""
    with DaskRunner(n_workers=2) as runner:
        Process([Task(f"t{i}", abs, args=(i,)) for i in range(4)]).run(runner=runner).raise_for_errors()
        yield runner


@pytest.fixture(params=NAMED)
def named_runner(request: pytest.FixtureRequest) -> str:
    """Each runner that a program can name."""
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
    return name
