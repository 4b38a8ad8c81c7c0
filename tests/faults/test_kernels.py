"""On older kernels, and in containers that refuse system calls, the pool does without them."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
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
import os
from processes import Process, Task, TaskDependency

def hang():
    while True:
        pass

def zeros(size):
    return bytes(size)

tasks = [Task(f"task-{number}", divmod, args=(number, 7)) for number in range(500)]
tasks += [
    Task("zeros", zeros, args=(1_000_000,), keep_result=False),
    Task("length", len, dependencies=[TaskDependency("zeros", True)]),
    Task("hangs", hang, timeout=0.5),
    Task("dies", os._exit, args=(3,)),
]
report = Process(tasks).run(runner="process", max_workers=2)
assert all(report.results[f"task-{number}"] == divmod(number, 7) for number in range(500))
assert report.results["length"] == 1_000_000
print(*sorted(f"{name}: {type(error).__name__}" for name, error in report.exceptions.items()))
"""


@pytest.mark.parametrize(
    ("number", "error"),
    [
        pytest.param(434, errno.ENOSYS, id="pidfd_open, before Linux 5.3"),
        pytest.param(434, errno.EPERM, id="pidfd_open, as containers refuse it"),
        pytest.param(327, errno.EOPNOTSUPP, id="preadv2 on pipes, before Linux 6.5"),
        pytest.param(319, errno.ENOSYS, id="memfd_create, before Linux 3.17"),
    ],
)
def test_the_pool_does_without_system_calls_that_are_refused(number, error):
    done = subprocess.run(
        [sys.executable, "-c", f"{REFUSE}\nrefuse({number}, {error})\n{PROGRAM}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("dies: WorkerDiedError hangs: TimeoutError\n", "")
