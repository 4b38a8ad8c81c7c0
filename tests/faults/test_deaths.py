"""Workers that die: one attempt is lost, and nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_raised import run_in_new_python

from processes import Process, ProcessPoolRunner, Task, TaskDependency, TaskStatus, WorkerDiedError


def read_null() -> None:
    ctypes.string_at(0)


DEATHS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": read_null,
    "SIGABRT": os.abort,
    0: lambda: os._exit(0),
    3: lambda: os._exit(3),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_death_costs_its_own_attempt_and_names_its_cause(how, system):
    tasks = [Task(f"before{i}", pow, args=(i, 2)) for i in range(20)]
    tasks += [Task("dies", DEATHS[how]), Task("below", abs, args=(1,), dependencies=[TaskDependency("dies")])]
    tasks += [Task(f"after{i}", pow, args=(i, 3)) for i in range(20)]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert {
        entry.name: entry.status
        for entry in report.entries.values()
        if entry.status is not TaskStatus.SUCCESS
    } == {
        "dies": TaskStatus.ERRORED,
        "below": TaskStatus.SKIPPED,
    }
    assert report.results == {f"before{i}": i**2 for i in range(20)} | {f"after{i}": i**3 for i in range(20)}
    error = report.exceptions["dies"]
    assert type(error) is WorkerDiedError
    assert error.task_name == "dies"
    assert (error.signal, error.exitcode) == ((how, None) if isinstance(how, str) else (None, how))
    assert error.pid == report.metrics["dies"].pid
    if how in ("SIGSEGV", "SIGABRT"):
        assert "test_deaths.py" in error.python_stack or how == "SIGABRT"
        assert "Current thread" in error.python_stack


def mark_and_maybe_die(folder: str, number: int, dies: bool) -> int:
    with Path(folder, str(number)).open("a") as file:
        file.write("x")
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_in_a_storm_of_deaths_every_other_task_runs_exactly_once(tmp_path, system):
    count = 1000 if system == "as it is" else 100
    dying = set(range(7, count, 20))
    tasks = [Task(f"t{i}", mark_and_maybe_die, args=(str(tmp_path), i, i in dying)) for i in range(count)]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert report.results == {f"t{i}": i for i in range(count) if i not in dying}
    assert {name for name, error in report.exceptions.items() if type(error) is WorkerDiedError} == {
        f"t{i}" for i in dying
    }
    assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


def die_once(path: str) -> str:
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


def test_a_death_is_retried_like_a_lost_connection(tmp_path):
    report = Process([Task("once", die_once, args=(str(tmp_path / "marker"),), retries=1)]).run(
        runner="process"
    )
    assert report.results == {"once": "second time"}
    assert report.entries["once"].attempts == 2


def fork_and_die(child_file: str) -> None:
    if os.fork() == 0:
        Path(child_file).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(child_file).exists() or not Path(child_file).read_text():
        time.sleep(0.005)
    os._exit(7)


def test_a_forked_child_that_keeps_the_socket_open_hides_no_death(tmp_path):
    report = Process([Task("forks", fork_and_die, args=(str(tmp_path / "pid"),))]).run(runner="process")
    assert report.exceptions["forks"].exitcode == 7
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def close_everything() -> str:
    os.closerange(3, 1000)
    return "closed"


def test_a_task_that_closes_all_descriptors_loses_its_worker_and_no_more():
    report = Process([Task("closes", close_everything), Task("fine", abs, args=(-2,))]).run(
        runner="process", max_workers=1
    )
    assert type(report.exceptions["closes"]) is WorkerDiedError
    assert report.results == {"fine": 2}


def start_stubborn_family(folder: str) -> None:
    """Start children deaf to SIGTERM: a plain one, one in a session of its own, one without its parent."""
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\n"
        "time.sleep(60)\n"
    )
    for how in ("plain", "session", "orphan"):
        command = [sys.executable, "-c", code, folder]
        if how == "orphan":
            if os.fork() == 0:
                subprocess.Popen(command)
                os._exit(0)
        else:
            subprocess.Popen(command, start_new_session=how == "session")
    while len(os.listdir(folder)) < 3:
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


def test_a_time_limit_ends_the_whole_family_of_a_task(tmp_path):
    report = Process([Task("family", start_stubborn_family, args=(str(tmp_path),), timeout=3)]).run(
        runner="process"
    )
    assert type(report.exceptions["family"]) is TimeoutError
    pids = [int(name) for name in os.listdir(tmp_path)]
    assert len(pids) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_nobody_survives_the_parents_sudden_death(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_deaths import start_stubborn_family\n"
        "from processes import Process, Task\n"
        "Process([Task('family', start_stubborn_family, args=(sys.argv[1],))]).run(runner='process')\n"
    )
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(folder)])
    deadline = time.monotonic() + 30
    while len(os.listdir(folder)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 4  # guard, worker and two of the children; the orphan is the guard's
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert not [name for name in os.listdir(folder) if psutil.pid_exists(int(name))]


def test_workers_that_cannot_start_fail_the_tasks_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    report = Process([Task(f"t{i}", abs, args=(i,)) for i in range(5)]).run(runner="process")
    assert len(report.errored) == 5
    assert "no-python" in str(report.exceptions["t0"])


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
    assert (error.exitcode, error.stderr) == (9, "the last words\n")
    assert "the last words" in report.entries["t0"].error.traceback_str


def test_workers_whose_python_lacks_a_module_say_so(monkeypatch, tmp_path, system):
    (tmp_path / "logging.py").write_text("raise ImportError('no logging here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Process([Task("one", abs, args=(1,))]).run(runner="process")
    assert "ImportError: no logging here" in report.exceptions["one"].stderr


def test_what_a_worker_says_while_it_boots_goes_to_standard_error(monkeypatch, tmp_path, system, capfd):
    (tmp_path / "sitecustomize.py").write_text("import sys\nprint('a word', file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Process([Task("speaks", print_to_stderr)]).run(runner="process")
    report.raise_for_errors()
    assert capfd.readouterr().err == "a word\nand another\n"


def print_to_stderr() -> None:
    print("and another", file=sys.stderr, flush=True)


def test_a_runner_survives_the_death_of_its_idle_workers():
    process = Process([Task("pid", os.getpid)])
    with ProcessPoolRunner(1) as runner:
        first = process.run(runner=runner).results["pid"]
        idle = psutil.Process(first)
        idle.kill()
        idle.wait(10)
        second = process.run(runner=runner).results["pid"]
    assert first != second


# ---- Workers that are stopped and not ended --------------------------------------------------------------


def stop(what: str) -> None:
    os.kill(os.getppid() if what == "guard" else os.getpid(), signal.SIGSTOP)
    time.sleep(3600)


def test_a_stopped_worker_ends_with_its_time_limit(system):
    tasks = [
        Task(what, stop, args=(what,), timeout=1)
        for what in ("worker", "guard")[: 1 + (system == "as it is")]
    ]
    tasks += [Task(f"good{i}", pow, args=(i, 2)) for i in range(10)]
    start = time.monotonic()
    report = Process(tasks).run(runner="process", max_workers=3)
    assert time.monotonic() - start < 20
    assert {type(report.exceptions[name]) for name in report.errored} == {TimeoutError}
    assert report.results == {f"good{i}": i**2 for i in range(10)}


def test_a_runner_with_an_idle_worker_that_is_stopped_closes():
    with ProcessPoolRunner(1) as runner:
        pid = Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"]
        os.kill(pid, signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


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
    assert run_in_new_python(script, seconds=30) == "well\n"
