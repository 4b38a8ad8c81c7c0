"""Poor places to run in: few descriptors, no streams, no folders, no room, no leave to start processes."""

from __future__ import annotations

import _socket
import ast
import errno
import functools
import itertools
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from faulty_runs import guarded_or_not, needs_guard, needs_limits, run_in_new_python, time_limit
from misbehaving import share
from patience import patient
from programs import ended, output_of, started, wait_until

from processes import Process, ProcessPoolRunner, Task
from processes.runners.pool import abilities, wire

# What the scripts below share: a graph that uses what a pool has, and the check of its report.
WORK = """
import os, sys
from processes import Process, Task, TaskDependency

def die():
    os._exit(3)

def build(count=20):
    tasks = [Task(f"t{i}", pow, args=(i, 2)) for i in range(count)]
    tasks += [Task("large", bytes, args=(2_000_000,))]
    tasks += [Task("length", len, dependencies=[TaskDependency("large", True)])]
    tasks += [Task("dies", die), Task("below", abs, dependencies=[TaskDependency("dies", True)])]
    return Process(tasks)

def check(report, count=20):
    expected = {f"t{i}": i**2 for i in range(count)} | {"large": bytes(2_000_000), "length": 2_000_000}
    assert report.results == expected, report
    assert list(report.skipped) == ["below"], report
    assert type(report.exceptions["dies"]).__name__ == "WorkerDiedError"
    assert report.exceptions["dies"].exitcode == 3, report.exceptions["dies"]
"""

# One worker, and the one that takes the place of it.
RUN = WORK + 'check(build().run(runner="process", max_workers=1))\nprint("well")\n'


linux = pytest.mark.skipif(sys.platform != "linux", reason="works as Linux does")
needs_removal = pytest.mark.skipif(sys.platform == "win32", reason="nobody removes or locks a folder in use")
needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="there is no sh")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

# ---- Few descriptors -------------------------------------------------------------------------------------


@needs_limits
def test_a_run_works_under_a_low_limit_of_open_files():
    script = WORK + (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "for max_workers in (40, 4):\n"
        "    check(build(100).run(runner='process', max_workers=max_workers), 100)\n"
        "    print(max_workers)\n"
    )
    assert run_in_new_python(script) == "40\n4\n"


SHORTAGE = """
import errno, gc, os, resource
from processes import Process, Task

def run():
    return Process([Task(f"t{i}", pow, args=(i, 2)) for i in range(3)]).run(runner="process", max_workers=2)

def take_all():
    taken = []
    while True:
        try:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return taken

gc.disable()  # what nothing but the garbage collection closes was forgotten
kept = []
assert len(run().successes) == 3  # all that is imported when it is needed is there now
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for left in range(20):
    taken = take_all()
    for _ in range(left):
        os.close(taken.pop())
    try:
        report = run()
    except OSError as error:
        kept.append(error)  # with the frames of the run, so that nothing is closed for want of references
        succeeded, errors = 0, {error}
    else:
        succeeded, errors = len(report.successes), set(report.exceptions.values())
    free = take_all()
    for descriptor in taken + free:
        os.close(descriptor)
    assert len(free) == left, (left, len(free))
    assert all(os.strerror(errno.EMFILE) in str(error) for error in errors), errors
    print(succeeded, "raised" if len(kept) > left else len(errors))
"""


@needs_limits
def test_a_run_that_finds_no_descriptors_ends_with_the_reason_and_one_that_finds_a_few_works():
    lines = run_in_new_python(SHORTAGE).splitlines()
    assert lines[:3] == ["0 raised"] * 3
    assert lines[3] == "0 3"
    assert lines[-1] == "3 0"
    assert set(lines[3:]) == {"0 3", "3 0"}


NONE_LEFT_FOR_WAITING = """
import os, pathlib, resource, sys, threading, time
from processes import Process, Task, TaskFinished
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
folder = pathlib.Path(sys.argv[1])

def until(condition):
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)

def work():
    (folder / "begun").touch()
    until((folder / "done").exists)

def sleeps():
    frame = sys._current_frames()[threading.main_thread().ident]
    return "select" in frame.f_code.co_name

def let_work_end(taken):
    try:
        until(sleeps)
    finally:
        os.close(taken.pop())
        (folder / "done").touch()

def use_up(event):
    if isinstance(event, TaskFinished) and event.name == "look":
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            threading.Thread(target=let_work_end, args=(taken,)).start()

tasks = [
    Task("work", work, runner="process"),
    Task("look", until, args=((folder / "begun").exists,), runner="thread"),
]
print(len(Process(tasks).run(observers=[use_up]).successes))
"""


@needs_limits
def test_a_run_on_several_runners_waits_on_though_the_program_takes_the_last_descriptor(tmp_path):
    assert output_of([sys.executable, "-c", NONE_LEFT_FOR_WAITING, str(tmp_path)]) == "2\n"


ROOM_FOR_ONE = """
import os, resource, time
from processes import Process, Task

def hang():
    time.sleep(3600)

def run():
    tasks = [Task("hangs", hang, timeout=0.1, priority=1)]
    tasks += [Task(f"t{i}", pow, args=(i, 2)) for i in range(10)]
    return Process(tasks).run(runner="process", max_workers=MAX_WORKERS)

assert len(run().successes) == 10  # all that is imported when it is needed is there now
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
left = started = 0
while started < 3:  # with room for one, and for one more descriptor, and for two
    os.close(taken.pop())
    left += 1
    if left > 9:  # a worker takes ten
        report = run()
        has_started = isinstance(report.exceptions["hangs"], TimeoutError)
        assert len(report.successes) == (10 if has_started else 0), (left, report.exceptions)
        started += has_started
assert left < 18, left
print("well")
"""


@needs_limits
@pytest.mark.parametrize("max_workers", [1, 4])
def test_a_worker_is_replaced_where_there_is_room_for_just_one(max_workers):
    assert run_in_new_python(ROOM_FOR_ONE.replace("MAX_WORKERS", str(max_workers))) == "well\n"


# ---- Working directory and environment -------------------------------------------------------------------


_users = itertools.count(20 * os.getpid())


def as_somebody() -> list[str]:
    """Return what to put before a command, so that it runs without root's powers; skip where nothing does."""
    if os.geteuid():
        return []
    if not can_be_somebody():
        pytest.skip("root's powers cannot be put down here")
    return as_user(next(_users))


def as_user(number: int) -> list[str]:
    # Each time another, because limits count all processes of a user, those that are about to end too.
    # Python itself may lie in a folder that only root reads.
    user = str(20_000 + number % 40_000)
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*prefix, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


@functools.cache
def can_be_somebody() -> bool:
    if shutil.which("setpriv") is None:
        return False
    command = [*as_user(next(_users)), sys.executable, "-c", "import processes"]
    return not subprocess.run(command, capture_output=True, timeout=60).returncode


def run_as_somebody(script: str, **options: Any) -> str:
    return output_of([*as_somebody(), sys.executable, "-W", "error", "-c", script], **options)


@needs_removal
def test_a_run_works_in_a_folder_that_cannot_be_written():
    # The root of all folders: those of pytest are not open to somebody else.
    assert run_as_somebody(f"import os\nassert not os.access('.', os.W_OK)\n{RUN}", cwd="/") == "well\n"


@needs_removal
def test_a_run_works_in_a_folder_that_was_removed(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    # CPython 3.13.0 itself cannot import socket in such a folder, so it is imported before.
    script = f"import os, socket\nos.chdir({str(folder)!r})\nos.rmdir({str(folder)!r})\n" + RUN
    assert run_in_new_python(script) == "well\n"


@needs_removal
def test_a_run_works_when_its_folder_is_removed_between_two_runs(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = WORK + (
        f"from processes import ProcessPoolRunner\nos.chdir({str(folder)!r})\n"
        "with ProcessPoolRunner(1) as runner:\n"
        "    check(build().run(runner=runner))\n"
        f"    os.rmdir({str(folder)!r})\n"
        "    check(build().run(runner=runner))\n"
        "print('well')\n"
    )
    assert run_in_new_python(script) == "well\n"


REMOVES_ITS_FOLDER = (
    WORK
    + """
removes = Task("removes", os.rmdir, args=(os.getcwd(),))
process = build()
for task in process.tasks:
    task.dependencies.append(TaskDependency("removes"))
report = Process([removes, *process.tasks]).run(runner="process", max_workers=1)
assert report.results.pop("removes") is None
check(report)
print("well")
"""
)


@needs_removal
def test_workers_that_start_after_the_folder_was_removed_work_in_it(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    assert run_in_new_python(REMOVES_ITS_FOLDER, cwd=folder) == "well\n"


NOT_ENTERED = (
    RUN
    + """
try:
    os.chdir(os.getcwd())
except PermissionError:
    print("closed")
tasks = [
    Task("folder", os.getcwd),
    Task("goes", os.chdir, args=("/",), dependencies=[TaskDependency("folder")]),
    Task("next", os.getcwd, dependencies=[TaskDependency("goes")]),
]
report = Process(tasks).run(runner="process", max_workers=1)
report.raise_for_errors()
assert report.results["folder"] == report.results["next"] == os.getcwd(), report
"""
)


@linux
def test_a_run_works_in_a_folder_that_nobody_may_enter(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    prefix = []
    if not os.geteuid():
        # Root may enter any folder, but for those of users that its namespace does not know.
        prefix = ["unshare", "-r"]
        os.chown(folder, 65534, 65534)
        if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("root's powers cannot be put down here")
    command = ["sh", "-c", 'chmod 0 . && exec "$@"', "sh", *prefix, sys.executable, "-c", NOT_ENTERED]
    try:
        assert output_of(command, cwd=folder) == "well\nclosed\n"
    finally:
        folder.chmod(0o700)


@needs_removal
def test_a_warm_worker_that_cannot_follow_the_program_into_its_folder_calls_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with ProcessPoolRunner(1) as runner:
        pid = Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"]
        monkeypatch.chdir(folder)
        folder.rmdir()
        report = Process([Task("folder", os.getcwd)]).run(runner=runner)
        error = report.exceptions["folder"]
        assert type(error) is FileNotFoundError
        assert "cannot get to the working directory in which the run began" in str(error)
        monkeypatch.chdir(tmp_path)
        report = Process([Task("pid", os.getpid), Task("folder", os.getcwd)]).run(runner=runner)
        assert report.results == {"pid": pid, "folder": str(tmp_path)}


def test_a_run_works_in_an_empty_environment():
    assert run_in_new_python(RUN, env={}) == "well\n"


def test_a_run_works_where_usual_variables_are_wrong():
    wrong = dict.fromkeys(["HOME", "PATH", "LANG", "TMPDIR"], "/no/such/place")
    assert run_in_new_python(RUN, env=os.environ | wrong) == "well\n"


# ---- Standard streams ------------------------------------------------------------------------------------


SPEAKS = """
from processes import ProcessPoolRunner

def speak():
    print("out", flush=True)
    print("err", file=sys.stderr, flush=True)
    try:
        os.write(2, b"e" * (1 << 18))  # more than a pipe holds
    except OSError:
        pass
    try:
        return sys.stdin.read() if sys.stdin else ""
    except OSError:  # what a closed one may give
        return ""

with ProcessPoolRunner(1) as runner:
    report = Process([Task("speaks", speak), *build().tasks]).run(runner=runner)
    assert report.results.pop("speaks", None) == "", report.exceptions
    check(report)
    names = "sequential", "thread", "process"
    tasks = [Task(name, print, args=("a word",), log_path=name, runner=name) for name in names[:2]]
    tasks += [Task(names[2], print, args=("a word",), log_path=names[2])]
    Process(tasks).run(runner=runner, capture_output=True).raise_for_errors()
for name in names:
    with open(name) as log:
        assert "INFO output: a word" in log.read(), name
with open("result", "w") as result:
    result.write("well")
"""


@pytest.mark.parametrize("closed", ["012"] if sys.platform == "win32" else "0 1 2 012".split())
def test_a_run_works_where_standard_streams_are_closed(closed, tmp_path):
    command, options = [sys.executable, "-c", WORK + SPEAKS], {}
    if sys.platform == "win32":  # as those of a program with windows
        options["startupinfo"] = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESTDHANDLES)
        options["creationflags"] = subprocess.DETACHED_PROCESS
    else:
        closing = " ".join(f"{descriptor}>&-" for descriptor in closed)
        command = ["sh", "-c", f'exec "$@" {closing}', "sh", *command]
        options |= {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, cwd=tmp_path, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result").read_text() == "well"


@pytest.mark.skipif(sys.platform == "win32", reason="programs inherit other things there")
@pytest.mark.parametrize("change", ["os.close(1)", "os.set_inheritable(1, False)"])
def test_what_tasks_print_is_captured_where_the_program_has_changed_its_standard_output(change, tmp_path):
    # As it does that becomes a daemon.
    program = (
        "import os\n"
        "from processes import Process, Task\n"
        f"{change}\n"
        "task = Task('speaks', print, args=('a word',), log_path='log')\n"
        "Process([task]).run(runner='process', capture_output=True).raise_for_errors()\n"
        "os._exit(0)\n"  # Python would complain of its standard output
    )
    output_of([sys.executable, "-c", program], cwd=tmp_path)
    assert "INFO output: a word" in (tmp_path / "log").read_text()


CHANGES_STREAMS = """
import atexit, os, sys
from processes import Process, Task

def change(folder):
    atexit.register(os.mkdir, folder)
    if folder.endswith("closed"):
        sys.stdout.close()
    else:
        sys.stdout = object()

Process([Task("changes", change, args=(sys.argv[1],))]).run(runner="process").raise_for_errors()
"""


# A worker has a second for its end, or longer if it gets to compute.


@pytest.mark.parametrize("how", ["closed", "replaced"])
@patient
def test_a_task_that_changes_standard_output_does_not_keep_its_worker_from_a_good_end(times, how, tmp_path):
    folder = tmp_path / f"{times} {how}"
    assert run_in_new_python(CHANGES_STREAMS, str(folder)) == ""
    assert folder.is_dir()


PRINTS_AT_ITS_END = """
import atexit, ctypes, sys
from processes import Process, Task

def print_in_c():
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).puts(b"by C")

tasks = [Task("registers", atexit.register, args=(print, "at the end")), Task("prints", print_in_c)]
Process(tasks).run(runner="process", max_workers=1).raise_for_errors()
"""


@patient
def test_what_is_printed_at_a_workers_end_is_not_lost(times):
    assert sorted(run_in_new_python(PRINTS_AT_ITS_END).splitlines()) == ["at the end", "by C"]


PRINTS = """
from processes import Process, Task

Process([Task("prints", print, args=("a word",))]).run(runner="process").raise_for_errors()
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_what_a_worker_cannot_print_is_told():
    command = ["sh", "-c", 'exec "$0" -c "$1" > /dev/full', sys.executable, PRINTS]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # else the task itself hears of it
    (line,) = ended(command, check=True, env=environment).stderr.splitlines()
    assert line.startswith("Not all that tasks have printed in worker process ")
    assert line.endswith(os.strerror(errno.ENOSPC))


LEAVES_EXECUTOR = """
import atexit, os, sys, time
from processes import Process, Task

def leave_open(kind, folder):
    global executor
    atexit.register(os.mkdir, folder)
    import concurrent.futures
    executor = getattr(concurrent.futures, kind)(1)
    executor.submit(abs, -1).result()
    if kind == "ThreadPoolExecutor":
        executor.submit(time.sleep, 3600)

Process([Task("leaves", leave_open, args=tuple(sys.argv[1:]))]).run(runner="process").raise_for_errors()
"""


@pytest.mark.parametrize("kind", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
@patient
def test_an_executor_that_a_task_leaves_does_not_keep_its_worker_from_a_good_end(times, kind, tmp_path):
    folder = tmp_path / f"made at the end, {times}"
    assert run_in_new_python(LEAVES_EXECUTOR, kind, str(folder)) == ""
    assert folder.is_dir()


UNREAD = """
import os, subprocess, sys, time
from processes import Process, Task

def write_much():
    os.write(2, b"to somebody who does not read\\n")
    child = subprocess.Popen(["sleep", "300"])
    print(child.pid, os.getpid(), flush=True)
    while True:
        os.write(2, bytes(1000))

report = Process([Task("writes", write_much, timeout=float(sys.argv[1]))]).run(runner="process")
print(report.exceptions["writes"])
"""


@pytest.fixture
def full_pipe():
    """Both ends of a pipe that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(select.PIPE_BUF))
    os.set_blocking(writing, True)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def run_unread(limit: float, stderr: int) -> AbstractContextManager[subprocess.Popen[str]]:
    command = [sys.executable, "-c", UNREAD, str(limit)]
    return started(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


@linux
@patient
def test_a_time_limit_ends_a_task_though_nobody_reads_what_it_writes_to_standard_error(times, full_pipe):
    with run_unread(2 * times, full_pipe[1]) as program, time_limit(120):
        assert program.stdout is not None
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert program.stdout.read().startswith(f"Task 'writes' timed out after {2 * times}s")
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@linux
def test_nobody_survives_a_killed_program_though_nobody_reads_its_standard_error(full_pipe):
    with run_unread(3600, full_pipe[1]) as program, time_limit(120):
        assert program.stdout is not None
        pids = [int(pid) for pid in program.stdout.readline().split()]
        program.kill()
        while any(psutil.pid_exists(pid) for pid in pids):
            time.sleep(0.001)


WRITTEN = """
import os, sys, time
from processes import Process, Task

def write():
    for number in range(20_000):
        sys.stderr.write(f"{number}\\n")
    while not os.path.exists(sys.argv[1]):  # a worker that ends waits no longer for who reads
        time.sleep(0.01)

Process([Task("writes", write)]).run(runner="process").raise_for_errors()
"""


@needs_shell
@pytest.mark.parametrize(
    ("to_a_file", "command"),
    [(False, 'exec "$@"'), (True, 'exec "$@" 1>&-')],
    ids=["to a pipe", "to a file, with no standard output"],
)
def test_all_that_a_worker_writes_to_standard_error_arrives(to_a_file, command, tmp_path):
    is_read = tmp_path / "is read"
    arguments = ["sh", "-c", command, "sh", sys.executable, "-c", WRITTEN, str(is_read)]
    file = tmp_path / "errors"
    file.write_text("before\n")
    with (
        file.open("a") as errors,
        time_limit(120),
        started(arguments, stderr=errors if to_a_file else subprocess.PIPE, text=True) as program,
    ):
        written = []
        if not to_a_file:
            assert program.stderr is not None
            written = [program.stderr.readline() for _ in range(20_000)]
        is_read.touch()
        _, rest = program.communicate(timeout=120)
    assert program.returncode == 0
    lines = [*file.read_text().splitlines(), *map(str.strip, written), *(rest or "").splitlines()]
    assert lines == ["before", *map(str, range(20_000))]


TERMINAL = """
import os, sys, termios
from processes import Process, Task

def speak():
    print("spoken", flush=True)
    print("and told", file=sys.stderr, flush=True)

def ask():
    with open("/dev/tty") as terminal:
        return terminal.readline()

mode = termios.tcgetattr(0)
mode[3] |= termios.TOSTOP  # what writes from the background is stopped, as after "stty tostop"
termios.tcsetattr(0, termios.TCSANOW, mode)
report = Process([Task("speaks", speak, timeout=60), Task("asks", ask, timeout=60)]).run(runner="process")
print(list(report.successes), report.exceptions)
"""


@linux
def test_a_terminal_does_not_stop_workers():
    import pty  # not on Windows

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # fork among threads; nothing but exec comes after
        pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", TERMINAL])
    output = b""
    with suppress(OSError), open(terminal, "rb", buffering=0) as file, time_limit(120):
        while received := file.read(4096):
            output += received
    os.waitpid(pid, 0)
    lines = output.decode().splitlines()
    assert sorted(lines[:2]) == ["and told", "spoken"]
    assert lines[2] == f"['speaks'] {{'asks': OSError(5, {os.strerror(5)!r})}}"


# ---- No room, no temporary folder ------------------------------------------------------------------------


def run_among_mounts(commands: str, script: str, folder: str = "/") -> str:
    """Run a script after shell commands that mount things for it alone."""
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        command = [*unshare, "true"]
        if (
            shutil.which("unshare")
            and not subprocess.run(command, capture_output=True, timeout=60).returncode
        ):
            break
    else:
        pytest.skip("nothing can be mounted here")
    begin = [*unshare, "sh", "-c", f'set -e\n{commands}\nexec "$@"', "sh"]
    return output_of([*begin, sys.executable, "-c", script], cwd=folder)


@linux
def test_a_run_works_where_dev_shm_is_full():
    fill = "mount -t tmpfs -o size=4k none /dev/shm\nhead -c 4096 /dev/zero > /dev/shm/filled"
    assert run_among_mounts(fill, RUN) == "well\n"


@linux
def test_a_run_works_where_dev_shm_cannot_be_used():
    assert run_among_mounts("mount -t tmpfs -o ro,mode=000 none /dev/shm", RUN) == "well\n"


@linux
def test_a_run_works_where_the_temporary_folder_is_full(tmp_path):
    folder = shlex.quote(str(tmp_path))
    fill = (
        f"mount -t tmpfs -o size=4k none {folder}\n"
        f"head -c 4096 /dev/zero > {folder}/filled\n"
        f"export TMPDIR={folder}"
    )
    assert run_among_mounts(fill, RUN) == "well\n"


@linux
def test_a_run_works_where_there_is_no_temporary_folder_at_all():
    # Visible, because Python itself may be there, but read only; /proc as working directory is too.
    read_only = "\n".join(
        f"if [ -d {folder} ]; then mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}; fi"
        for folder in ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm")
    )
    without = "unset TMPDIR TEMP TMP\n" + read_only
    assert run_among_mounts(without, RUN, "/proc") == "well\n"


# ---- Settings of the program -----------------------------------------------------------------------------


@pytest.fixture
def default_timeout():
    """A default for the sockets that this process opens, as many programs set it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(3600)
    yield
    socket.setdefaulttimeout(before)


@pytest.mark.usefixtures("default_timeout")
def test_workers_wait_for_what_comes_whatever_timeout_sockets_have_by_default(system):
    tasks = [Task(f"in{i}", len, args=(bytes(60_000),)) for i in range(40)]
    tasks += [Task(f"out{i}", bytes, args=(60_000,)) for i in range(40)]
    report = Process(tasks).run(runner="process", max_workers=2)
    report.raise_for_errors()
    assert len(report.successes) == 80


# ---- Other systems ---------------------------------------------------------------------------------------


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Make what socketpair() makes on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other


@guarded_or_not
def test_a_run_works_without_a_temporary_folder_where_files_need_a_name_first(monkeypatch, system):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    tasks = [Task("dies", os._exit, args=(3,)), Task("large", len, args=(bytes(2_000_000),))]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert report.exceptions["dies"].exitcode == 3
    assert report.results == {"large": 2_000_000}


def test_small_messages_go_at_once_where_sockets_are_those_of_tcp(monkeypatch):
    monkeypatch.delattr(_socket, "socketpair", raising=False)
    monkeypatch.setattr(socket, "socketpair", tcp_pair)
    for end in wire.socket_pair():
        with closing(end):
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not hasattr(_socket, "socketpair"), reason="pairs are made of other sockets")
def test_a_run_works_where_the_program_may_make_no_sockets(monkeypatch):
    class Refused:
        def __init__(self, *args: object, **options: object) -> None:
            raise PermissionError("this is a test that opens no sockets")

    monkeypatch.setattr(socket, "socket", Refused)
    tasks = [Task("small", abs, args=(-1,)), Task("large", len, args=(bytes(2_000_000),))]
    results = Process(tasks).run(runner="process", max_workers=1).results
    assert results == {"small": 1, "large": 2_000_000}


# ---- No leave to start processes -------------------------------------------------------------------------


def needs_a_user_of_its_own() -> None:
    if os.geteuid():
        pytest.skip("the limit counts all processes of a user, so only root can give it one of its own")


@linux
def test_a_run_that_may_start_no_process_fails_its_tasks_with_the_reason():
    needs_a_user_of_its_own()
    script = (
        "import resource\n"
        "from processes import Process, Task\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "report = Process([Task(f't{i}', abs, args=(i,)) for i in range(5)]).run(runner='process')\n"
        "assert len(report.errored) == 5\n"
        "print({type(error).__name__ for error in report.exceptions.values()})\n"
        "print(report.exceptions['t0'])\n"
    )
    output = run_as_somebody(script)
    assert output.startswith("{'WorkerDiedError'}\n")
    assert "no worker process could be started" in output
    assert "temporarily unavailable" in output


@linux
@pytest.mark.parametrize("processes", [3, 4, 5])
def test_a_run_that_may_start_few_processes_makes_do_with_them(processes):
    needs_a_user_of_its_own()
    script = (
        "import resource\n"
        "from processes import Process, Task\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))\n"
        "report = Process([Task(f't{i}', pow, args=(i, 2)) for i in range(50)]).run(\n"
        "    runner='process', max_workers=4)\n"
        "assert report.results == {f't{i}': i**2 for i in range(50)}, report.exceptions\n"
        "print('well')\n"
    )
    # A worker that may not fork its guard says so on stderr, and another one does the work.
    done = ended([*as_somebody(), sys.executable, "-c", script], cwd="/")
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr + done.stdout


@linux
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_a_run_that_may_start_few_threads_makes_do_with_them_or_tells_the_reason(threads):
    needs_a_user_of_its_own()
    # Often, as the system counts the thread of one run for a moment more, when the next one begins.
    runs = [("thread", None), ("sequential", 60)] * (20 if threads else 1)
    script = (
        "import resource, threading\n"
        "from processes import Process, Task\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({threads + 1}, {threads + 1}))\n"
        f"for runner, timeout in {runs}:\n"
        "    tasks = [Task(f't{i}', pow, args=(i, 2), timeout=timeout) for i in range(10)]\n"
        "    report = Process(tasks).run(runner=runner)\n"
        "    assert threading.enumerate() == [threading.main_thread()], runner\n"
        "    errors = {name: str(error) for name, error in report.exceptions.items()}\n"
        "    print((runner, report.results, errors))\n"
        "release = threading.Event()\n"
        "tasks = [Task('stuck', release.wait, args=(60,), timeout=0.2), Task('waits', abs, args=(-1,))]\n"
        "report = Process(tasks).run(runner='thread', max_workers=2)\n"
        "release.set()\n"
        "print({name: str(error) for name, error in report.exceptions.items()})\n"
    )
    results = {f"t{i}": i**2 for i in range(10)}
    reason = "no thread could be started (can't start new thread)"
    errors = {name: f"Task {name!r} could not be run: {reason}" for name in (*results, "stuck", "waits")}
    expected = (results, {}) if threads else ({}, {name: errors[name] for name in results})
    *told, last = [ast.literal_eval(line) for line in run_as_somebody(script).splitlines()]
    assert told == [(runner, *expected) for runner, _ in runs]
    # One that is left behind leaves its place to nobody where no other thread may be started.
    stuck = "Task 'stuck' timed out after 0.2s" if threads else errors["stuck"]
    assert last == {"stuck": stuck} | ({} if threads > 1 else {"waits": errors["waits"]})


# ---- Control groups ---


def needs_groups(controller: str) -> None:
    tells = Path("/proc/self/cgroup")  # Linux alone has it
    lines = tells.read_text().splitlines() if tells.exists() else []
    groups = [line.split(":")[1].split(",") for line in lines]
    if not any(controller in controllers for controllers in groups):
        pytest.skip("this system has other control groups")


# What the files of a control group hold, and how many processors that allows; None is all of them.
QUOTAS: dict[str, list[tuple[dict[str, bytes], int | None]]] = {
    "": [
        ({"cpu.max": b"50000 100000\n"}, 1),
        ({"cpu.max": b"max 100000\n"}, None),
        ({"cpu.max": b"0 0\n"}, None),
        ({"cpu.max": b"50000 0\n"}, None),
        ({"cpu.max": b"1.5 1\n"}, None),
        ({"cpu.max": b"\xff\n"}, None),
    ],
    "cpu": [
        ({"cpu.cfs_quota_us": b"50000\n", "cpu.cfs_period_us": b"100000\n"}, 1),
        ({"cpu.cfs_quota_us": b"-1\n", "cpu.cfs_period_us": b"100000\n"}, None),
        ({"cpu.cfs_quota_us": b"50000\n"}, None),
    ],
}


@linux
@pytest.mark.parametrize("controller", QUOTAS)
def test_there_are_as_many_workers_as_the_control_group_may_use_processors(controller):
    needs_groups(controller)
    folder = f"/sys/fs/cgroup/{controller}"
    script = (
        "from pathlib import Path\n"
        "from processes import ProcessPoolRunner\n"
        f"folder = Path({folder!r})\n"
        f"for files in {[files for files, _ in QUOTAS[controller]]}:\n"
        "    for file in folder.iterdir():\n"
        "        file.unlink()\n"
        "    for name, text in files.items():\n"
        "        (folder / name).write_bytes(text)\n"
        "    print((files, ProcessPoolRunner().max_workers))\n"
    )
    machine = len(os.sched_getaffinity(0))
    output = run_among_mounts(f"mount -t tmpfs none /sys/fs/cgroup\nmkdir -p {folder}", script)
    assert [ast.literal_eval(line) for line in output.splitlines()] == [
        (files, min(machine, cpus or machine)) for files, cpus in QUOTAS[controller]
    ]


# ---- What is left there ---


@linux
@pytest.mark.parametrize("end", ["killed", "exits", "past its limit", "well"])
@guarded_or_not
@patient
def test_shared_memory_that_a_task_leaves_goes_with_its_worker(times, end, tmp_path, system):
    file = tmp_path / f"name-{times}"
    limit = 2 * times if end == "past its limit" else None
    with time_limit(120):
        report = Process([Task("shares", share, args=(file, end), timeout=limit)]).run(runner="process")
    assert len(report.successes) == (end == "well")
    # A guard waits for the tracker that removes it; without one, nobody does.
    wait_until(lambda: file.read_text() not in os.listdir("/dev/shm"), 0 if abilities.CAN_GUARD else 60)


SLOW_TRACKER = """
import sys, time
if any("resource_tracker" in argument for argument in sys.orig_argv):
    time.sleep(4)
"""


@linux
def test_shared_memory_goes_where_its_tracker_comes_up_after_the_end_of_its_worker(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW_TRACKER)  # what a busy machine does
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "name"
    with time_limit(120):
        report = Process([Task("shares", share, args=(file, "killed"))]).run(runner="process")
    assert report.exceptions["shares"].signal == "SIGKILL"
    assert file.read_text() not in os.listdir("/dev/shm")


ATTACHES = """
from multiprocessing.shared_memory import SharedMemory
from processes import Process, ProcessPoolRunner, Task

def count(name):
    shared = SharedMemory(name)
    shared.buf[0] += 1
    shared.close()

with ProcessPoolRunner(1) as warm:
    Process([Task("before", int)]).run(runner=warm)  # there is no tracker yet
    shared = SharedMemory(create=True, size=1)
    for runner in (warm, "process"):
        Process([Task("count", count, args=(shared.name,))]).run(runner=runner).raise_for_errors()
Process([Task("count", count, args=(shared.name,))]).run(runner="process").raise_for_errors()
print(shared.buf[0])
shared.close()
shared.unlink()
"""


@linux
def test_shared_memory_of_the_programs_stays_where_there_is_no_proc():  # as on macOS
    assert run_among_mounts("mount -t tmpfs none /proc", ATTACHES) == "3\n"


LEAVES = (
    WORK
    + """
import signal, tempfile, time

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

check(build().run(runner="process", max_workers=2))
Process([Task("killed", killed), Task("late", time.sleep, args=(60,), timeout=0.5)]).run(runner="process")
print(os.listdir("/dev/shm"), os.listdir(tempfile.gettempdir()))
"""
)


@linux
def test_nothing_is_left_in_dev_shm_and_in_the_temporary_folder(tmp_path):
    empty = f"mount -t tmpfs none /dev/shm\nexport TMPDIR={shlex.quote(str(tmp_path))}"
    assert run_among_mounts(empty, LEAVES) == "[] []\n"


# ---- The parent ------------------------------------------------------------------------------------------

BUSY = """
import os, sys, threading, time
from pathlib import Path
from processes import Process, Task, TaskDependency

folder = Path(sys.argv[1])

def busy(number):
    (folder / str(os.getpid())).touch()
    if number:
        while True:
            pass
    (2 ** 200_000_000) ** 2  # minutes in C, with the GIL held

def short(number):
    (folder / str(os.getpid())).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return number

def run_busy():
    Process([Task(f"t{i}", busy, args=(i,)) for i in range(2)]).run(runner="process", max_workers=2)

def run_short():
    report = Process([Task(f"t{i}", short, args=(i,)) for i in range(4)]).run(runner="process", max_workers=2)
    assert report.results == {f"t{i}": i for i in range(4)}, report
    (folder / "well").touch()

def wait_for(count):
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def workers_of(folder: Path, count: int) -> list[psutil.Process]:
    """Wait until so many workers have told their process ids, and give them with their guards."""
    wait_until(lambda: len(os.listdir(folder)) >= count)
    workers = [psutil.Process(int(name)) for name in os.listdir(folder)]
    return workers + [parent for worker in workers if (parent := worker.parent()) is not None]


@needs_guard
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_no_worker_survives_a_signal_that_ends_the_parent(name, tmp_path):
    number = getattr(signal, name)
    # Who runs the tests may ignore the signal, as nohup does, and hand that down.
    handler = "default_int_handler" if number == signal.SIGINT else "SIG_DFL"
    script = BUSY + f"import signal\nsignal.signal({number:d}, signal.{handler})\nrun_busy()\n"
    with started([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE) as parent:
        family = workers_of(tmp_path, 2)
        family = [one for one in family if one.pid != parent.pid]
        parent.send_signal(number)
        parent.communicate(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert parent.returncode == -number


@needs_guard
def test_the_end_of_the_program_ends_a_run_in_a_daemon_thread(tmp_path):
    script = BUSY + "threading.Thread(target=run_busy, daemon=True).start()\nsys.stdin.read()\nsys.exit(3)\n"
    pipe = subprocess.PIPE
    with started([sys.executable, "-c", script, str(tmp_path)], stdin=pipe, stderr=pipe) as parent:
        family = workers_of(tmp_path, 2)
        _, errors = parent.communicate(timeout=120)
    assert (parent.returncode, errors) == (3, b"")
    _, alive = psutil.wait_procs([one for one in family if one.pid != parent.pid], timeout=60)
    assert not alive


def test_the_end_of_the_program_waits_for_a_run_in_a_usual_thread(tmp_path):
    script = BUSY + (
        "threading.Thread(target=run_short).start()\n"
        "wait_for(2)\n"
        "threading.Timer(0.2, (folder / 'go').touch).start()\n"
        "sys.exit(3)\n"
    )
    with started([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE) as parent:
        _, errors = parent.communicate(timeout=120)
    assert (parent.returncode, errors) == (3, b"")
    assert (tmp_path / "well").exists()


FORK = (
    BUSY
    + """
import psutil, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # that we fork beside threads is the point

def fork():
    wait_for(2)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            if sys.argv[2] == "runs itself":
                report = Process([Task(f"c{i}", pow, args=(i, 2)) for i in range(9)]).run(runner="process")
                assert report.results == {f"c{i}": i**2 for i in range(9)}
                status = 0
            elif sys.argv[2] == "stays":
                time.sleep(300)
            else:
                status = 0
        finally:
            os._exit(status)
    children.append(pid)
    if sys.argv[2] != "stays":
        assert os.waitpid(pid, 0)[1] == 0
    (folder / "go").touch()

children = []
thread = threading.Thread(target=fork)
thread.start()
run_short()
thread.join()
left = {child.pid for child in psutil.Process().children(recursive=True)}
if sys.argv[2] == "stays":
    assert left == set(children), left
    os.kill(children[0], signal.SIGKILL)
    os.waitpid(children[0], 0)
else:
    assert left == set(), left
print("well")
"""
)


@needs_fork
@pytest.mark.parametrize("child", ["ends", "stays", "runs itself"])
def test_a_fork_in_the_middle_of_a_run_disturbs_neither(child, tmp_path):
    assert run_in_new_python(FORK, str(tmp_path), child) == "well\n"


HELD = (
    BUSY
    + """
def begin(number):
    (folder / f"boots{number}").touch()
    while len(list(folder.glob("boots*"))) < 2:
        time.sleep(0.01)

def finish(number):
    (folder / f"began{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    (folder / f"finished{number}").touch()
    return number

limit = float(sys.argv[2])
boots = [Task(f"boots{i}", begin, args=(i,)) for i in range(2)]  # the limits are not to count that
both = [TaskDependency(task.name) for task in boots]
tasks = [Task(f"t{i}", finish, args=(i,), dependencies=both, timeout=limit) for i in range(2)]
report = Process(boots + tasks).run(runner="process", max_workers=2)
report.raise_for_errors()
print([report.results[task.name] for task in tasks])
"""
)


@patient
def test_workers_go_on_while_ctrl_z_holds_the_program(times, tmp_path):
    folder, limit = tmp_path / str(times), 2 * times
    folder.mkdir()

    def wait_for(*names: str) -> None:
        wait_until(lambda: all((folder / name).exists() for name in names))

    command = [sys.executable, "-c", HELD, str(folder), str(limit)]
    with started(command, stdout=subprocess.PIPE, text=True, process_group=0) as parent:
        wait_for("began0", "began1")
        os.killpg(parent.pid, signal.SIGTSTP)
        wait_until(lambda: psutil.Process(parent.pid).status() == psutil.STATUS_STOPPED)
        (folder / "go").touch()
        wait_for("finished0", "finished1")
        time.sleep(limit)  # past the limits of tasks that have finished
        os.killpg(parent.pid, signal.SIGCONT)
        output, _ = parent.communicate(timeout=120)
    assert output == "[0, 1]\n"


IGNORED = """
import os, signal, subprocess
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from processes import Process, Task

def status():
    return subprocess.run(["false"]).returncode

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

tasks = [Task("exits", os._exit, args=(3,)), Task("killed", killed), Task("status", status)]
report = Process(tasks).run(runner="process", max_workers=2)
print(report.results, report.exceptions["exits"].exitcode, report.exceptions["killed"].signal)
"""


ENDS_BY_SIGPIPE = """
import os, signal, sys, time
import psutil
from processes import Process, ProcessPoolRunner, Task, TaskDependency

def await_status(process, status):
    while process.status() != status:
        time.sleep(0.001)

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
with ProcessPoolRunner(1) as runner:
    worker = psutil.Process(Process([Task("pid", os.getpid)]).run(runner=runner).results["pid"])
    guard = worker.parent()
    guard.suspend()
    await_status(guard, psutil.STATUS_STOPPED)
    worker.kill()
    await_status(worker, psutil.STATUS_ZOMBIE)  # its guard tells nobody yet, so the next run is given it
    data = bytes(int(sys.argv[1]))
    print(Process([Task("length", len, args=(data,))]).run(runner=runner).results["length"])
"""


@needs_guard
@pytest.mark.parametrize("size", [1000, 1_000_000], ids=["a frame", "a file"])
def test_a_program_that_ends_by_sigpipe_survives_what_it_sends_to_a_dead_worker(size):
    assert run_in_new_python(ENDS_BY_SIGPIPE, str(size)) == f"{size}\n"


@needs_guard
def test_a_program_that_ignores_sigchld_hears_how_workers_ended():
    assert run_in_new_python(IGNORED) == "{'status': 1} 3 SIGKILL\n"


NESTED = """
import os, sys, time
from pathlib import Path
from processes import Process, Task, TaskDependency

def die():
    os._exit(3)

def wait(file):
    file.write_text(str(os.getpid()))
    time.sleep(3600)

def inner(tasks):
    report = Process(tasks).run(runner="process", max_workers=2)
    return report.results, {name: error.exitcode for name, error in report.exceptions.items()}

def see(file):
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    raise ValueError

file = Path(sys.argv[1])
tasks = [
    Task("outer", inner, args=([Task("dies", die), Task("good", abs, args=(-1,))],)),
    Task("ended", inner, args=([Task("waits", wait, args=(file,))],)),
    Task("sees", see, args=(file,), dependencies=[TaskDependency("outer")]),
]
report = Process(tasks).run(runner="process", max_workers=2, fail_fast=True)
print(report.results, {name: entry.status.name for name, entry in report.entries.items()})
try:
    os.kill(int(file.read_text()), 0)
except ProcessLookupError:
    print("gone")
"""


@needs_guard
def test_a_run_in_a_task_has_workers_of_its_own_which_go_with_the_task(tmp_path):
    assert run_in_new_python(NESTED, str(tmp_path / "pid")).splitlines() == [
        "{'outer': ({'good': 1}, {'dies': 3})} {'outer': 'SUCCESS', 'ended': 'PENDING', 'sees': 'ERRORED'}",
        "gone",
    ]
