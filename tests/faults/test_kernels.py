"""On older kernels, and in containers that refuse system calls, the pool does without them."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from programs import ended, output_of, started, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 1 << 32,
    reason="the numbers of system calls are those of Linux on x86-64",
)

# A filter as containers set them (seccomp(2)): it holds for this process and all that it starts.
REFUSE = """
import ctypes, struct

def refuse(number, errno):
    load, if_equal, answer = 0x20, 0x15, 0x06
    allowed, refused = 0x7FFF0000, 0x00050000
    steps = [(load, 0, 0, 0), (if_equal, 0, 1, number)]
    steps += [(answer, 0, 0, refused | errno), (answer, 0, 0, allowed)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    no_new_privileges, seccomp, filter = 38, 22, 2
    assert prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert prctl(seccomp, filter, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
"""

PROGRAM = """
import os, time
from processes import Process, Task, TaskDependency

def zeros(size):
    return bytes(size)

tasks = [Task(f"task-{number}", divmod, args=(number, 7)) for number in range(500)]
tasks += [
    Task("zeros", zeros, args=(1_000_000,), keep_result=False),
    Task("length", len, dependencies=[TaskDependency("zeros", True)]),
    Task("hangs", time.sleep, args=(3600,), timeout=0.5),
    Task("dies", os._exit, args=(3,)),
]
report = Process(tasks).run(runner="process", max_workers=2)
assert all(report.results[f"task-{number}"] == divmod(number, 7) for number in range(500))
assert report.results["length"] == 1_000_000
print(*sorted(f"{name}: {type(error).__name__}" for name, error in report.exceptions.items()))
"""


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param([(434, errno.ENOSYS)], id="pidfd_open, before Linux 5.3"),
        pytest.param([(434, errno.EPERM)], id="pidfd_open, as containers refuse it"),
        pytest.param(
            [(327, errno.EOPNOTSUPP), (319, errno.ENOSYS), (436, errno.ENOSYS)],
            id="preadv2 on pipes, before Linux 6.5; memfd_create, before 3.17; close_range, before 5.9",
        ),
    ],
)
def test_the_pool_does_without_system_calls_that_are_refused(refused):
    refuse = "".join(f"refuse({number}, {error})\n" for number, error in refused)
    program = f"{REFUSE}\n{refuse}{PROGRAM}"
    assert output_of([sys.executable, "-c", program]) == "dies: WorkerDiedError hangs: TimeoutError\n"


def without_pidfds(program: str) -> list[str]:
    return [sys.executable, "-c", f"{REFUSE}\nrefuse(434, {errno.ENOSYS})\n{program}"]


def test_how_a_worker_ended_is_told_where_memfd_create_is_refused():
    program = """
import sys
from processes import Process, Task

def speak_and_die():
    print("the last words", file=sys.stderr, flush=True)
    os._exit(3)

import os
error = Process([Task("dies", speak_and_die)]).run(runner="process").exceptions["dies"]
print(error.exitcode, error.stderr, end="")
"""
    command = [sys.executable, "-c", f"{REFUSE}\nrefuse(319, {errno.EPERM})\n{program}"]
    done = ended(command)
    assert (done.stdout, done.stderr) == ("3 the last words\n", "the last words\n")


# Without pidfds a worker has no guard.


def test_a_stopped_task_starts_no_more_children_without_a_guard():
    program = """
import psutil, subprocess
from processes import Process, Task

def start_again_and_again():
    while True:
        subprocess.run(["sleep", "3600"])

Process([Task(f"t{number}", start_again_and_again, timeout=0.3) for number in range(8)]).run(
    runner="process", max_workers=4
)
left = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "3600"]]
print(psutil.wait_procs(left, timeout=60)[1])  # one that was killed may not be gone yet
"""
    # In a namespace of its own: nobody else's are found.
    if not can_unshare():
        pytest.skip("processes cannot be put into a namespace of their own here")
    assert output_of(["unshare", "--pid", "--fork", "--mount-proc", *without_pidfds(program)]) == "[]\n"


def test_an_exit_code_that_nobody_tells_is_not_made_up():
    program = """
import os, signal
from processes import Process, Task
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
error = Process([Task("dies", os._exit, args=(3,))]).run(runner="process").exceptions["dies"]
print(error.exitcode, "its exit code is not known" in str(error))
"""
    assert output_of(without_pidfds(program)) == "None True\n"


BUSY = """
import os, sys, time
from pathlib import Path
from processes import Process, ProcessPoolRunner, Task

folder = Path(sys.argv[1])

def work():
    (folder / str(os.getpid())).touch()
    while not (folder / "end").exists():
        time.sleep(0.01)
"""


def test_workers_that_outlive_their_program_end_in_silence(tmp_path):
    program = f"{BUSY}\nProcess([Task(str(n), work) for n in range(2)]).run(runner='process', max_workers=2)"
    with (
        (tmp_path / "stderr").open("w") as stderr,
        started([*without_pidfds(program), str(tmp_path)], stderr=stderr) as parent,
    ):
        wait_until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2)
        workers = psutil.Process(parent.pid).children()
    (tmp_path / "end").touch()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert (tmp_path / "stderr").read_text() == ""


def test_an_idle_worker_ends_with_its_program_though_a_process_that_this_has_forked_lives_on(tmp_path):
    program = (
        BUSY
        + """
(folder / "end").touch()
with ProcessPoolRunner(1) as runner:
    Process([Task("one", work)]).run(runner=runner)
    if not (pid := os.fork()):
        time.sleep(3600)
    (folder / "forked").write_text(str(pid))
    time.sleep(3600)
"""
    )
    with started([*without_pidfds(program), str(tmp_path)]):
        wait_until(lambda: (tmp_path / "forked").exists() and (tmp_path / "forked").read_text())
    forked = int((tmp_path / "forked").read_text())
    (worker,) = map(int, (path.name for path in tmp_path.glob("[0-9]*")))
    try:
        wait_until(lambda: not psutil.pid_exists(worker))
    finally:
        os.kill(forked, signal.SIGKILL)


def can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.mark.skipif(not can_unshare(), reason="processes cannot be put into a namespace of their own here")
def test_nobody_else_is_killed_where_proc_tells_of_another_namespace():
    program = """
import time
from processes import Process, Task

tasks = [Task("hangs", time.sleep, args=(3600,), timeout=0.5)]
tasks += [Task(str(seconds), time.sleep, args=(seconds,)) for seconds in (2, 2.1)]
report = Process(tasks).run(runner="process", max_workers=3)
print(list(report.exceptions))
"""
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", program]
    assert output_of(command) == "['hangs']\n"


def test_a_program_that_becomes_another_user_can_end_its_runner():
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    program = """
import os
from processes import Process, ProcessPoolRunner, Task
with ProcessPoolRunner(2) as runner:
    tasks = [Task(str(number), divmod, args=(number, 7)) for number in range(50)]
    assert len(Process(tasks).run(runner=runner).successes) == 50
    os.setresuid(65534, 65534, 65534)
print("well")
"""
    assert output_of([sys.executable, "-c", program]) == "well\n"


def test_a_program_that_becomes_of_another_group_has_workers_of_that():
    if os.geteuid() != 0:
        pytest.skip("only root can become of any group")
    program = """
import os
from processes import Process, ProcessPoolRunner, Task
process = Process([Task("group", os.getegid)])
with ProcessPoolRunner(1) as runner:
    process.run(runner=runner).raise_for_errors()
    os.setegid(65534)
    print(process.run(runner=runner).results)
"""
    assert output_of([sys.executable, "-c", program]) == "{'group': 65534}\n"
