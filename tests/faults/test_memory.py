"""Tasks that take more memory than they may."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path

import pytest
from faulty_runs import guarded_or_not, run_in_new_python
from interpreters import HAS_GIL
from misbehaving import leak, take, take_and_tell
from test_surroundings import linux, needs_groups, run_among_mounts
from waiting import LIMIT_SECONDS, wait_for_files

from processes import (
    MemoryLimitError,
    Process,
    ProcessPoolRunner,
    SerializationError,
    Task,
    TaskDependency,
    TaskStatus,
)
from processes.cgroup import group_folders

MB = 1 << 20


def test_the_task_that_passes_the_limit_is_ended_and_named_and_others_go_on():
    tasks = [
        Task("greedy", take, args=(400, 60), retries=2),
        Task("below", abs, args=(1,), dependencies=[TaskDependency("greedy")]),
        *(Task(f"modest{i}", take, args=(20, 0)) for i in range(10)),
    ]
    report = Process(tasks).run(runner=ProcessPoolRunner(2, memory_limit=200 * MB))
    error = report.exceptions["greedy"]
    assert type(error) is MemoryLimitError
    assert error.limit == 200 * MB < error.peak
    assert error.task_name == "greedy"
    assert report.entries["greedy"].attempts == 1
    assert report.entries["below"].status is TaskStatus.SKIPPED
    assert report.results == {f"modest{i}": 20 * MB for i in range(10)}


def test_what_has_ended_before_the_task_that_passes_the_limit_is_not_blamed_for_it(tmp_path):
    taken = tmp_path / "taken"

    class Busy(ProcessPoolRunner):
        """Looks at the memory while results are still to be read."""

        def _select(self, timeout: float) -> bool:
            for worker in [*self._children]:
                given = [job.attempt.task_name for job in worker.held.values()]
                if len(given) > 1 and given[-1] == "greedy":
                    wait_for_files(tmp_path, 1)
                    self._look_at_memory(200 * MB)
            return super()._select(timeout)

    def take_much() -> None:
        table = bytearray(b"x") * (400 * MB)
        taken.touch()
        time.sleep(LIMIT_SECONDS)
        del table

    tasks = [*(Task(f"t{i}", abs, args=(i,)) for i in range(20)), Task("greedy", take_much)]
    report = Process(tasks).run(runner=Busy(1, memory_limit=200 * MB))
    assert report.results == {f"t{i}": i for i in range(20)}
    assert {name: type(error) for name, error in report.exceptions.items()} == {"greedy": MemoryLimitError}


@guarded_or_not
def test_a_worker_whose_tasks_leave_half_of_its_memory_behind_makes_place_for_another(system):
    tasks = [Task(f"leak{i}", leak, args=(50,)) for i in range(6)]
    tasks += [Task(f"small{i}", pow, args=(i, 2)) for i in range(30)]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, memory_limit=200 * MB))
    report.raise_for_errors()
    assert len({report.results[f"leak{i}"] for i in range(6)}) >= 2
    assert [report.results[f"small{i}"] for i in range(30)] == [i**2 for i in range(30)]
    assert {entry.attempts for entry in report.entries.values()} == {1}


@linux
def test_an_argument_for_which_its_worker_has_no_room_costs_its_own_task():
    def leave_little_room() -> None:
        import resource  # Windows has none

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 40 * MB, resource.RLIM_INFINITY))

    tasks = [Task("large", len, args=(bytes(80 * MB),)), Task("small", abs, args=(-1,))]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, initializer=leave_little_room))
    assert report.results == {"small": 1}
    assert isinstance(report.exceptions["large"], SerializationError)
    assert "'large': args, kwargs arrived, but could not be deserialized: MemoryError. There was no" in str(
        report.exceptions["large"]
    )


def test_what_the_module_of_a_function_takes_is_not_left_by_its_tasks(tmp_path, monkeypatch):
    Path(tmp_path, "takes_much.py").write_text(
        "import os\n\ntable = bytearray(b'x') * (60 << 20)\n\ndef pid(number):\n    return os.getpid()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pid = import_module("takes_much").pid
    tasks = [Task(f"pid{i}", pid, args=(i,)) for i in range(4)]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, memory_limit=100 * MB))
    assert len(set(report.results.values())) == 1


@pytest.mark.skipif(not HAS_GIL, reason="without the GIL Python gives memory back a moment later")
def test_a_worker_that_gave_its_memory_back_goes_on():
    tasks = [Task(f"takes{i}", take_and_tell, args=(150,)) for i in range(4)]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, memory_limit=200 * MB))
    assert len(set(report.results.values())) == 1


LIMITED = """
from processes import Process, ProcessPoolRunner, Task

try:
    Process([Task("speaks", print, args=("called",))]).run(runner=ProcessPoolRunner(1, memory_limit=1 << 40))
except RuntimeError as error:
    print(str(error).partition(";")[0])
"""

FOREIGN_PROC = 'exec unshare --pid --fork "$@"'  # its ids stay those of the namespace that we come from


@linux
@pytest.mark.parametrize("place", [FOREIGN_PROC, "mount -t tmpfs none /proc"], ids=["foreign", "none"])
def test_a_limit_is_refused_where_the_memory_of_workers_cannot_be_looked_at(place):
    assert run_among_mounts(place, LIMITED) == (
        "memory_limit cannot be kept here: /proc is missing or belongs to another PID namespace, so the "
        "memory of worker processes cannot be looked at\n"
    )


@linux
def test_a_limit_is_kept_in_a_namespace_with_a_proc_of_its_own():
    assert run_among_mounts('exec unshare --pid --fork --mount-proc "$@"', LIMITED) == "called\n"


# Control groups as this system has them, but for what the files in their root say.
GROUPS = """
import os, signal
from pathlib import Path
from processes import Process, Task

counter = Path("/sys/fs/cgroup/{name}")
kept = []

def leak():
    kept.append(bytearray(b"x") * (60 << 20))
    return os.getpid()

def die(short):
    if short:  # as the kernel does just before it kills
        counter.write_text("low 0\\noom 5\\noom_kill 4\\noom_group_kill 0\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""

DEATHS = (
    GROUPS
    + """
tasks = [Task("good", abs, args=(-1,)), Task("short", die, args=(True,)), Task("dies", die, args=(False,))]
report = Process(tasks).run(runner="process", max_workers=1)
assert report.results == {{"good": 1}}
for error in report.exceptions.values():
    print(str(error).partition(") ")[2])
"""
)


@pytest.mark.parametrize(("controller", "name"), [("", "memory.events"), ("memory", "memory.oom_control")])
def test_a_death_by_sigkill_says_whether_the_kernel_was_short_of_memory(controller, name):
    needs_groups(controller)
    mount = (
        "mount -t tmpfs none /sys/fs/cgroup\n"
        f"mkdir -p /sys/fs/cgroup/{controller}\n"
        f"printf 'low 0\\noom 3\\noom_kill 3\\n' > /sys/fs/cgroup/{controller}/{name}"
    )
    output = run_among_mounts(mount, DEATHS.format(name=f"{controller}/{name}"))
    assert output.splitlines() == [
        "was ended by SIGKILL: the system was short of memory; use fewer workers or smaller tasks",
        "was ended by SIGKILL, and not by the kernel for lack of memory",
    ]


KILLED_BY_THE_KERNEL = """
import os, sys
from pathlib import Path
from processes import Process, Task, TaskDependency

def fill():
    kept = []
    while True:
        kept.append(bytearray(b"x") * (1 << 20))

Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
tasks = [Task("dies", fill), Task("below", abs, dependencies=[TaskDependency("dies", True)])]
tasks += [Task(f"good{i}", pow, args=(i, 2)) for i in range(50)]
report = Process(tasks).run(runner="process", max_workers=2)
assert report.results == {f"good{i}": i**2 for i in range(50)}, report.exceptions
assert {entry.attempts for entry in report.successes.values()} == {1}
assert list(report.skipped) == ["below"]
print(str(report.exceptions["dies"]).partition(") ")[2])
"""


def test_a_worker_that_the_kernel_killed_for_lack_of_memory_costs_its_task(limited_group):
    output = run_in_new_python(KILLED_BY_THE_KERNEL, str(limited_group))
    assert (
        output == "was ended by SIGKILL: the system was short of memory; use fewer workers or smaller tasks\n"
    )


@pytest.fixture
def limited_group():
    """A control group whose processes may have 200 MB of memory."""
    for controller, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        for parent in filter(Path.exists, map(Path, group_folders(controller))):
            group = parent / f"test-{os.getpid()}"
            try:
                group.mkdir()
            except OSError:
                continue
            try:
                (group / name).write_text(str(200 * MB))
                yield group
                return
            except OSError:
                continue
            finally:
                group.rmdir()
    pytest.skip("no leave to make control groups")


@pytest.mark.parametrize("file", ["/sys/fs/cgroup/another", "/sys/fs/cgroup/memory.events"])
def test_a_death_by_sigkill_says_that_nobody_counts_where_nobody_does(file):
    mount = f"mount -t tmpfs none /sys/fs/cgroup\necho oom_kill some > {file}"
    output = run_among_mounts(mount, DEATHS.format(name="nothing"))
    guess = "was ended by SIGKILL; where nobody killed it, the system was short of memory"
    assert output.splitlines() == [guess] * 2


LEAKS = (
    GROUPS
    + """
report = Process([Task(f"leak{{i}}", leak) for i in range(4)]).run(runner="process", max_workers=1)
report.raise_for_errors()
print(len(set(report.results.values())))
"""
)


@pytest.mark.parametrize(
    ("controller", "name", "limit", "workers"),
    [
        ("", "memory.max", 200 * MB, 2),
        ("", "memory.max", 10_000 * MB, 1),
        ("memory", "memory.limit_in_bytes", 200 * MB, 2),
    ],
)
def test_what_a_worker_may_keep_is_half_of_its_share_of_what_its_control_group_may_have(
    controller, name, limit, workers
):
    needs_groups(controller)
    mount = (
        "mount -t tmpfs none /sys/fs/cgroup\n"
        f"mkdir -p /sys/fs/cgroup/{controller}\n"
        f"echo {limit} > /sys/fs/cgroup/{controller}/{name}"
    )
    assert run_among_mounts(mount, LEAKS.format(name="")) == f"{workers}\n"


def test_a_worker_looks_at_its_own_memory_where_others_cannot_be_looked_at():
    needs_groups("")
    mount = f"mount -t tmpfs none /sys/fs/cgroup\necho {200 * MB} > /sys/fs/cgroup/memory.max"
    assert run_among_mounts(f"{mount}\n{FOREIGN_PROC}", LEAKS.format(name="")) == "2\n"
