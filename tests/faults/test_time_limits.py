"""Time limits: whatever a task does, it is over soon after its limit, and the report says where it stood."""

from __future__ import annotations

import ast
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from faulty_runs import (
    guarded_or_not,
    needs_guard,
    needs_stacks,
    needs_tokens,
    run_beside_others,
    run_in_new_python,
    time_limit,
)
from misbehaving import (
    Bomb,
    await_end,
    clean_up_on_sigterm,
    compute_at_the_end,
    compute_in_c,
    hang_at_the_end,
    ignore_sigterm,
    loop,
    mark_and_maybe_hang,
    sleep_on,
    tell_and_ignore_sigterm,
    tell_and_stop,
)
from patience import patient
from programs import NAMED, output_of

import processes
from processes import (
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    Task,
    TaskDependency,
    TaskFinished,
    ThreadRunner,
    scheduler,
)
from processes.attempt import Finished, Message, Returned
from processes.runners.pool import boot, child
from processes.runners.pool import runner as pool_runner


@needs_stacks
@patient
def test_a_task_that_is_stuck_ends_with_its_limit_and_tells_where_it_stood(times):
    functions = (sleep_on, loop, compute_in_c, ignore_sigterm)
    report = run_beside_others(
        "process", *(Task(function.__name__, function, timeout=times) for function in functions)
    )
    for name, error in report.exceptions.items():
        assert type(error) is TimeoutError
        (note,) = error.__notes__
        assert note.endswith(f", in {name}")
        assert note.count("File") == 1
        assert report.entries[name].elapsed_seconds < 10 * times
        assert not psutil.pid_exists(report.metrics[name].pid)


class Watched(ProcessPoolRunner):
    """Looks at how long its workers' lines are."""

    def open(self, waker):
        super().open(waker)
        lines.clear()

    def wait(self, timeout):
        lines.extend(len(child.held) for child in self._children)
        return super().wait(timeout)


lines: list[int] = []


@needs_tokens
@patient
def test_what_has_a_time_limit_stands_in_line_too_and_is_not_lost_behind_one_that_hangs(times, tmp_path):
    count, stuck = 300, {150, 200}
    tasks = [
        Task(f"t{i}", mark_and_maybe_hang, args=(tmp_path, i, i in stuck), timeout=2 * times)
        for i in range(count)
    ]
    report = Process(tasks).run(runner=Watched(2))
    assert max(lines) > 1
    assert report.results == {f"t{i}": i for i in range(count) if i not in stuck}
    assert {name: type(error) for name, error in report.exceptions.items()} == {
        f"t{i}": TimeoutError for i in stuck
    }
    assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


@needs_tokens
@patient
def test_a_task_that_ends_just_when_its_time_is_over_does_not_take_the_next_one_with_it(
    times, tmp_path, monkeypatch
):
    monkeypatch.setattr(pool_runner, "OVERDUE_SECONDS", 3600)  # so that the next one stays in line
    over, begun, stopped = (tmp_path / f"{name}-{times}" for name in ("over", "begun", "stopped"))

    class Decided(ProcessPoolRunner):
        """Has an attempt end, and the next one begin, between the look at the time and the stop."""

        def stack_of(self, ticket: int) -> str:
            over.touch()
            wait_for(begun)
            return super().stack_of(ticket)

        def stop(self, ticket: int) -> None:
            super().stop(ticket)
            stopped.touch()

    def begin_and_wait() -> int:
        begun.touch()
        wait_for(stopped)
        return os.getpid()

    def print_late() -> None:
        wait_for(over)
        print("printed")

    log = tmp_path / f"{times}.log"
    tasks = [
        *(Task(f"t{i}", os.getpid) for i in range(20)),  # after some, the mean is short enough for a line
        Task("late", print_late, log_path=log, timeout=0.3 * times),
        Task("next", begin_and_wait),
    ]
    with time_limit(60):
        report = Process(tasks).run(runner=Decided(1), capture_output=True)
    assert "printed\n" in log.read_text()
    assert not hasattr(report.exceptions["late"], "__notes__")  # which would tell where the next one stands
    assert len(report.results) == 21
    assert len(set(report.results.values())) == 1


@patient
def test_a_task_that_heeds_no_sigterm_is_over_while_the_run_goes_on(times, tmp_path, system):
    file = str(tmp_path / f"pid-{times}")
    tasks = [
        Task("deaf", tell_and_ignore_sigterm, args=(file,), timeout=1 * times),
        Task("sees", await_end, args=(file,), timeout=20 + 5 * times),
    ]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert list(report.errored) == ["deaf"]


@pytest.fixture
def _blocked_signals():
    """All signals are blocked, as in a program that waits for them in a thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@needs_guard
@pytest.mark.usefixtures("_blocked_signals")
@patient
def test_a_task_past_its_limit_has_the_time_to_clean_up_and_tells_where_it_stood(times, tmp_path):
    # Several times, since a machine may be too busy to give it that.
    file = str(tmp_path / f"file-{times}")
    task = Task("cleans", clean_up_on_sigterm, args=(file,), timeout=times, retries=9)
    report = Process([task, Task("sleeps", sleep_on, timeout=0.5 * times)]).run(runner="process")
    assert report.results == {"cleans": "cleaned up"}
    assert report.entries["cleans"].attempts > 1
    (note,) = report.exceptions["sleeps"].__notes__
    assert note.endswith(", in sleep_on")


@guarded_or_not
def test_many_tasks_that_heed_no_sigterm_do_not_hold_up_the_end_of_a_run_one_after_the_other(system):
    ends: list[float] = []  # of the tasks

    def note(event: object) -> None:
        if isinstance(event, TaskFinished):
            ends.append(time.monotonic())

    tasks = [Task(f"deaf{n}", ignore_sigterm, timeout=1) for n in range(6)]
    report = Process(tasks).run(runner="process", max_workers=6, observers=[note])
    assert len(report.errored) == len(ends) == 6
    assert time.monotonic() - ends[-1] < 60  # and not 90


@needs_stacks
@patient
def test_a_limit_that_strikes_while_values_are_read_tells_where_too(times):
    report = run_beside_others("process", Task("reads", print, args=(Bomb(sleep_on),), timeout=times))
    (note,) = report.exceptions["reads"].__notes__
    assert note.endswith(", in sleep_on")
    assert note.count("File") == 1


@needs_stacks
@patient
def test_where_a_task_stood_is_told_by_a_worker_that_takes_its_time(times, monkeypatch, tmp_path):
    file = tmp_path / f"pid-{times}"
    looks = itertools.count()

    def sleep_longer(seconds: float) -> None:
        look = next(looks)
        if look == 10:
            seconds = 1  # as it may be where the machine is busy
        elif look == 20:
            os.kill(int(file.read_text()), signal.SIGCONT)
        time.sleep(seconds)

    monkeypatch.setattr(child, "sleep", sleep_longer)
    task = Task("stops", tell_and_stop, args=(file,), timeout=times)
    (note,) = Process([task]).run(runner="process").exceptions["stops"].__notes__
    assert note.endswith(", in tell_and_stop")


NAMED_IN_UMLAUTS = """
import ctypes, sys, time
from processes import Process, Task

def größe():
    time.sleep(3600)

def gefährlich():
    ctypes.string_at(0)

tasks = [Task("late", größe, timeout=float(sys.argv[1])), Task("dies", gefährlich)]
report = Process(tasks).run(runner="process")
(note,) = report.exceptions["late"].__notes__
print(ascii(note))
print(ascii(report.exceptions["dies"].python_stack))
"""


@needs_stacks
@patient
def test_stacks_show_names_that_are_not_ascii_and_no_frame_below_the_function(times, tmp_path):
    folder = tmp_path / f"jürgen 名 🎈 {times}"
    folder.mkdir()
    (folder / "processes").symlink_to(Path(processes.__file__).parent)
    program = folder / "stäck.py"
    program.write_text(NAMED_IN_UMLAUTS)
    command = [sys.executable, program, str(2 * times)]
    output = output_of(command, env={**os.environ, "PYTHONPATH": str(folder)})
    note, stack = map(ast.literal_eval, output.splitlines())
    assert note.endswith(f'  File "{program}", line 6, in größe')
    assert note.count("File") == 1
    assert f'  File "{program}", line 9 in gefährlich\n' in stack


@patient
def test_a_limit_counts_from_the_start_of_the_attempt(times, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(f"import time\ntime.sleep({2.5 * times})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tasks = [
        Task("boots", abs, args=(-1,), timeout=2 * times),
        Task("takes-long", time.sleep, args=(2.5 * times,)),
        Task("waits", abs, args=(-1,), timeout=2 * times),
    ]
    report = Process(tasks).run(runner="process", max_workers=1)
    report.raise_for_errors()


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def run_while_the_program_is_kept(
    task: Task, folder: Path, until: str, then: Callable[[], object] = bool
) -> ProcessExecutionReport:
    """Run a task; keep the program from the time that its file `begun` is there until another is."""

    class Keeps:
        def __reduce__(self) -> tuple[object, ...]:
            (folder / "kept").touch()
            wait_for(folder / until)
            then()
            return int, ()

    sees = Task("sees", wait_for, args=(folder / "begun",))
    keeps = Task("keeps", abs, args=(Keeps(),), dependencies=[TaskDependency("sees")])
    with time_limit(60):
        return Process([task, sees, keeps]).run(runner="process")


class Sent:
    """A result that tells when it has been sent: its worker lets it go then."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return str, ("sent",)

    def __del__(self) -> None:
        self._file.touch()


def log_much(folder: Path) -> Sent:
    (folder / "begun").touch()
    wait_for(folder / "kept")
    for _ in range(4):
        logging.getLogger("much").warning("much " * 8000)
    return Sent(folder / "sent")


@pytest.mark.skipif(sys.platform != "linux", reason="the buffers of sockets are smaller elsewhere")
@pytest.mark.usefixtures("shared_workers")
def test_a_task_that_has_ended_in_time_is_not_late_where_what_it_logged_is_still_to_be_read(
    tmp_path, monkeypatch
):
    def let_time_pass() -> None:
        monkeypatch.setattr(scheduler, "monotonic", lambda: time.monotonic() + 3600)

    task = Task("logs", log_much, args=(tmp_path,), timeout=60)
    report = run_while_the_program_is_kept(task, tmp_path, "sent", let_time_pass)
    assert report.results["logs"] == "sent"


def test_a_task_that_ends_in_time_while_the_program_decides_on_another_is_not_late(monkeypatch):
    has_begun, is_kept, has_ended = threading.Event(), threading.Event(), threading.Event()
    attempts = itertools.count(1)

    class Tells(ThreadRunner):
        def deliver(self, message: Message) -> None:
            super().deliver(message)
            if isinstance(message, Finished) and isinstance(message.outcome, Returned):
                has_ended.set()

    def begin() -> bool:
        has_begun.set()
        return is_kept.wait(60)

    def fail_first() -> int:
        if (attempt := next(attempts)) == 1:
            assert has_begun.wait(60)
            raise ConnectionError
        return attempt

    def keep(_: int) -> float:
        is_kept.set()
        assert has_ended.wait(60)
        monkeypatch.setattr(scheduler, "monotonic", lambda: time.monotonic() + 3600)
        return 0.0

    tasks = [Task("in-time", begin, timeout=60), Task("again", fail_first, retries=1, retry_delay=keep)]
    report = Process(tasks).run(runner=Tells(2))
    assert report.results == {"in-time": True, "again": 2}


def log_until_an_alarm(folder: Path, handler_raises: bool) -> str:
    logger = logging.getLogger("struck")

    def strike(*_: object) -> None:
        (folder / "struck").touch()
        logger.warning("struck")
        if handler_raises:
            raise TimeoutError

    signal.signal(signal.SIGALRM, strike)
    (folder / "begun").touch()
    wait_for(folder / "kept")
    signal.setitimer(signal.ITIMER_REAL, 0.1)  # to strike while nobody reads the first record
    with suppress(TimeoutError):
        while not (folder / "struck").exists():
            logger.warning("much " * 60_000)
    logger.warning("last")
    return "goes on"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms")
@pytest.mark.parametrize("handler_raises", [False, True])
@pytest.mark.usefixtures("shared_workers")
def test_the_handler_of_a_tasks_alarm_may_log_and_raise_while_a_record_is_sent(
    handler_raises, tmp_path, caplog
):
    task = Task("struck", log_until_an_alarm, args=(tmp_path, handler_raises), timeout=30)
    report = run_while_the_program_is_kept(task, tmp_path, "struck")
    assert report.results["struck"] == "goes on"
    assert {record.getMessage() for record in caplog.records if record.name == "struck"} == {
        "much " * 60_000,
        "struck",
        "last",
    }


LEFT = """
import time
from processes import Process, Task
tasks = [Task("late", time.sleep, args=(3600,), timeout=0.2), Task("next", abs, args=(-1,))]
report = Process(tasks).run(runner="thread", max_workers=1)
print(report.results, report.exceptions)
"""


def test_a_thread_that_was_left_behind_keeps_neither_its_slot_nor_the_interpreter():
    assert run_in_new_python(LEFT) == (
        "{'next': 1} {'late': TimeoutError(\"Task 'late' timed out after 0.2s\")}\n"
    )


def chain_of(*tasks: Task) -> Process:
    """Make a process of tasks that follow each other, behind some during which its own thread sleeps."""
    chain = [*(Task(f"short{n}", int) for n in range(50)), *tasks]
    for before, task in itertools.pairwise(chain):
        task.dependencies = [TaskDependency(before.name)]
    return Process(chain)


@pytest.mark.leaves_threads
def test_a_short_limit_strikes_though_the_runs_own_thread_sleeps_when_its_task_begins(monkeypatch):
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 600)
    end = threading.Event()
    process = chain_of(Task("stuck", end.wait, args=(60,), timeout=0.1))
    with time_limit(30):
        report = process.run(runner="thread")
    end.set()
    assert type(report.exceptions["stuck"]) is TimeoutError


def test_a_sequential_task_behind_one_with_a_limit_begins_though_the_runs_own_thread_sleeps(monkeypatch):
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 600)
    limited = [Task(f"limited{n}", int, timeout=600) for n in range(50)]
    with time_limit(30):
        report = chain_of(*limited, Task("last", int)).run(runner="sequential")
    assert report.results["last"] == 0


COMPUTING = """
import threading
from processes import ThreadRunner
from processes.attempt import Attempt
from processes.runners.waker import Waker

over = threading.Event()

def deep(number):
    a = b = c = d = e = f = g = h = number  # large frames, so that the memory for them comes and goes
    return deep(number - 1) if number else 0

def compute():
    while not over.is_set():
        deep(300)

runner = ThreadRunner(3)
runner.open(Waker(lambda finished: None))
for ticket in (1, 2, 3):
    runner.start(Attempt(ticket, "computes", compute))
looks = deepest = 0
while looks < 500 or deepest < 90:  # with the GIL, many looks may find a thread where it was
    looks += 1
    deepest = max(deepest, *(runner.stack_of(ticket).count("in deep") for ticket in (1, 2, 3)))
over.set()
runner.close()
print("well")
"""


def test_where_a_thread_stands_that_computes_is_told_without_harm():
    # It is asked for at a time limit. Without the GIL the thread goes on meanwhile, and of so many looks at
    # frames that are gone one would most likely end the interpreter.
    assert run_in_new_python(COMPUTING) == "well\n"


def test_a_worker_that_hangs_at_its_end_does_not_hold_up_the_run():
    with ProcessPoolRunner(1) as runner:
        pid = Process([Task("hangs", hang_at_the_end)]).run(runner=runner).results["hangs"]
    assert not psutil.pid_exists(pid)


@needs_guard
@patient
def test_a_worker_that_computes_at_its_end_is_given_the_time(times, tmp_path):
    file = tmp_path / f"what a tool has measured, {times}"
    process = Process([Task("computes", compute_at_the_end, args=(boot.LEAVE_SECONDS * 1.1, file))])
    process.run(runner="process").raise_for_errors()
    assert file.exists()


STOPPED = """
import sys
import threading
from pathlib import Path
from freezegun import freeze_time
from processes import Process, Task

def works_later(file):
    if not Path(file).exists():
        Path(file).touch()
        raise ConnectionError("not yet")
    return "now"

def wait_on(seconds=60):
    threading.Event().wait(seconds)

if __name__ == "__main__":
    for runner in sys.argv[1:]:
        tasks = [
            Task("later", works_later, args=(runner,), retries=1, retry_delay=0.05),
            Task("over", wait_on, timeout=0.2),
        ]
        with freeze_time("2026-01-01"):
            report = Process(tasks).run(runner=runner)
        print(report.results, report.exceptions, report.elapsed_seconds >= 0.2)
        report = Process([Task("waits", wait_on, args=(0.2,))]).run(runner=runner)
        print(report.metrics["waits"].cpu_seconds < 0.1)
"""


def test_retries_and_time_limits_go_on_where_a_test_has_stopped_the_time(tmp_path):
    (tmp_path / "script.py").write_text(STOPPED)
    output = output_of([sys.executable, "script.py", *NAMED], cwd=tmp_path)
    lines = ["{'later': 'now'} {'over': TimeoutError(\"Task 'over' timed out after 0.2s\")} True", "True"]
    assert output.splitlines() == lines * len(NAMED)


def stop_the_time() -> None:
    from freezegun import freeze_time

    freeze_time("2026-01-01").start()


def test_a_task_that_leaves_the_time_stopped_takes_no_limit_from_the_next():
    stuck = Task("stuck", time.sleep, args=(60,), timeout=0.2, dependencies=[TaskDependency("stops")])
    report = Process([Task("stops", stop_the_time), stuck]).run(runner="process", max_workers=1)
    assert report.metrics["stuck"].pid == report.metrics["stops"].pid
    assert type(report.exceptions["stuck"]) is TimeoutError


def test_a_task_that_leaves_the_time_stopped_has_taken_as_long_as_it_has():
    report = Process([Task("stops", stop_the_time, timeout=60)]).run(runner="process")
    report.raise_for_errors()
    assert 0 < report.entries["stops"].elapsed_seconds < 60
