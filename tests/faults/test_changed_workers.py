"""What a task changes in its worker is not there for the next one."""

from __future__ import annotations

import os
import signal
import sys
import time
from operator import mul
from pathlib import Path

import psutil
import pytest
from changing import HAS_MASKS, change_everything, fork_and_return, leave_process, look, zone
from faulty_runs import needs_guard, needs_limits, run_in_new_python, time_limit
from misbehaving import start_thread
from programs import ended

from processes import Process, ProcessPoolRunner, Task, TaskDependency


def test_the_next_task_on_a_worker_finds_the_parents_state_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = [
        Task("before", look),
        Task("changes", change_everything, dependencies=[TaskDependency("before")]),
        Task("after", look, dependencies=[TaskDependency("changes")]),
    ]
    report = Process(tasks).run(runner="process", max_workers=1)
    report.raise_for_errors()
    assert report.results["after"] == report.results["before"]
    assert report.results["before"]["folder"] == str(tmp_path)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone is that of the system")
def test_a_warm_worker_follows_the_program_into_another_time_zone(monkeypatch):
    with ProcessPoolRunner(1) as runner:
        for name in ("AAA", "BBB"):
            monkeypatch.setenv("TZ", f"{name}-1")
            assert Process([Task("zone", zone)]).run(runner=runner).results == {"zone": name}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="nobody can tell the umask")
def test_a_warm_worker_takes_over_the_umask_of_the_program(tmp_path):
    before = os.umask(0o022)
    try:
        with ProcessPoolRunner(1) as runner:
            for umask in (0o022, 0o077):
                os.umask(umask)
                file = tmp_path / oct(umask)
                Process([Task("touch", Path.touch, args=(file,))]).run(runner=runner).raise_for_errors()
                assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


def test_a_run_prints_where_the_program_does_now(tmp_path):
    process = Process([Task("says", print, args=("said",))])
    with (tmp_path / "new.txt").open("wb") as new, ProcessPoolRunner(1) as runner:
        process.run(runner=runner).raise_for_errors()
        before = os.dup(1)
        os.dup2(new.fileno(), 1)  # as a program that begins a new log file
        try:
            process.run(runner=runner).raise_for_errors()
        finally:
            os.dup2(before, 1)
            os.close(before)
    assert (tmp_path / "new.txt").read_text() == "said\n"


def test_the_working_directory_is_put_back_where_no_folder_can_be_opened(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os\ndel os.fchdir\n")  # as on Windows
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    tasks = [
        Task("changes", os.chdir, args=("/",)),
        Task("folder", os.getcwd, dependencies=[TaskDependency("changes")]),
        Task("can-open", hasattr, args=(os, "fchdir")),
    ]
    report = Process(tasks).run(runner="process", max_workers=1)
    report.raise_for_errors()
    assert report.results["folder"] == str(tmp_path)
    assert not report.results["can-open"]
    assert len({metrics.pid for metrics in report.metrics.values()}) == 1


THE_FIRST_TO_IMPORT_SIGNAL = """
from processes import Process, Task, TaskDependency

def change():
    import sys
    imported = "signal" in sys.modules
    import signal
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.setitimer(signal.ITIMER_VIRTUAL, 100)
    return imported

def look():
    import signal
    is_default = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    seconds, _ = signal.getitimer(signal.ITIMER_VIRTUAL)
    return is_default, signal.pthread_sigmask(signal.SIG_BLOCK, ()), seconds

tasks = [Task("change", change), Task("look", look, dependencies=[TaskDependency("change")])]
print(Process(tasks).run(runner="process", max_workers=1).results)
"""


@pytest.mark.skipif(not HAS_MASKS, reason="there are no masks and timers")
def test_signals_are_put_back_after_the_first_task_that_imports_signal():
    assert run_in_new_python(THE_FIRST_TO_IMPORT_SIGNAL) == "{'change': False, 'look': (True, set(), 0.0)}\n"


def test_a_warm_worker_takes_over_what_the_caller_has_when_the_run_begins(tmp_path, monkeypatch):
    process = Process([Task("look", look)])
    with ProcessPoolRunner(1) as runner:
        first = process.run(runner=runner).results["look"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("NEW", "value")
        monkeypatch.syspath_prepend(str(tmp_path))
        second = process.run(runner=runner).results["look"]
    assert first["pid"] == second["pid"]
    assert second["folder"] == str(tmp_path)
    assert second["environment"]["NEW"] == "value"
    assert second["path"][0] == str(tmp_path)
    assert "NEW" not in first["environment"]


def test_a_warm_worker_takes_over_what_the_program_has_changed_in_a_class():
    class Settings:  # local, so that it goes by value
        factor = 1

    with ProcessPoolRunner(1) as runner:
        found = []
        for Settings.factor in (1, 2):
            task = Task("look", lambda settings: settings.factor, args=(Settings(),))
            found.append(Process([task]).run(runner=runner).results["look"])
    assert found == [1, 2]


class Struck(Exception):
    pass


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal, and files do not travel")
@pytest.mark.parametrize(("event", "called"), [("c_return", "send"), ("c_call", "recvmsg")])
def test_a_warm_worker_that_a_signal_has_cut_off_in_the_middle_of_a_message_serves_no_other_run(
    event, called
):
    def strike(*_):
        raise Struck

    def profile(frame, what, function):
        if what == event and function.__name__ == called:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGUSR1)

    def run(text):
        return Process([Task("large", mul, args=(text * 200_000, 1))]).run(runner=runner).results["large"]

    previous = signal.signal(signal.SIGUSR1, strike)
    try:
        with ProcessPoolRunner(1) as runner, time_limit(60):
            assert run("a")[0] == "a"
            sys.setprofile(profile)
            with pytest.raises(Struck):
                run("b")
            assert [run("c")[0], run("d")[0]] == ["c", "d"]
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGUSR1, previous)


RUNS_IN_A_ROW = """
import sys, threading, time
from pathlib import Path
from processes import Process, ProcessPoolRunner, Task, TaskDependency

def wait_for(path):
    while not path.exists():
        time.sleep(0.005)

def build(path):
    # Behind the one that waits stands more than a socket takes; the other worker takes it over.
    behind = [Task(f"behind{i}", len, args=(bytes(100_000),)) for i in range(9)]
    return Process([
        *[Task(f"t{i}", abs, args=(i,), priority=2) for i in range(200)],
        Task("waits", wait_for, args=(path,), priority=1),
        *behind,
        Task("tells", Path.touch, args=(path,), dependencies=[TaskDependency(task.name) for task in behind]),
    ])

def meet(mine, other):
    mine.touch()
    wait_for(other)

def main():
    with ProcessPoolRunner(2) as runner:
        for number in range(2):
            report = build(Path(f"done{number}")).run(runner=runner)
            assert len(report.results) == 211, report
            # Neither tells anything that would wake the program before both workers have got theirs.
            one, other = Path(f"one{number}"), Path(f"other{number}")
            tasks = [Task("one", meet, args=(one, other)), Task("other", meet, args=(other, one))]
            assert len(Process(tasks).run(runner=runner).results) == 2
    print("well")

thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


def test_what_was_taken_back_from_a_worker_and_is_still_on_its_way_does_not_hold_up_the_next_run(tmp_path):
    assert run_in_new_python(RUNS_IN_A_ROW, cwd=tmp_path) == "well\n"


USES_UP_DESCRIPTORS = """
import os, sys
from processes import Process, SerializationError, Task, TaskDependency

class Odd:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return "odd"

def use_up():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(0)
    except OSError:
        return os.getpid()  # and leaves them open

def make():
    return bytes(200_000)

def use_up_and_make():
    use_up()
    return make()

def use_up_and_give_odd():
    use_up()
    return Odd(make())

def use_up_and_give_a_generator():
    use_up()
    return (number for number in range(3))

def use_up_and_raise():
    odd = Odd(use_up())
    os.dup(0)

def log():
    import logging
    logging.getLogger("task").warning("said by a task")

def run(*tasks):
    return Process(list(tasks)).run(runner="process", max_workers=1)

def behind(name):
    return [TaskDependency(name, use_result_as_additional_args=True)]
"""

# Each has a worker of its own.
LEAVES_NO_DESCRIPTOR = """
def a_large_result():
    return run(Task("t", use_up_and_make)).results == {"t": make()}

def a_result_that_is_kept():
    tasks = Task("t", use_up_and_make, keep_result=False), Task("u", len, dependencies=behind("t"))
    return run(*tasks).results["u"] == 200_000

def an_object():
    return run(Task("t", use_up_and_give_odd)).results["t"].value == make()

def nothing_that_can_travel():
    error = run(Task("t", use_up_and_give_a_generator)).exceptions["t"]
    return type(error) is SerializationError and "result is a generator" in str(error)

def an_exception():
    report = run(Task("t", use_up_and_raise))
    error = report.errored["t"].error
    is_its_own = report.exceptions["t"].errno == 24 and "in use_up_and_raise" in error.traceback_str
    return is_its_own and error.traced_vars == {"odd": "odd"}

for case in a_large_result, a_result_that_is_kept, an_object, nothing_that_can_travel, an_exception:
    print(case.__name__, case())
"""


@needs_limits
def test_a_task_that_leaves_no_descriptor_has_its_outcome():
    assert run_in_new_python(USES_UP_DESCRIPTORS + LEAVES_NO_DESCRIPTOR).splitlines() == [
        "a_large_result True",
        "a_result_that_is_kept True",
        "an_object True",
        "nothing_that_can_travel True",
        "an_exception True",
    ]


COMES_BEHIND_IT = """
comes_behind_it = {
    "a large result": [Task("next", make, priority=-1)],
    "a large argument": [Task("next", len, args=(make(),), priority=-1)],
    "its first import": [Task("next", log, priority=-1)],
    "a result that is kept": [
        Task("next", make, keep_result=False, priority=-1), Task("last", len, dependencies=behind("next"))
    ],
}
for what, tasks in comes_behind_it.items():
    report = run(Task("first", use_up), *tasks)
    report.raise_for_errors()
    print(what, report.results["first"] == report.metrics["next"].pid)
"""


@needs_limits
def test_the_task_behind_one_that_left_no_descriptor_gets_another_worker():
    done = ended([sys.executable, "-c", USES_UP_DESCRIPTORS + COMES_BEHIND_IT])
    assert (done.returncode, done.stderr) == (0, "said by a task\n")
    assert done.stdout.splitlines() == [
        "a large result False",
        "a large argument False",
        "its first import False",
        "a result that is kept False",
    ]


STAYS = {
    "loop": False,
    "timer": False,
    "sleep": False,
    "pool-at-work": False,
    "idle-pool": True,
    "ended": True,
}


def test_the_task_behind_one_that_left_a_thread_at_work_gets_another_worker(system):
    tasks: list[Task] = []
    for what in STAYS:
        last = [TaskDependency(task.name) for task in tasks[-1:]]
        first = [TaskDependency(f"leaves:{what}")]
        tasks += [Task(f"more{i}:{what}", pow, args=(i, 2), dependencies=first) for i in range(20)]
        tasks += [Task(f"leaves:{what}", start_thread, args=(what,), dependencies=last)]
        tasks += [Task(f"next:{what}", os.getpid, dependencies=first)]
    report = Process(tasks).run(runner="process", max_workers=1)
    report.raise_for_errors()
    results = report.results
    assert {what: results[f"next:{what}"] == results[f"leaves:{what}"] for what in STAYS} == STAYS
    assert all(results[f"more{i}:{what}"] == i**2 for i in range(20) for what in STAYS)
    assert {entry.attempts for entry in report.entries.values()} == {1}


@needs_guard
def test_a_process_that_a_task_leaves_goes_on_until_its_worker_ends(tmp_path):
    process = Process([Task("leaves", leave_process, args=(str(tmp_path / "pid"),))])
    with ProcessPoolRunner(1) as runner:
        _, child = process.run(runner=runner).results["leaves"]
        assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    assert not psutil.pid_exists(child)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_task_that_forks_and_returns_in_both_processes_has_one_result(caplog):
    tasks = [Task(how, fork_and_return, args=(how,)) for how in ("returns", "exits")]
    tasks += [Task(f"good{i}", pow, args=(i, 2)) for i in range(20)]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert report.results == {
        "returns": "parent of one that ended with 0",
        "exits": "parent of one that ended with 7",
        **{f"good{i}": i**2 for i in range(20)},
    }
    assert "a record of the child" not in caplog.text


FORKS = """
import os, sys
from processes import Process, Task

def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def returns():
    return end_of(child) if (child := os.fork()) else "child"

def exits():
    return end_of(child) if (child := os.fork()) else sys.exit("the child's last words")

def lacks_a_program():
    return end_of(child) if (child := os.fork()) else os.execvp("no-such-program", ["it"])

for runner in ("sequential", "thread", "process"):
    process = Process([Task(function.__name__, function) for function in (returns, exits, lacks_a_program)])
    print(process.run(runner=runner).results, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_a_task_forks_does_not_go_on_with_the_run(tmp_path):
    (tmp_path / "forks.py").write_text(FORKS)
    # That it forks beside threads is the point.
    done = ended([sys.executable, "-W", "ignore::DeprecationWarning", tmp_path / "forks.py"])
    assert done.stdout == "{'returns': 0, 'exits': 1, 'lacks_a_program': 1}\n" * 3
    assert done.stderr.count("the child's last words\n") == 3
    assert done.stderr.count("FileNotFoundError: ") == 3
