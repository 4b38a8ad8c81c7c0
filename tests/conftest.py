"""What all tests share: the runners, and the look at what a test leaves behind."""

from __future__ import annotations

import ctypes  # noqa: F401 - newer versions of libffi keep a descriptor from its first import on
import gc
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from programs import NAMED

from processes import DaskRunner, Process, ProcessPoolRunner, Task, runners
from processes.cpus import usable_cpus

if TYPE_CHECKING:
    import distributed
    import trustme


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say what ``-n auto`` is: three workers for each processor, since many tests wait."""
    return 3 * usable_cpus()


class WarmPool:
    """The worker processes that tests share; others take their place once a test has cost it one."""

    WORKERS = 2

    def __init__(self) -> None:
        self._runner: ProcessPoolRunner | None = None
        self._pids: set[int] = set()

    def runner(self) -> ProcessPoolRunner:
        """Give the runner that has them, all up."""
        if self._runner is None:
            self._runner = ProcessPoolRunner(self.WORKERS)
            self._runner.__enter__()
            Process([Task(f"t{n}", abs, args=(n,)) for n in range(self.WORKERS)]).run(runner=self._runner)
            self._pids = self._pids_now()
        return self._runner

    def end_if_changed(self) -> None:
        """End the others, so that nothing is there that was not there before."""
        if self._runner is not None and self._pids != self._pids_now():
            self.end()

    def end(self) -> None:
        if self._runner is not None:
            self._runner.__exit__(None, None, None)
            self._runner = None

    def _pids_now(self) -> set[int]:
        assert self._runner is not None
        assert self._runner._block is not None
        return {child.process.pid for child in self._runner._block._workers}


_warm_pool = WarmPool()


@pytest.fixture(scope="session")
def _end_of_warm_pool() -> Iterator[None]:
    yield
    _warm_pool.end()


@pytest.fixture
def shared_workers(monkeypatch: pytest.MonkeyPatch, _end_of_warm_pool: None) -> None:
    """Let runs on processes share their workers, where a test does not ask for another number of them.

    To start them takes most of the time of a short test, and a run that is to be like any other has to be so
    on workers that have served other tests.
    """
    warm, make = _warm_pool.runner(), runners.RUNNERS["process"]
    monkeypatch.setitem(
        runners.RUNNERS,
        "process",
        lambda workers: warm if workers in (None, WarmPool.WORKERS) else make(workers),
    )


@pytest.fixture(params=NAMED)
def runner(request: pytest.FixtureRequest) -> str:
    """Each runner in turn, by name."""
    name: str = request.param
    if name == "process":
        request.getfixturevalue("shared_workers")
    return name


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """An executor with two processes that are up."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        wait([executor.submit(os.getpid) for _ in range(2)])
        yield executor


# An idle cluster looks around so often that it takes a tenth of a processor; so, a hundredth.
QUIET_CLUSTER = {
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
    "distributed.scheduler.work-stealing-interval": "1s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.worker.profile.enabled": False,
}


class SharedCluster:
    """The Dask cluster that tests share; it ends with the last of them, since it is never quite idle."""

    def __init__(self) -> None:
        self._runner: DaskRunner | None = None
        self._up = ExitStack()

    @property
    def is_up(self) -> bool:
        return self._runner is not None

    def runner(self) -> DaskRunner:
        """Give the runner that has it, with two workers that are up."""
        if self._runner is None:
            import dask
            import distributed  # noqa: F401 - what it sets by default is there to go back to

            self._up.enter_context(dask.config.set(QUIET_CLUSTER))
            self._runner = self._up.enter_context(DaskRunner(n_workers=2))
            tasks = [Task(f"t{i}", abs, args=(i,)) for i in range(4)]
            Process(tasks).run(runner=self._runner).raise_for_errors()
        return self._runner

    def end(self) -> None:
        self._up.close()
        self._runner = None


_cluster = SharedCluster()


@pytest.fixture
def dask() -> DaskRunner:
    """A runner whose cluster, of two workers, is up."""
    return _cluster.runner()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the cluster behind the last of the tests that need it, which come one after the other."""
    if _cluster.is_up and (nextitem is None or "dask" not in _engines_of(nextitem)):
        _cluster.end()


@pytest.fixture
def new_client(dask: DaskRunner) -> Callable[..., distributed.Client]:
    """Make another client of that cluster; Dask is imported where it is needed, which takes half a second."""
    from distributed import Client

    return partial(Client, dask._block.client.scheduler.address, set_as_default=False)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """What gives servers their certificates."""
    import trustme

    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the authority be one that this machine trusts."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers on this machine be called directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust nobody: to read the certificates of all whom this machine trusts takes 0.07 s a request."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests on Dask, then on an executor: one of xdist's workers gets all of them.

    The others need no cluster (6 s) and no processes of an executor's (1 s).
    """
    items.sort(key=lambda item: ("dask" not in _engines_of(item), "executor" not in _engines_of(item)))


def _engines_of(item: pytest.Item) -> set[str]:
    """What a test asks for by name, as fixtures or parameters: the engines that it needs are among that."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*item.fixturenames, *(one for one in parameters if type(one) is str)}


HAS_PROC = os.path.isdir("/proc/self/fd")
"""Whether the system tells in files what a process has: Linux."""


def _descriptors() -> set[str]:
    """What the open descriptors of this process point to, without what Python opens as it goes."""
    if not HAS_PROC:
        count = getattr(psutil.Process(), "num_fds", lambda: 0)()  # Windows tells none
        return {str(number) for number in range(count)}
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
    """The processes that descend from this one; psutil would go through all of the machine's."""
    if not HAS_PROC:
        return {child.pid for child in psutil.Process().children(recursive=True)}
    found: set[int] = set()
    unread = [os.getpid()]
    while unread:
        threads = f"/proc/{unread.pop()}/task"
        with suppress(OSError):  # the process has just ended, or below, the thread
            for thread in os.listdir(threads):
                with suppress(OSError), open(f"{threads}/{thread}/children") as file:
                    children = [int(pid) for pid in file.read().split()]
                    found.update(children)
                    unread += children
    return found


def pytest_configure() -> None:
    """Hear Ctrl-C, in the programs that tests start too: a shell's background jobs have it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    gc.disable()  # hardly anything is garbage until all tests are collected


def pytest_collection_finish() -> None:
    """Take what is there before the first test out of what each test's look has to go through."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fail a test that leaves a thread, a process or a descriptor; mark `leaves_threads` for time limits."""
    for engine in {"runner", "shared_workers", "executor", "dask"}.intersection(request.fixturenames):
        request.getfixturevalue(engine)  # it is there before, and outlives the test
    descriptors, threads, children = _descriptors(), _threads(), _children()
    yield
    _warm_pool.end_if_changed()
    allowed_threads = request.node.get_closest_marker("leaves_threads") is not None
    has_cluster = _cluster.is_up  # which opens connections and closes them at any time
    deadline = time.monotonic() + 30
    for look in itertools.count():
        opened = _descriptors() - descriptors
        left = (
            {each for each in opened if not (has_cluster and "socket:" in each)},
            set() if allowed_threads else _threads() - threads,
            _children() - children,
        )
        if not any(left) or time.monotonic() > deadline:
            break
        if look >= 2:
            for record in caplog.get_records("call"):
                record.exc_info = None  # pytest keeps records, and with them the frames of tracebacks
            gc.collect()  # which takes 0.06 s of a processor
        time.sleep(0.02 if look < 2 else 0.2)  # a thread that has ended its work takes a moment to be gone
    assert left == (set(), set(), set()), f"left behind (descriptors, threads, processes): {left}"
