"""Ctrl-C, and functions that raise KeyboardInterrupt themselves."""

from __future__ import annotations

import atexit
import ctypes
import itertools
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType, MethodType

import psutil
import pytest
from programs import ended, output_of, started, wait_until

import processes.runners.thread
import processes.stream
from processes import (
    ExecutorRunner,
    Process,
    ProcessPoolRunner,
    RunFinished,
    RunStarted,
    SequentialRunner,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStarted,
    TaskStatus,
    ThreadRunner,
)
from processes.comms.deadline import Deadline
from processes.runners.dask.values import OnCluster
from processes.runners.pool.child import Child
from processes.runners.shelf import Shelf
from processes.scheduler import Scheduler

ALARM = getattr(signal, "SIGALRM", signal.SIGABRT)  # Windows has no alarms

needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to processes")

SCRIPT = """
import sys, time
from pathlib import Path
from processes import Process, Task, TaskDependency

def quick():
    return "done"

def long(name):
    Path(name).touch()
    {body}

first = TaskDependency("quick")
tasks = [Task("quick", quick, log_path="quick.log")]
tasks += [
    Task(f"long{{i}}", long, log_path="long.log", args=(f"began{{i}}",), dependencies=[first])
    for i in range(2)
]
tasks += [Task("after", quick, dependencies=[TaskDependency("long0")])]
process = Process(tasks)
try:
    process.run(runner=sys.argv[1], max_workers={workers})
except KeyboardInterrupt:
    print({{name: entry.status.name for name, entry in process.report.entries.items()}}, flush=True)
    print(process.runner.results["quick"].result, flush=True)
    sys.exit(42)
"""


@needs_kill
@pytest.mark.parametrize(
    ("runner", "body"),
    [
        ("sequential", "while True: time.sleep(0.1)"),  # just before a long one it would not be heard
        ("sequential", "while True: pass"),
        ("thread", "while True: pass"),
        ("process", "time.sleep(3600)"),
    ],
)
def test_ctrl_c_ends_a_run_and_leaves_what_was_finished(runner, body, tmp_path):
    script = tmp_path / "busy.py"
    script.write_text(SCRIPT.format(body=body, workers=None if runner == "sequential" else 2))
    with started(
        [sys.executable, str(script), runner],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        wait_until((tmp_path / "began0").exists)
        family = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = program.communicate(timeout=120)
    assert program.returncode == 42, err
    assert err == ""
    assert out.splitlines() == [
        "{'quick': 'SUCCESS', 'long0': 'PENDING', 'long1': 'PENDING', 'after': 'PENDING'}",
        "done",
    ]
    assert "Finished quick." in (tmp_path / "quick.log").read_text()
    assert "Starting long0." in (tmp_path / "long.log").read_text()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def test_a_keyboard_interrupt_of_the_functions_own_fails_its_task_alone(runner):
    def raise_keyboard_interrupt() -> None:
        raise KeyboardInterrupt("my own")

    report = Process([Task("rude", raise_keyboard_interrupt), Task("fine", abs, args=(-1,))]).run(
        runner=runner
    )
    assert report.entries["rude"].status is TaskStatus.ERRORED
    assert type(report.exceptions["rude"]) is KeyboardInterrupt
    assert report.results == {"fine": 1}
    with pytest.raises(BaseExceptionGroup):
        report.raise_for_errors()


def interrupt_and_swallow() -> list[str]:
    ends = []
    for _ in range(2):  # who does it once more is heard once more
        try:
            signal.raise_signal(signal.SIGINT)
            time.sleep(30)
            ends.append("slept")
        except BaseException:
            ends.append("swallowed")
    return ends


def test_a_real_ctrl_c_that_a_function_swallows_ends_the_run_all_the_same():
    process = Process([Task("deaf", interrupt_and_swallow), Task("next", abs, args=(1,))])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential")
    assert process.report.entries["deaf"].result == ["swallowed"] * 2
    assert process.report.entries["next"].status is TaskStatus.PENDING
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Struck(Exception):
    pass


def strike(*_: object) -> None:
    raise Struck


def test_what_another_thread_raises_in_that_of_a_run_ends_it(tmp_path):
    # As time limits do that Prefect and dramatiq have, and what ends dramatiq's workers.
    began, end = tmp_path / "began", tmp_path / "end"

    def begin_and_wait():
        began.touch()
        wait_until(end.exists)

    process = Process([Task("long", begin_and_wait)])
    raised = []

    def run():
        try:
            process.run(runner="process", max_workers=1)
        except Struck as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(began.exists)
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(Struck)) == 1
    thread.join(20)
    has_ended = not thread.is_alive()
    end.touch()
    thread.join()
    assert has_ended
    assert len(raised) == 1
    assert process.report.entries["long"].status is TaskStatus.PENDING


@needs_kill
@pytest.mark.parametrize(
    ("number", "error", "in_block"),
    [
        (signal.SIGINT, KeyboardInterrupt, False),
        (signal.SIGINT, KeyboardInterrupt, True),
        (ALARM, Struck, False),
    ],
    ids=["ctrl-c", "ctrl-c in the block", "handler"],
)
def test_the_report_of_an_interrupted_stream_does_not_wait_for_what_goes_on(
    number, error, in_block, monkeypatch
):
    monkeypatch.setattr(processes.stream, "INTERRUPT_SECONDS", 0.01)
    looped, let_go = threading.Event(), threading.Event()

    def interrupt_and_go_on():
        assert looped.wait(60)
        os.kill(os.getpid(), number)
        let_go.wait(60)

    def read():
        looped.set()
        for _ in stream:
            pass

    def leave_block():
        with stream:
            looped.set()
            wait_until(let_go.is_set)  # in short steps: a long one may begin just after the signal

    process = Process([Task("long", interrupt_and_go_on), Task("next", int)])
    stream = process.stream(runner="sequential")
    with handled_by(strike), pytest.raises(error):
        leave_block() if in_block else read()
    report = stream.report
    stream.close()
    assert stream._thread.is_alive()
    assert stream._thread.daemon  # nor does the program's end wait
    let_go.set()
    stream._thread.join(60)
    assert {entry.status for entry in report.entries.values()} == {TaskStatus.PENDING}
    assert stream.report is process.report is report


def test_a_stream_that_is_closed_waits_for_what_goes_on(monkeypatch):
    monkeypatch.setattr(processes.stream, "INTERRUPT_SECONDS", 0.01)
    began = threading.Event()

    def go_on():
        began.set()
        time.sleep(0.2)

    stream = Process([Task("long", go_on), Task("next", int)]).stream(runner="sequential")
    assert began.wait(60)
    stream.close()
    assert {name: entry.status.name for name, entry in stream.report.entries.items()} == {
        "long": "SUCCESS",
        "next": "PENDING",
    }


def interrupt_the_program(number: int) -> int:
    if number == 100:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)
    return number + 1


@needs_kill
def test_ctrl_c_ends_a_chain_of_short_tasks_on_threads():
    tasks = [
        Task(
            f"t{i}",
            interrupt_the_program,
            args=() if i else (0,),
            dependencies=[TaskDependency(f"t{i - 1}", True)] if i else [],
        )
        for i in range(10_000)
    ]
    process = Process(tasks)
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="thread", max_workers=2)
    statuses = [entry.status for entry in process.report.entries.values()]
    finished = statuses.count(TaskStatus.SUCCESS)
    assert 100 <= finished < 10_000
    assert statuses == [TaskStatus.SUCCESS] * finished + [TaskStatus.PENDING] * (10_000 - finished)


def run_inner_and_interrupt() -> None:
    Process([Task("inner", interrupt_and_swallow)]).run(runner="sequential")


def test_ctrl_c_in_an_inner_run_ends_the_outer_one_too():
    process = Process([Task("outer", run_inner_and_interrupt), Task("next", abs, args=(1,))])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential")
    assert process.report.entries["next"].status is TaskStatus.PENDING
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@contextmanager
def handled_by(handler: Callable[..., object], number: int = ALARM) -> Iterator[None]:
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


def test_after_a_ctrl_c_slow_observers_are_not_told_of_all_that_they_have_missed():
    ran, told = [], []

    def observe(event: object) -> None:
        if not told:
            wait_until(lambda: len(ran) == 400)
            signal.raise_signal(signal.SIGINT)
        told.append(event)
        time.sleep(0.1)

    process = Process([Task(f"t{number}", ran.append, args=(number,)) for number in range(400)])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="thread", observers=[observe])
    assert isinstance(told[-1], RunFinished)
    assert len(told) < 100  # of more than 800


def test_a_second_ctrl_c_ends_an_observer_that_goes_on():
    told: list[object] = []

    def observe(event: object) -> None:
        told.append(event)
        if isinstance(event, TaskFinished):
            signal.raise_signal(signal.SIGINT)  # for the run, which ends when the observer has returned
            told.append("goes on")
            signal.raise_signal(signal.SIGINT)
            told.append("goes on for ever")

    process = Process([Task("quick", abs, args=(-1,)), Task("next", list)])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential", observers=[observe])
    assert [type(event) for event in told[:2]] == [RunStarted, TaskStarted]
    assert told[3] == "goes on"
    assert [type(event) for event in told[4:]] == [RunFinished]
    assert process.report.results == {"quick": 1}


def test_a_second_ctrl_c_cuts_no_step_of_the_run_short():
    steps = []

    class StruckTwice(SequentialRunner):
        def close(self):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            steps.append("closed")

    def run():
        Process([Task("quick", abs, args=(-1,))]).run(runner=StruckTwice())

    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(KeyboardInterrupt):
        Process([Task("around", run)]).run(runner="sequential")
    assert steps == ["closed", "closed"]


def test_ctrl_c_ends_a_program_whose_coroutine_goes_on_beside_its_event_loop():
    script = (
        "import asyncio, signal, time\n"
        "from processes import Process, Task\n"
        "async def go_on():\n"
        "    signal.raise_signal(signal.SIGINT)\n"  # which interrupts no wait of the main thread
        "    time.sleep(3600)\n"
        "async def main():\n"
        "    Process([Task('long', go_on)]).run(runner='sequential')\n"
        "loop = asyncio.new_event_loop()\n"
        "try:\n"
        "    loop.run_until_complete(main())\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
        "loop.close()\n"
    )
    assert output_of([sys.executable, "-c", script]) == "interrupted\n"


def interrupt_an_inner_run() -> None:
    raised = Task("signal", signal.raise_signal, args=(ALARM,))
    Process([raised, Task("inner-next", abs, args=(1,))]).run(runner="sequential")


@pytest.mark.parametrize(
    ("function", "args"), [(signal.raise_signal, (ALARM,)), (interrupt_an_inner_run, ())]
)
def test_another_signal_that_the_program_has_handled_as_ctrl_c_ends_a_run_as_that_does(function, args):
    process = Process([Task("struck", function, args=args), Task("next", abs, args=(1,))])
    with handled_by(signal.default_int_handler):
        with pytest.raises(KeyboardInterrupt):
            process.run(runner="sequential")
        assert signal.getsignal(ALARM) is signal.default_int_handler
    assert {entry.status for entry in process.report.entries.values()} == {TaskStatus.PENDING}


def test_a_handler_of_the_users_own_is_left_alone(runner):
    seen = []
    tasks = [
        Task("signal", signal.raise_signal, args=(signal.SIGINT,), runner="sequential"),
        Task("ok", abs, args=(1,)),
    ]
    with handled_by(lambda *_: seen.append("mine"), signal.SIGINT):
        Process(tasks).run(runner=runner).raise_for_errors()
    assert seen == ["mine"]


def heed_no_signal(number: int, frame: object) -> None:
    """Stand for a handler that a program installs."""


def test_a_handler_that_a_function_installs_stays_after_the_run():
    previous = signal.getsignal(signal.SIGINT)
    try:
        install = Task("installs", signal.signal, args=(signal.SIGINT, heed_no_signal))
        Process([install]).run(runner="sequential").raise_for_errors()
        assert signal.getsignal(signal.SIGINT) is heed_no_signal
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_handler_that_a_function_installs_before_that_of_the_run_interrupts_the_program_after_the_run():
    def handle_first() -> None:
        previous = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *args: previous(*args))

    with handled_by(signal.default_int_handler, signal.SIGINT):
        Process([Task("installs", handle_first)]).run(runner="sequential").raise_for_errors()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_before_the_first_task_leaves_a_report_too(runner):
    def interrupted():
        signal.raise_signal(signal.SIGINT)
        yield print

    process = Process([Task("quick", abs, args=(-1,))])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner=runner, observers=interrupted())
    assert [entry.status for entry in process.report.entries.values()] == [TaskStatus.PENDING]


def test_ctrl_c_while_the_report_is_made_leaves_a_report_too():
    class Named:
        def __call__(self) -> int:
            return 1

        @property
        def __name__(self) -> str:
            struck.append(None)
            if len(struck) == 1:
                signal.raise_signal(signal.SIGINT)
            return "named"

    struck: list[None] = []
    process = Process([Task("quick", Named())])
    with pytest.raises(KeyboardInterrupt):
        process.run()
    assert process.report.results == {"quick": 1}


STRUCK = """
import os, signal, sys
from functools import partial
from pathlib import Path
from processes import Process, Task, TaskDependency

class Stop(Exception):
    pass

def strike(error, *_):
    raise error

class Handler:
    def __call__(self, *_):
        raise Stop("struck")

handlers = {
    "exit": lambda *_: sys.exit(7),
    "partial": partial(strike, Stop("struck")),
    "object": Handler(),
}

def wait(pid):
    os.kill(pid, signal.SIGUSR2)
    while not Path("end").exists():
        pass

signal.signal(signal.SIGUSR2, handlers[sys.argv[2]])
after = [TaskDependency("quick")]
long = Task("long", wait, args=(os.getpid(),), dependencies=after, runner=sys.argv[1])
process = Process([Task("quick", abs, args=(-1,)), long])
try:
    process.run(runner="sequential")
except (Stop, SystemExit) as error:
    statuses = {name: entry.status.name for name, entry in process.report.entries.items()}
    print(type(error).__name__, error, statuses)
"""


@needs_kill
@pytest.mark.parametrize(
    ("runner", "handler", "error"),
    [
        ("sequential", "partial", "Stop struck"),
        ("thread", "exit", "SystemExit 7"),
        ("process", "exit", "SystemExit 7"),
        ("process", "object", "Stop struck"),
    ],
)
def test_what_a_handler_of_the_programs_raises_leaves_the_run(runner, handler, error, tmp_path):
    (tmp_path / "struck.py").write_text(STRUCK)
    command = [sys.executable, "struck.py", runner, handler]
    output = output_of(command, cwd=tmp_path)
    (tmp_path / "end").touch()  # for the function that a thread would be left with
    assert output == f"{error} {{'quick': 'SUCCESS', 'long': 'PENDING'}}\n"


STRUCK_ELSEWHERE = """
import signal, threading
from processes import Process, Task

class Stop(Exception):
    pass

def strike(*_):
    raise Stop

def be_struck():
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # it ends no wait of the main thread
    print("waited for" if not over.wait(60) else "left behind")

over = threading.Event()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGUSR2, strike)
try:
    Process([Task("long", be_struck)]).run(runner="thread")
except Stop:
    print("Stop")
    over.set()
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows sends no signals to threads")
def test_a_handler_is_called_soon_whatever_ctrl_c_does_in_the_program():
    done = ended([sys.executable, "-c", STRUCK_ELSEWHERE])
    assert done.stdout.splitlines()[0] == "Stop"


def fail_by_a_signal_of_ones_own() -> None:
    def strike(*_: object) -> None:
        raise ValueError("too long")

    signal.signal(ALARM, strike)
    signal.raise_signal(ALARM)


def test_what_a_handler_raises_that_a_task_has_installed_fails_that_task():
    try:
        report = Process([Task("own", fail_by_a_signal_of_ones_own), Task("next", abs, args=(-1,))]).run()
    finally:
        signal.signal(ALARM, signal.SIG_DFL)
    assert repr(report.exceptions["own"]) == "ValueError('too long')"
    assert report.results == {"next": 1}


class SendsSignals:
    """Sends its process a signal when it is serialized."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> object:
        os.kill(os.getpid(), self.number)
        give_up_at = time.monotonic() + 100
        while time.monotonic() < give_up_at:
            pass
        return SendsSignals, (self.number,)


@needs_kill
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (ALARM, Struck)],
    ids=["ctrl-c", "handler"],
)
def test_a_signal_that_strikes_while_an_argument_is_serialized_ends_the_run(number, error):
    tasks = [Task("quick", abs, args=(-1,)), Task("slow", repr, args=(SendsSignals(number),))]
    process = Process(tasks)
    with ThreadPoolExecutor() as executor:
        for runner in ("process", ExecutorRunner(executor)):
            began = time.monotonic()
            with handled_by(strike), pytest.raises(error):
                process.run(runner=runner)
            assert time.monotonic() - began < 60
            assert process.report.entries["slow"].status is TaskStatus.PENDING


class StruckInItsCode:
    """Cannot be serialized; a signal strikes when it is asked for its method, or as often refused as told."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals

    def __getattribute__(self, name: str) -> object:
        if name == "method":
            signal.raise_signal(ALARM)
        return object.__getattribute__(self, name)

    def __reduce__(self) -> object:
        if not self.refusals:
            signal.raise_signal(ALARM)
        self.refusals -= 1
        raise TypeError

    def method(self) -> None:
        pass


def refused_by_pydantic(value: object) -> Exception:
    pydantic = pytest.importorskip("pydantic")
    with pytest.raises(pydantic.ValidationError) as info:
        pydantic.TypeAdapter(int).validate_python(value)
    return info.value


@pytest.mark.parametrize(
    "argument_of",
    [
        lambda: MethodType(StruckInItsCode.method, StruckInItsCode(refusals=99)),
        lambda: refused_by_pydantic(StruckInItsCode()),
        lambda: refused_by_pydantic([StruckInItsCode(refusals=1)]),
    ],
    ids=["method", "exception", "part-of-exception"],
)
def test_a_signal_that_strikes_in_the_code_of_an_argument_that_travels_otherwise_too_ends_the_run(
    argument_of,
):
    process = Process([Task("one", repr, args=([argument_of()],))])
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner="process")


@pytest.mark.parametrize("who", ["report", "thread"])
def test_a_signal_that_strikes_while_a_large_result_comes_from_a_cluster_ends_the_run(dask, who, monkeypatch):
    async def be_struck(value, waits):
        monkeypatch.undo()
        os.kill(os.getpid(), ALARM)  # for the main thread, which waits
        await value.bring(waits)

    monkeypatch.setattr(OnCluster, "bring", be_struck)
    tasks = [Task("make", bytes, args=(1_000_000,), keep_result=who == "report")]
    if who == "thread":
        tasks.append(Task("here", len, dependencies=[TaskDependency("make", True)], runner="thread"))
    process = Process(tasks)
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner=dask)
    process.run(runner=dask).raise_for_errors()


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (ALARM, Struck)],
    ids=["ctrl-c", "handler"],
)
def test_a_signal_that_strikes_while_the_delay_of_a_retry_is_decided_ends_the_run(number, error):
    decided = []

    def decide(attempt: int) -> float:
        signal.raise_signal(number)
        decided.append(attempt)  # which may take long
        return 0.0

    process = Process([Task("bad", int, args=("x",), retries=1, retry_on=(ValueError,), retry_delay=decide)])
    with handled_by(strike), pytest.raises(error):
        process.run(runner="sequential")
    assert process.report.entries["bad"].status is TaskStatus.PENDING
    assert decided == []


class StrikesWhenShown:
    """Sends its process a signal when it is first shown: on a thread, for which the main thread waits."""

    def __init__(self, number: int) -> None:
        self.due = [number]

    def __repr__(self) -> str:
        while self.due:
            os.kill(os.getpid(), self.due.pop())
        return "shown"


def fail_beside(value: object, handler: Callable[..., object] | None = None) -> None:
    if handler is not None:
        signal.signal(ALARM, handler)
    raise ValueError("no")


class StruckAtRunTime(RuntimeError):
    """As a thread that cannot be started raises one, too."""


@needs_kill
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (ALARM, Struck), (ALARM, StruckAtRunTime)],
    ids=["ctrl-c", "handler", "runtime-error"],
)
def test_a_signal_that_strikes_while_a_failure_is_described_ends_the_run(number, error):
    def handle(*_: object) -> None:
        raise error

    bad = Task("bad", fail_beside, args=(StrikesWhenShown(number),))
    process = Process([bad, Task("next", list)])
    with handled_by(handle), pytest.raises(error):
        process.run(runner="sequential")
    assert [entry.status for entry in process.report.entries.values()] == [TaskStatus.PENDING] * 2


@contextmanager
def struck_as_a_thread_starts() -> Iterator[None]:
    def handle(*_: object) -> None:
        raise StruckAtRunTime

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is threading.Thread.start.__code__:
            sys.setprofile(None)
            signal.raise_signal(ALARM)

    previous = sys.getprofile()
    with handled_by(handle), pytest.raises(StruckAtRunTime):
        sys.setprofile(look)
        try:
            yield
        finally:
            sys.setprofile(previous)


def test_a_signal_that_strikes_as_the_thread_starts_that_is_to_stand_in_ends_the_run():
    with struck_as_a_thread_starts():
        Process([Task("one", list)]).run(runner="sequential", observers=[print])


def test_a_signal_that_strikes_as_a_deadline_begins_ends_the_exchange():
    with struck_as_a_thread_starts(), Deadline(5):
        pass


def test_a_signal_that_strikes_while_a_line_is_written_to_a_log_file_ends_the_run(tmp_path):
    class StruckFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            if record.levelno == logging.ERROR:
                signal.raise_signal(ALARM)
            return super().format(record)

    bad = Task("bad", fail_beside, tmp_path / "bad.log", args=(None,))
    bad.logger.handlers[0].setFormatter(StruckFormatter())
    with handled_by(strike), pytest.raises(Struck):
        Process([bad]).run(runner="sequential")


@needs_kill
def test_where_it_is_the_tasks_own_handler_that_raises_meanwhile_that_fails_the_task():
    bad = Task("bad", fail_beside, args=(StrikesWhenShown(ALARM), strike))
    with handled_by(signal.SIG_DFL):
        report = Process([bad, Task("next", abs, args=(-1,))]).run(runner="sequential")
    assert type(report.exceptions["bad"]) is Struck
    assert "ValueError: no" in report.errored["bad"].error.traceback_str
    assert report.results == {"next": 1}


@needs_kill
@pytest.mark.parametrize("has_checkpoint", [True, False], ids=["checkpoint", "observer"])
def test_a_signal_that_strikes_in_an_observer_ends_the_run(has_checkpoint, tmp_path):
    def observe(event):
        if isinstance(event, TaskFinished):
            signal.raise_signal(ALARM)

    quick = Task("quick", SendsSignals if has_checkpoint else abs, args=(ALARM,))
    process = Process([quick, Task("next", list)])
    path = tmp_path / "run.ckpt" if has_checkpoint else None
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner="sequential", checkpoint=path, observers=[] if has_checkpoint else [observe])
    assert process.report.entries["next"].status is TaskStatus.PENDING
    if has_checkpoint:
        Process([Task("other", abs, args=(-1,))]).run(checkpoint=path)  # nobody has the file any more


def test_what_waits_for_an_observer_is_not_begun_after_a_ctrl_c():
    ran = []

    def interrupt(event: object) -> None:
        if isinstance(event, TaskStarted):
            signal.raise_signal(signal.SIGINT)

    process = Process([Task("one", ran.append, args=(1,))])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential", observers=[interrupt])
    assert ran == []
    assert process.report.entries["one"].status is TaskStatus.PENDING


HAS_A_HANDLER_THAT_TAKES_LONG = """
import itertools, signal, time
from processes import Process, Task

attempts = itertools.count(1)

def fail_once():
    if next(attempts) == 1:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        raise ConnectionError
    return "well"

signal.signal(signal.SIGALRM, lambda *_: time.sleep(1))
print(Process([Task("once", fail_once, retries=1, retry_delay=0.5)]).run(runner="thread").results)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no alarms")
def test_a_run_heeds_its_timers_though_a_signals_handler_goes_on_past_them():
    command = [sys.executable, "-c", HAS_A_HANDLER_THAT_TAKES_LONG]
    assert output_of(command, 30) == "{'once': 'well'}\n"


def test_a_signal_that_strikes_while_a_thread_starts_ends_the_run(monkeypatch, tmp_path):
    def start_slowly(thread):
        signal.raise_signal(ALARM)

    monkeypatch.setattr(processes.runners.thread._Thread, "start", start_slowly)
    process = Process([Task("quick", abs, args=(-1,))])
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner="thread", checkpoint=tmp_path / "run.ckpt")
    assert process.run(runner="sequential", checkpoint=tmp_path / "run.ckpt").results == {"quick": 1}


def strike_behind(cls, method, monkeypatch):
    """Let a signal strike at the end of the next call of a method."""
    function = getattr(cls, method)

    def be_struck(*args):
        monkeypatch.undo()
        done = function(*args)
        signal.raise_signal(ALARM)
        return done

    monkeypatch.setattr(cls, method, be_struck)


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        (ThreadRunner, "close"),
        (selectors.DefaultSelector, "close"),
        (Child, "leave"),
        (Child, "_read_death"),
    ],
)
def test_a_signal_that_strikes_while_a_runner_is_closed_leaves_nothing_behind(
    cls, method, monkeypatch, tmp_path
):
    def sleep_and_tell_the_end(file):
        atexit.register(file.touch)
        time.sleep(0.2)

    ends = [tmp_path / "end0", tmp_path / "end1"]
    tasks = [Task(end.name, sleep_and_tell_the_end, args=(end,), runner="process") for end in ends]
    process = Process([Task("here", abs, args=(-1,)), *tasks])
    strike_behind(cls, method, monkeypatch)
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner="thread", checkpoint=tmp_path / "run.ckpt")
    assert len(process.report.successes) == 3
    assert all(end.exists() for end in ends)  # workers have ended by themselves
    assert len(process.run(checkpoint=tmp_path / "run.ckpt").from_checkpoint) == 3


@pytest.mark.parametrize(("cls", "method"), [(Child, "is_fit"), (Child, "ship_once"), (Shelf, "keep")])
def test_a_signal_that_strikes_where_warm_workers_come_and_go_leaves_none_behind(cls, method, monkeypatch):
    process = Process([Task(f"t{n}", time.sleep, args=(0.1,)) for n in range(2)])
    with ProcessPoolRunner(2) as runner:
        process.run(runner=runner)
        strike_behind(cls, method, monkeypatch)
        with handled_by(strike), pytest.raises(Struck):
            process.run(runner=runner)
        process.run(runner=runner).raise_for_errors()


@needs_kill
def test_a_worker_that_a_signal_has_kept_from_being_stopped_is_given_no_other_task(monkeypatch, tmp_path):
    def begin_and_sleep() -> None:
        (tmp_path / f"{os.getpid()}").touch()
        time.sleep(600)

    def fail() -> None:
        while not os.listdir(tmp_path):
            time.sleep(0.01)
        raise ValueError

    process = Process([Task("sleeps", begin_and_sleep), Task("fails", fail)])
    with ProcessPoolRunner(2) as runner:
        strike_behind(ProcessPoolRunner, "_forget", monkeypatch)
        with handled_by(strike), pytest.raises(Struck):
            process.run(runner=runner, fail_fast=True)
        assert not psutil.pid_exists(int(os.listdir(tmp_path)[0]))


@pytest.mark.leaves_threads
def test_a_thread_that_a_signal_has_kept_from_being_stopped_is_left_behind_all_the_same(monkeypatch):
    begun, end = threading.Event(), threading.Event()
    waited: list[bool] = []

    def begin_and_wait() -> None:
        begun.set()
        waited.append(end.wait(30))

    def fail() -> None:
        begun.wait(60)
        strike_behind(Scheduler, "_runner_of", monkeypatch)
        raise ValueError

    process = Process([Task("waits", begin_and_wait), Task("fails", fail)])
    with handled_by(strike), pytest.raises(Struck):
        process.run(runner="thread", fail_fast=True)
    assert not waited
    end.set()


def module_of(frame):
    return frame.f_globals["__name__"].partition(".")[0]


def test_a_signal_that_strikes_at_any_call_of_a_run_leaves_no_thread_and_no_handler_behind():
    def run(struck_at: int) -> None:
        calls = itertools.count(1)

        def profile(frame, event, _):
            if event != "call" or frame.f_code.co_name == "__exit__":
                return  # what cleans up, and is struck before its first line, does nothing
            calling, called = module_of(frame.f_back), module_of(frame)
            if calling == "processes" and called in {"processes", "contextlib"} and next(calls) == struck_at:
                sys.setprofile(None)
                signal.raise_signal(ALARM)

        def observe(event):
            if isinstance(event, RunStarted):
                sys.setprofile(profile)

        try:
            process.run(runner="thread", observers=[observe])
        finally:
            sys.setprofile(None)

    process = Process([Task(f"t{n}", abs, args=(-n,)) for n in range(3)])
    handler, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    with handled_by(strike):
        for struck_at in itertools.count(1):
            try:
                run(struck_at)
                break
            except Struck:
                pass
            wait_until(lambda: threading.active_count() <= threads)
            assert signal.getsignal(signal.SIGINT) is handler
    assert struck_at > 20


FORKS = """
import multiprocessing, os, signal, sys, threading, time
from processes import Process, Task

def child(ready):
    try:
        os.write(ready, b".")
        time.sleep(60)
    except KeyboardInterrupt:
        os._exit(3)

def fork():
    heard, ready = os.pipe()
    process = context.Process(target=child, args=(ready,))
    process.start()
    os.read(heard, 1)
    for _ in range(300):  # from Python 3.14 on one that strikes before the sleep is not heard till its end
        os.kill(process.pid, signal.SIGINT)
        process.join(0.1)
        if process.exitcode is not None:
            break
    return process.exitcode

context = multiprocessing.get_context("fork")
tasks = [Task("forks", fork, runner="thread"), Task("waits", abs, args=(-1,))]
print(Process(tasks).run(runner="sequential").results)
"""


@needs_kill
def test_a_process_that_is_forked_during_a_run_hears_ctrl_c(tmp_path):
    (tmp_path / "forks.py").write_text(FORKS)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "forks.py"]
    assert output_of(command, cwd=tmp_path) == "{'forks': 3, 'waits': 1}\n"


QUITS = """
import sys
from processes import Process, Task

def stops():
    breakpoint()

process = Process([Task("first", abs, args=(1,)), Task("stops", stops), Task("stops-too", stops)])
try:
    process.run(runner=sys.argv[1], max_workers=1)
except BaseException as error:
    print(type(error).__name__, [entry.status.value for entry in process.report.entries.values()])
"""


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_who_quits_the_debugger_in_a_function_ends_the_run(runner):
    answers = "quit\ny\n"  # from Python 3.14 on it asks whether to quit
    printed = output_of([sys.executable, "-c", QUITS, runner], input=answers)
    quits = "SystemExit" if sys.version_info >= (3, 14) else "BdbQuit"
    assert printed.endswith(f"{quits} ['success', 'pending', 'pending']\n")
