"""Workers that die: one attempt is lost, and nothing else."""

from __future__ import annotations

import os
import shlex
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
    needs_tokens,
    run_beside_others,
    run_in_new_python,
    time_limit,
)
from interpreters import HAS_GLIBC
from misbehaving import (
    add_line,
    await_text_and_fail,
    close_everything,
    die_once,
    fork_and_die,
    kill_my_guard,
    kill_other,
    len_after_an_hour,
    mark_and_maybe_die,
    meet,
    meet_and_wait,
    meet_beside_what_is_slow_to_end,
    overflow_the_stack,
    print_to_stderr,
    read_null,
    send_guard_and_exit,
    send_half,
    signal_mask,
    start_child_in_another_session,
    start_child_that_is_waited_for,
    start_stubborn_family,
    stop,
    write_much_and_exit,
)
from patience import patient
from programs import started, wait_until

from processes import Process, ProcessPoolRunner, Task, TaskDependency, WorkerDiedError, results_of
from processes.events import Event, TaskFinished, TaskStarted
from processes.runners.pool import abilities, child
from processes.runners.pool.death import Death
from processes.serialization.pickling import LARGE

# What a task does, and the signal or the exit code that its worker ends with.
DEATHS: dict[str, tuple[Callable[[], object], str | None, int | None]] = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL", None),
    "segfault": (read_null, "SIGSEGV", None),
    "abort": (os.abort, "SIGABRT", None),
    "exit-0": (lambda: os._exit(0), None, 0),
    "exit-3": (lambda: os._exit(3), None, 3),
}
if sys.platform == "win32":  # where none ends by a signal
    DEATHS = {how: death for how, death in DEATHS.items() if death[1] is None}
needs_stops = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no signal stops a process there")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not so on Windows")


def test_a_death_costs_its_own_attempt_and_names_its_cause(system):
    tasks = [Task(f"before{i}", pow, args=(i, 2)) for i in range(20)]
    for how, (die, _, _) in DEATHS.items():
        tasks += [Task(how, die)]
        tasks += [Task(f"below-{how}", abs, args=(1,), dependencies=[TaskDependency(how)])]
        tasks += [Task(f"after-{how}-{i}", pow, args=(i, 3)) for i in range(8)]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert set(report.errored) == set(DEATHS)
    assert set(report.skipped) == {f"below-{how}" for how in DEATHS}
    assert report.results == {f"before{i}": i**2 for i in range(20)} | {
        f"after-{how}-{i}": i**3 for how in DEATHS for i in range(8)
    }
    for how, (_, signal_name, exitcode) in DEATHS.items():
        error = report.exceptions[how]
        assert type(error) is WorkerDiedError
        assert error.task_name == how
        assert (error.signal, error.exitcode) == (signal_name, exitcode)
        assert error.pid == report.metrics[how].pid
        assert not abilities.CAN_GUARD or error.peak_rss > 1 << 20
        if how in ("segfault", "abort"):
            assert "misbehaving.py" in error.python_stack or how == "abort"
            assert "Current thread" in error.python_stack
            assert error.python_stack.rstrip() in report.errored[how].error.traceback_str


@guarded_or_not
def test_a_death_shows_the_end_of_what_its_worker_wrote_to_standard_error(system, capfd):
    text = "".join(f"line {number}\n" for number in range(1000))
    report = Process([Task("dies", write_much_and_exit, args=(text,))]).run(runner="process")
    error = report.exceptions["dies"]
    assert error.exitcode == 3
    if abilities.CAN_GUARD:
        assert len(error.stderr) >= 2000
        assert text.endswith(error.stderr)
        assert error.stderr.rstrip() in report.entries["dies"].error.traceback_str
    assert capfd.readouterr().err == text


def test_in_a_storm_of_deaths_every_other_task_runs_exactly_once(tmp_path, system):
    count, dying = 60, {7, 27, 47}
    tasks = [Task(f"t{i}", mark_and_maybe_die, args=(str(tmp_path), i, i in dying)) for i in range(count)]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert report.results == {f"t{i}": i for i in range(count) if i not in dying}
    assert {name for name, error in report.exceptions.items() if type(error) is WorkerDiedError} == {
        f"t{i}" for i in dying
    }
    assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


def test_what_a_task_has_printed_is_not_lost_with_a_later_one(capfd):
    after = [TaskDependency("says")]
    tasks = [Task("says", print, args=("said",)), Task("dies", os._exit, args=(3,), dependencies=after)]
    with ProcessPoolRunner(1) as runner:
        report = Process(tasks).run(runner=runner)
        assert list(report.successes) == ["says"]
        assert capfd.readouterr().out.splitlines() == ["said"]


@pytest.mark.skipif(not HAS_GLIBC, reason="it is glibc whose parser has no bottom")
@guarded_or_not
def test_an_overflow_of_the_c_stack_costs_its_own_attempt(system):
    report = run_beside_others("process", Task("overflows", overflow_the_stack))
    error = report.exceptions["overflows"]
    assert (type(error), error.signal) == (WorkerDiedError, "SIGSEGV")


def test_all_workers_may_die_at_once(tmp_path, system):
    tasks = [Task(f"busy{i}", meet_and_wait, args=(str(tmp_path), str(i))) for i in range(2)]
    tasks += [Task(f"queued{i}", pow, args=(i, 2)) for i in range(20)]

    def pids() -> list[str]:
        return [path.read_text() for path in tmp_path.iterdir()]

    def kill_all() -> None:
        wait_until(lambda: len(list(filter(None, pids()))) == 2)
        for pid in map(int, pids()):
            psutil.Process(pid).kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    with time_limit(120):
        report = Process(tasks).run(runner="process", max_workers=2)
    killer.join()
    assert set(report.errored) == {f"busy{i}" for i in range(2)}
    by = None if sys.platform == "win32" else "SIGKILL"
    assert {error.signal for error in report.exceptions.values()} == {by}
    assert report.results == {f"queued{i}": i**2 for i in range(20)}


def test_an_idle_worker_that_dies_in_the_middle_of_a_run_costs_nothing(tmp_path, system):
    two = [TaskDependency("one", True), TaskDependency("other", True)]
    tasks = [Task(name, meet, args=(str(tmp_path), name, 2)) for name in ("one", "other")]
    tasks += [Task("kills", kill_other, dependencies=two)]
    tasks += [Task(f"later{i}", pow, args=(i, 2), dependencies=[TaskDependency("kills")]) for i in range(20)]
    with time_limit(120):
        report = Process(tasks).run(runner="process", max_workers=2)
    report.raise_for_errors()
    assert report.results["kills"] == 1
    assert {entry.attempts for entry in report.entries.values()} == {1}


def test_a_worker_that_dies_while_it_receives_costs_the_attempt(system):
    def kill_as_it_grows() -> None:
        with suppress(psutil.NoSuchProcess):
            while worker.memory_info().rss < before + 20_000_000:
                time.sleep(0.001)
        worker.kill()

    killer = threading.Thread(target=kill_as_it_grows)
    with ProcessPoolRunner(1) as runner, time_limit(120):
        worker = psutil.Process(Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"])
        before = worker.memory_info().rss
        killer.start()
        report = run_beside_others(runner, Task("takes", len_after_an_hour, args=(bytes(60_000_000),)))
        killer.join()
    assert type(report.exceptions["takes"]) is WorkerDiedError


@needs_tokens
def test_a_worker_that_dies_before_it_has_claimed_what_it_was_sent_costs_nothing():
    with ProcessPoolRunner(1) as runner, time_limit(120):
        worker = psutil.Process(Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"])
        worker.suspend()
        while (
            worker.status() != psutil.STATUS_STOPPED
        ):  # a worker on its way there would still claim the task
            os.sched_yield()
        killer = threading.Timer(0.5, worker.kill)  # until then the socket fills, and the rest waits with us
        killer.start()
        report = Process([Task("takes", len, args=(bytes(LARGE - 1),)), Task("good", abs, args=(-1,))]).run(
            runner=runner
        )
        killer.join()
    assert report.results == {"takes": LARGE - 1, "good": 1}
    assert {entry.attempts for entry in report.entries.values()} == {1}


@guarded_or_not
def test_half_a_result_is_none(system):
    parts = [Task(how, send_half, args=(how,)) for how in ("header", "small", "large")]
    report = run_beside_others("process", *parts)
    assert {how: error.exitcode for how, error in report.exceptions.items()} == {
        "header": 3,
        "small": 3,
        "large": 3,
    }


def test_results_that_were_sent_before_their_worker_died_are_neither_lost_nor_made_again(tmp_path):
    file = tmp_path / "lines"
    file.touch()
    seen: list[str] = []

    def hear_nothing_until_it_is_dead(event: Event) -> None:
        if event == TaskStarted("t2", 1):
            seen.append("in line")
        elif isinstance(event, TaskFinished) and seen == ["in line"]:
            end = time.monotonic() + 60
            while len(lines := file.read_text().splitlines()) < 3 or psutil.pid_exists(
                int(lines[2].split()[1])
            ):
                assert time.monotonic() < end
            seen.append("dead")

    # Tasks that take next to no time, so that lines get long; then, all at once, those that matter.
    tasks = [Task(f"short{i}", pow, args=(i, 2)) for i in range(100)]
    tasks += [Task("gate", int, dependencies=[TaskDependency(task.name) for task in tasks])]
    gate = [TaskDependency("gate")]
    tasks += [Task(f"t{i}", add_line, args=(str(file), i, i == 2), dependencies=gate) for i in range(20)]
    report = Process(tasks).run(runner="process", max_workers=1, observers=[hear_nothing_until_it_is_dead])
    assert seen == ["in line", "dead"]
    assert report.results == {
        **{f"short{i}": i**2 for i in range(100)},
        "gate": 0,
        **{f"t{i}": i for i in range(20) if i != 2},
    }
    assert report.exceptions["t2"].exitcode == 5
    assert [int(line.split()[0]) for line in file.read_text().splitlines()] == list(range(20))


CLOCK_IS_SET = """
import os, sys, threading, time

real_time, ahead = time.time, 0.0
time.time = lambda: real_time() + ahead

from pathlib import Path
from processes import Process, ProcessPoolRunner, Task

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])

def wait(name):
    (folder / f"{name} began").touch()
    while not (folder / "set").exists():
        time.sleep(0.01)

def dies():
    wait("dies")
    os._exit(3)

def fills():
    wait("fills")
    kept = bytearray(b"x") * (300 << 20)
    time.sleep(3600)

def set_clock():
    global ahead
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    ahead = seconds
    (folder / "set").touch()

threading.Thread(target=set_clock).start()
process = Process([Task("dies", dies), Task("fills", fills)])
report = process.run(runner=ProcessPoolRunner(2, memory_limit=200 << 20))
for name, metrics in report.metrics.items():
    print(name, type(report.exceptions[name]).__name__)
    print(0 < report.entries[name].elapsed_seconds < 60, 0 < metrics.finished_at - metrics.started_at < 60)
"""


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_the_clock_may_be_set_while_tasks_run_whose_workers_do_not_end_well(seconds, tmp_path):
    output = run_in_new_python(CLOCK_IS_SET, str(tmp_path), str(seconds))
    assert output.splitlines() == ["dies WorkerDiedError", "True True", "fills MemoryLimitError", "True True"]


def test_a_death_is_retried_like_a_lost_connection(tmp_path):
    # In the delay there is no worker.
    once = Task("once", die_once, args=(tmp_path / "died",), retries=1, retry_delay=0.05)
    report = Process([once]).run(runner="process")
    assert report.results == {"once": "lives"}
    assert report.entries["once"].attempts == 2


@needs_guard
def test_a_forked_child_that_keeps_the_socket_open_hides_no_death(tmp_path):
    report = Process([Task("forks", fork_and_die, args=(str(tmp_path / "pid"),))]).run(runner="process")
    assert report.exceptions["forks"].exitcode == 7
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@on_posix  # a socket has no descriptor there
def test_a_task_that_closes_all_descriptors_loses_its_worker_and_no_more():
    report = Process([Task("closes", close_everything), Task("fine", abs, args=(-2,))]).run(
        runner="process", max_workers=1
    )
    assert type(report.exceptions["closes"]) is WorkerDiedError
    assert report.results == {"fine": 2}


@needs_guard
@patient
def test_a_time_limit_ends_the_whole_family_of_a_task(times, tmp_path):
    folder = tmp_path / str(times)
    folder.mkdir()
    family = Task("family", start_stubborn_family, args=(str(folder),), timeout=times)
    report = Process([family]).run(runner="process")
    assert type(report.exceptions["family"]) is TimeoutError
    pids = [int(name) for name in os.listdir(folder)]
    assert len(pids) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@needs_guard
def test_a_worker_whose_guard_is_killed_goes_with_it():
    with time_limit(120):
        report = run_beside_others("process", Task("kills", kill_my_guard))
    error = report.exceptions["kills"]
    assert (type(error), error.signal) == (WorkerDiedError, "SIGKILL")
    with suppress(psutil.NoSuchProcess):
        psutil.Process(error.pid).wait(60)


HELD_GUARD = """
import os, signal, time
set_blocking = os.set_blocking

def wait_and_set_blocking(*args):  # which a guard does before it has handlers
    while not signal.sigpending():
        time.sleep(0.001)
    set_blocking(*args)

os.set_blocking = wait_and_set_blocking
"""


@pytest.fixture
def held_guard(monkeypatch, tmp_path_factory):
    """Hold each guard between the start of its worker and its handlers until it is sent a signal."""
    folder = tmp_path_factory.mktemp("held")
    (folder / "sitecustomize.py").write_text(HELD_GUARD)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@needs_guard
@pytest.mark.usefixtures("held_guard")
def test_a_guard_without_handlers_yet_tells_how_its_worker_ended():
    with time_limit(120):
        report = Process([Task("exits", os._exit, args=(3,))]).run(runner="process")
    assert (report.exceptions["exits"].exitcode, report.exceptions["exits"].signal) == (3, None)


@needs_guard
@pytest.mark.usefixtures("held_guard")
def test_a_guard_without_handlers_yet_ends_what_its_worker_leaves(tmp_path):
    file = tmp_path / "pid"
    functions = (start_child_in_another_session, await_text_and_fail)
    tasks = [Task(function.__name__, function, args=(str(file),)) for function in functions]
    with time_limit(120):
        Process(tasks).run(runner="process", max_workers=2, fail_fast=True)
    assert not psutil.pid_exists(int(file.read_text()))


@needs_guard
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE"])
def test_a_guard_is_deaf_to_what_ends_a_program_from_its_terminal(name):
    with time_limit(120):
        report = Process([Task("sends", send_guard_and_exit, args=(getattr(signal, name),))]).run(
            runner="process"
        )
    assert report.exceptions["sends"].exitcode == 3


@on_posix
def test_a_worker_blocks_the_signals_that_the_program_blocks():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        report = Process([Task("mask", signal_mask)]).run(runner="process")
        assert report.results["mask"] == signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@needs_guard
def test_nobody_survives_the_parents_sudden_death(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from misbehaving import start_stubborn_family\n"
        "from processes import Process, Task\n"
        "Process([Task('family', start_stubborn_family, args=(sys.argv[1],))]).run(runner='process')\n"
    )
    folder = tmp_path / "pids"
    folder.mkdir()
    with started([sys.executable, str(script), str(folder)]) as parent:
        wait_until(lambda: len(os.listdir(folder)) == 3)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 4  # guard, worker and two of the children; the orphan is the guard's
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    wait_until(lambda: not any(psutil.pid_exists(int(name)) for name in os.listdir(folder)))


@pytest.fixture
def without_multiprocessing(monkeypatch):
    """Have workers start with `sys.executable`, as in a program that has not used multiprocessing."""
    monkeypatch.delitem(sys.modules, "multiprocessing.spawn", raising=False)


@pytest.mark.usefixtures("without_multiprocessing")
def test_workers_that_cannot_start_fail_the_tasks_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    report = Process([Task(f"t{i}", abs, args=(i,)) for i in range(5)]).run(runner="process")
    assert len(report.errored) == 5
    assert "no-python" in str(report.exceptions["t0"])
    assert {(one.worker, one.pid, one.host) for one in report.metrics.values()} == {("", 0, "")}


@on_posix  # a shell script is no program there
@pytest.mark.usefixtures("without_multiprocessing")
def test_a_program_that_embeds_an_interpreter_is_told_to_name_one(monkeypatch, tmp_path):
    program = tmp_path / "uwsgi"
    program.write_text("#!/bin/sh\necho invalid option: -P >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    error = Process([Task("one", abs, args=(1,))]).run(runner="process").exceptions["one"]
    assert error.stderr == "invalid option: -P\n"
    assert f"if {str(program)!r}, with which they are started, is no Python interpreter, name one" in str(
        error
    )


@guarded_or_not
def test_workers_that_die_while_they_boot_fail_the_tasks_and_do_not_go_on_for_ever(
    monkeypatch, tmp_path, system
):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nprint('the last words', file=sys.stderr, flush=True)\nos._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Process([Task(f"t{i}", abs, args=(i,)) for i in range(5)]).run(runner="process")
    assert len(report.errored) == 5
    error = report.exceptions["t0"]
    assert "before they came up; the last exited with code 9" in str(error)
    assert error.exitcode == 9
    if sys.platform == "win32":
        return  # the words are on standard error alone
    assert error.stderr == "the last words\n"
    assert "the last words" in report.entries["t0"].error.traceback_str


@needs_guard
@pytest.mark.usefixtures("without_multiprocessing")
def test_an_interpreter_that_a_program_in_between_starts_says_so(monkeypatch, tmp_path):
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n{shlex.quote(sys.executable)} "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    report = Process([Task("one", abs, args=(1,))]).run(runner="process")
    assert "must `exec` it" in report.exceptions["one"].stderr


@on_posix  # it is on standard error alone there
@guarded_or_not
def test_workers_whose_python_lacks_a_module_say_so(monkeypatch, tmp_path, system):
    (tmp_path / "pickle.py").write_text("raise ImportError('no pickle here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Process([Task("one", abs, args=(1,))]).run(runner="process")
    assert "ImportError: no pickle here" in report.exceptions["one"].stderr


@guarded_or_not
def test_what_a_worker_says_while_it_boots_goes_to_standard_error(monkeypatch, tmp_path, system, capfd):
    (tmp_path / "sitecustomize.py").write_text("import sys\nprint('a word', file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Process([Task("speaks", print_to_stderr)]).run(runner="process")
    report.raise_for_errors()
    assert capfd.readouterr().err.splitlines() == ["a word", "and another"]


def test_a_runner_survives_the_death_of_its_idle_workers():
    process = Process([Task("pid", os.getpid)])
    with ProcessPoolRunner(1) as runner:
        pids = [process.run(runner=runner).results["pid"]]
        for is_seen in (False, True):  # its end, before the next run
            idle = psutil.Process(pids[-1])
            idle.kill()
            idle.wait(60)
            if is_seen:
                (kept,) = runner._block._workers
                wait_until(lambda kept=kept: kept.process.poll() is not None)
            pids.append(process.run(runner=runner).results["pid"])
    assert len({*pids}) == 3


def two_of_which_one_is_killed(folder: Path, seconds: float) -> list[Task]:
    """Make the tasks of two workers that one then kills, whose guard has so long to do after that."""
    (folder / "met").mkdir()
    together = [
        Task(
            name,
            meet_beside_what_is_slow_to_end,
            args=(str(folder / "met"), name, 2, str(folder / "release"), seconds),
        )
        for name in ("one", "other")
    ]
    return [*together, Task("kills", kill_other, dependencies=results_of(*together))]


@needs_guard
def test_a_worker_that_is_about_to_end_serves_no_later_run(tmp_path):
    tasks = two_of_which_one_is_killed(tmp_path, 1.0)
    later = [Task(f"later{i}", pow, args=(i, 2), dependencies=[TaskDependency("ends")]) for i in range(9)]
    with ProcessPoolRunner(2) as runner, time_limit(120):
        # At the end of this run the worker's socket has told that it is gone, and its guard has not.
        assert Process(tasks).run(runner=runner).results["kills"] == 1
        report = Process([Task("ends", (tmp_path / "release").touch), *later]).run(runner=runner)
    report.raise_for_errors()


@needs_guard
def test_a_worker_that_is_about_to_end_is_given_nothing_more(tmp_path):
    tasks = two_of_which_one_is_killed(tmp_path, 60.0)
    tasks += [Task(f"later{i}", pow, args=(i, 2), dependencies=[TaskDependency("kills")]) for i in range(9)]
    after = [TaskDependency(f"later{i}") for i in range(9)]
    tasks += [Task("ends", (tmp_path / "release").touch, dependencies=after)]
    with time_limit(120):
        Process(tasks).run(runner="process", max_workers=2).raise_for_errors()
    assert (tmp_path / "release").read_text() == "seen seen "  # by both, before their guards ended them


def test_blocks_within_each_other_share_the_workers_of_a_runner():
    process = Process([Task("pid", os.getpid)])
    with ProcessPoolRunner(1) as runner:
        first = process.run(runner=runner).results["pid"]
        with runner:
            second = process.run(runner=runner).results["pid"]
        third = process.run(runner=runner).results["pid"]
    assert first == second == third
    assert not psutil.pid_exists(first)


def test_a_runner_keeps_no_more_workers_than_it_may_have_after_runs_at_the_same_time():
    together = threading.Barrier(4)
    pids = set()

    def observe(event: Event) -> None:
        if isinstance(event, TaskStarted):
            together.wait(60)  # each run has a worker of its own now

    with ProcessPoolRunner(1) as runner, time_limit(120):
        runs = [
            threading.Thread(
                target=lambda: pids.update(
                    Process([Task("pid", os.getpid)]).run(runner=runner, observers=[observe]).results.values()
                )
            )
            for _ in range(4)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        assert len(pids) == 4
        assert sum(psutil.pid_exists(pid) for pid in pids) == 1


def test_workers_of_runs_at_the_same_time_stay_warm_while_others_go_on(tmp_path):
    pids: dict[str, list[int]] = {"all": [], "first": [], "second": []}
    for meeting in pids:
        (tmp_path / meeting).mkdir()

    def run(meeting: str, number: int) -> None:
        tasks = [Task("meets", meet, args=(str(tmp_path / meeting), str(number), 2))]
        pids[meeting] += Process(tasks).run(runner=runner).results.values()

    def run_both(meeting: str) -> None:
        both = [threading.Thread(target=run, args=(meeting, number)) for number in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    with ProcessPoolRunner(1) as runner, time_limit(120):
        going_on = threading.Thread(target=run, args=("all", 0))
        going_on.start()
        run_both("first")
        run_both("second")
        (tmp_path / "all" / "end").touch()
        going_on.join()
    assert len(set(pids["first"])) == 2
    assert set(pids["first"]) == set(pids["second"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12 on
def test_a_forked_process_that_uses_an_open_runner_ends_its_own_workers_alone(tmp_path):
    process = Process([Task("pid", os.getpid)])
    with ProcessPoolRunner(1) as runner, time_limit(120):
        first = process.run(runner=runner).results["pid"]
        forked = os.fork()
        if not forked:
            code = 1
            with suppress(BaseException):
                with runner:
                    its_own = process.run(runner=runner).results["pid"]
                    code = 2 if its_own == first else 0
                runner.__exit__(None, None, None)
                code = code or 3 * psutil.pid_exists(its_own)
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
        assert process.run(runner=runner).results["pid"] == first


# ---- Workers that are stopped and not ended --------------------------------------------------------------


@needs_stops
def test_a_stopped_worker_ends_with_its_time_limit(system):
    tasks = [
        Task(what, stop, args=(what,), timeout=1) for what in ("worker", "guard")[: 1 + abilities.CAN_GUARD]
    ]
    tasks += [Task(f"good{i}", pow, args=(i, 2)) for i in range(10)]
    start = time.monotonic()
    report = Process(tasks).run(runner="process", max_workers=3)
    assert time.monotonic() - start < 60
    assert {type(report.exceptions[name]) for name in report.errored} == {TimeoutError}
    assert report.results == {f"good{i}": i**2 for i in range(10)}


@guarded_or_not
def test_a_worker_that_does_not_leave_is_ended(system, monkeypatch):
    if not abilities.CAN_GUARD:
        monkeypatch.setattr(child, "_END_SECONDS", 3600)  # the time for a guard
    with time_limit(120):
        report = Process([Task("starts", start_child_that_is_waited_for)]).run(runner="process")
    wait_until(lambda: not psutil.pid_exists(report.results["starts"]))


@needs_stops
def test_a_runner_with_an_idle_worker_that_is_stopped_closes(system, monkeypatch):
    if not abilities.CAN_GUARD:
        monkeypatch.setattr(child, "LEAVE_SECONDS", 3600)
    with time_limit(120), ProcessPoolRunner(1) as runner:
        pid = Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"]
        os.kill(pid, signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


@needs_stops
def test_ctrl_c_ends_a_run_whose_worker_is_stopped():
    script = (
        "import os, signal, time\n"
        "from processes import Process, Task\n"
        "def stop(parent):\n"
        "    os.kill(parent, signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    time.sleep(3600)\n"
        "try:\n"
        "    Process([Task('stops', stop, args=(os.getpid(),))]).run(runner='process')\n"
        "except KeyboardInterrupt:\n"
        "    print('well')\n"
    )
    assert run_in_new_python(script) == "well\n"


def test_what_windows_ends_a_process_with_is_told_as_it_is_documented():
    assert "exited with code 0xC0000005 before" in str(Death(1, 0xC0000005).error("a"))
