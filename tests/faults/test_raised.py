"""Whatever a task's function raises fails that task, with all that the exception holds, and nothing else."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from datetime import timedelta
from decimal import Decimal
from math import inf, nan

import pytest
from faulty_runs import run_beside_others, run_in_new_python
from interpreters import HAS_GIL
from odd_values import interrupt
from raising import (
    NO_EXCEPTIONS,
    OWN,
    build_a_wrong_syntax,
    count_frames,
    go_down,
    raise_a_ring,
    raise_a_self_caused,
    raise_groups,
    recurse_for_ever,
    throw,
    throw_class_of_its_own,
    throw_later,
    throw_with,
    throw_with_named,
    throw_with_odd_name,
)

import processes
from processes import (
    Process,
    ProcessesError,
    SerializationError,
    Task,
    TaskRetried,
    TaskStatus,
    WorkerDiedError,
)

# ---- What functions raise --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NO_EXCEPTIONS)
def test_what_usually_ends_more_than_a_function_fails_its_task_alone(runner, name):
    expected = NO_EXCEPTIONS[name]()
    report = run_beside_others(runner, Task("bad", throw, args=(NO_EXCEPTIONS[name],)))
    error = report.exceptions["bad"]
    assert type(error) is type(expected)
    assert error.args == expected.args
    assert str(error) == report.entries["bad"].error.exception == str(expected)
    assert report.entries["bad"].attempts == 1
    assert "in throw" in report.entries["bad"].error.traceback_str


@pytest.mark.parametrize("name", [name for name in NO_EXCEPTIONS if name != "stop"])
def test_what_usually_ends_an_event_loop_fails_its_task_alone(runner, name):
    report = run_beside_others(runner, Task("bad", throw_later, args=(NO_EXCEPTIONS[name],)))
    assert type(report.exceptions["bad"]) is type(NO_EXCEPTIONS[name]())
    assert "in throw_later" in report.entries["bad"].error.traceback_str


def test_sys_exit_in_a_task_ends_neither_worker_nor_program():
    report = run_beside_others(
        "process",
        Task("code", sys.exit, args=(5,)),
        Task("nothing", sys.exit),
        Task("text", sys.exit, args=("why",)),
        max_workers=1,
    )
    assert [report.exceptions[name].code for name in ("code", "nothing", "text")] == [5, None, "why"]
    assert len({metrics.pid for metrics in report.metrics.values()}) == 1, "the worker lives on"


def test_the_contents_of_builtin_exceptions_arrive(runner):
    report = run_beside_others(
        runner,
        Task("syntax", build_a_wrong_syntax),
        Task("unicode", b"gr\xfc\xdfe".decode),
        Task("stop", throw, args=(lambda: StopIteration([1, 2]),)),
        Task("exit", throw, args=(lambda: SystemExit("text"),)),
        Task("file", open, args=("/no/such/file",)),
        Task("key", dict.__getitem__, args=({}, "key")),
        Task("import", __import__, args=("no_such_module_anywhere",)),
        Task("attribute", getattr, args=(3, "missing")),
    )
    errors = report.exceptions
    assert {name: type(error) for name, error in errors.items()} == {
        "syntax": SyntaxError,
        "unicode": UnicodeDecodeError,
        "stop": StopIteration,
        "exit": SystemExit,
        "file": FileNotFoundError,
        "key": KeyError,
        "import": ModuleNotFoundError,
        "attribute": AttributeError,
    }
    syntax = errors["syntax"]
    assert (syntax.msg, syntax.filename, syntax.lineno, syntax.text) == (
        "invalid syntax",
        "some file.py",
        2,
        "bad = = 2\n",
    )
    decode = errors["unicode"]
    assert (decode.encoding, decode.object, decode.start, decode.end) == ("utf-8", b"gr\xfc\xdfe", 2, 3)
    assert errors["stop"].value == [1, 2]
    assert errors["exit"].code == "text"
    assert (errors["file"].errno, errors["file"].filename) == (2, "/no/such/file")
    assert errors["key"].args == ("key",)
    assert errors["import"].name == "no_such_module_anywhere"
    assert (errors["attribute"].name, errors["attribute"].obj) == ("missing", 3)


# ---- Deep, long, and in rings ----------------------------------------------------------------------------


def test_a_recursion_without_end_is_told(runner):
    report = run_beside_others(runner, Task("bad", recurse_for_ever, args=(0,)))
    assert type(report.exceptions["bad"]) is RecursionError
    assert "maximum recursion depth exceeded" in report.entries["bad"].error.exception
    assert "in recurse_for_ever" in report.entries["bad"].error.traceback_str


def test_nine_hundred_frames_arrive_whole(runner):
    # The sequential runner works below pytest's own frames, which are some fifty.
    report = run_beside_others(runner, Task("bad", go_down, args=(899 if runner != "sequential" else 800,)))
    error = report.exceptions["bad"]
    assert str(error) == "at the bottom"
    assert count_frames(error, "go_down") == (900 if runner != "sequential" else 801)
    assert report.entries["bad"].error.traced_vars == {"frames": "0"}


def test_a_ring_of_causes_stays_a_ring(runner):
    report = run_beside_others(runner, Task("bad", raise_a_ring))
    first = report.exceptions["bad"]
    second = first.__cause__
    third = second.__context__
    assert [type(one) for one in (first, second, third)] == [ValueError, TypeError, KeyError]
    assert third.__cause__ is first
    assert "The above exception was the direct cause" in report.entries["bad"].error.traceback_str


def test_an_exception_may_be_its_own_cause(runner):
    error = run_beside_others(runner, Task("bad", raise_a_self_caused)).exceptions["bad"]
    assert error.__cause__ is error


def test_groups_in_groups_arrive_with_every_member(runner):
    report = run_beside_others(runner, Task("bad", raise_groups))
    outer = report.exceptions["bad"]
    middle, last = outer.exceptions
    inner, other = middle.exceptions
    assert [group.message for group in (outer, middle, inner)] == ["outer", "middle", "inner"]
    assert [type(one) for one in (last, other, *inner.exceptions)] == [
        OSError,
        KeyError,
        SystemExit,
        ValueError,
    ]
    assert inner.exceptions[0].code == 3
    assert str(outer.__cause__) == "while handling"
    for text in ("outer (2 sub-exceptions)", "ValueError: leaf", "TypeError: while handling"):
        assert text in report.entries["bad"].error.traceback_str


# ---- Exceptions of the user's own ------------------------------------------------------------------------


@pytest.mark.parametrize("what", OWN)
def test_an_exception_arrives_as_what_it_is_whatever_its_class_does(runner, what):
    report = run_beside_others(runner, Task("bad", throw, args=(OWN[what],)))
    assert type(report.exceptions["bad"]) is type(OWN[what]())
    error = report.entries["bad"].error
    assert type(OWN[what]()).__name__ in error.traceback_str
    assert "in throw" in error.traceback_str
    assert error.exception == {
        "own __init__": "code 7 in here",
        "slots": "",
        "lock": error.exception,  # has an address in it; looked at below
        "__str__ raises": "<unprintable RaisingText object>",
        "__str__ exits": "<unprintable ExitingText object>",
    }.get(what, "x")


def test_an_attribute_may_have_a_name_of_a_class_of_its_own(runner):
    report = run_beside_others(runner, Task("bad", throw_with_named))
    assert report.exceptions["bad"].code == 3


def test_what_cannot_be_brought_back_of_a_failure_costs_no_worker(runner):
    report = run_beside_others(runner, Task("bad", throw_with_odd_name))
    error = report.exceptions["bad"]
    assert isinstance(error, KeyError)
    assert (type(error).__name__, str(error)) == ("KeyError", "'has an odd field'")
    assert error.__traceback__ is not None
    assert "in throw_with_odd_name" in report.entries["bad"].error.traceback_str


def test_attributes_and_slots_arrive_and_a_lock_is_told_by_its_repr(runner):
    report = run_beside_others(
        runner,
        Task("init", throw, args=(OWN["own __init__"],)),
        Task("slots", throw, args=(OWN["slots"],)),
        Task("lock", throw, args=(OWN["lock"],)),
    )
    init, slots, lock = (report.exceptions[name] for name in ("init", "slots", "lock"))
    assert (init.code, init.where) == (7, "here")
    assert (slots.size, slots._hidden) == (21, 42)
    assert lock.kept == [1, 2]
    assert lock.args[0] == "holds a lock"
    assert "unlocked _thread.lock object" in str(lock.lock)
    assert "unlocked _thread.lock object" in report.entries["lock"].error.exception


def test_an_attribute_whose_unpickling_raises_is_told_by_its_repr():
    report = run_beside_others(
        "process",
        Task("bad", throw_with, args=(int, "no number")),
        Task("interrupts", throw_with, args=(interrupt,)),
    )
    for error in report.exceptions.values():
        assert (type(error), str(error)) == (ValueError, "holds a bomb")
        assert "Bomb object" in error.bomb


def test_an_attribute_whose_unpickling_exits_costs_one_worker():
    report = run_beside_others("process", Task("bad", throw_with, args=(os._exit, 12)))
    error = report.exceptions["bad"]
    assert type(error) is WorkerDiedError
    assert error.exitcode == 12


def test_an_attribute_whose_unpickling_hangs_ends_with_the_time_limit():
    report = run_beside_others("process", Task("bad", throw_with, args=(time.sleep, 3600), timeout=1))
    error = report.exceptions["bad"]
    assert type(error) is TimeoutError
    assert str(error).startswith("Task 'bad' timed out after 1s")


def test_an_exception_of_a_class_that_only_the_worker_has_keeps_name_text_and_base(runner):
    report = run_beside_others(runner, Task("bad", throw_class_of_its_own))
    error = report.exceptions["bad"]
    assert (type(error).__name__, str(error)) == ("LocalError", "defined in here")
    assert isinstance(error, OSError)
    assert error.extra == {"a": 1}


# ---- Out of memory ---------------------------------------------------------------------------------------

SHORT_OF_MEMORY = """
import resource, sys
from collections import deque
from processes import Process, Task, TaskDependency

def at_once():
    return len(bytearray(sys.maxsize // 2))

def bit_by_bit(size):
    kept = []
    while True:
        kept.append(bytearray(size))

def by_numbers():
    kept = deque()
    while True:
        kept.append(float(len(kept)))

def by_dicts():
    kept = []
    while True:
        kept.append({"number": len(kept)})

def by_links():
    kept = None
    while True:
        kept = {"next": kept}  # CPython 3.13.0 itself crashes when it frees such a chain of tuples

with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (48 << 20), resource.RLIM_INFINITY))
tasks = [Task("once", at_once), Task("below", abs, dependencies=[TaskDependency("once", True)])]
if sys.argv[1] == "process":  # threads share our own memory, which must not all be gone
    tasks += [Task(f"size-{size}", bit_by_bit, args=(size,)) for size in (1 << 20, 4096, 700, 27)]
    tasks += [Task(function.__name__, function) for function in (by_numbers, by_dicts, by_links)]
tasks += [Task(f"good{i}", pow, args=(i, 2)) for i in range(8)]
report = Process(tasks).run(runner=sys.argv[1], max_workers=2)
assert report.results == {f"good{i}": i**2 for i in range(8)}, report.results
assert list(report.skipped) == ["below"]
assert "in at_once" in report.entries["once"].error.traceback_str
for name, error in report.exceptions.items():
    print(name, type(error).__name__, "MemoryError" in report.entries[name].error.traceback_str)
"""


needs_limits = pytest.mark.skipif(
    sys.platform != "linux" or not HAS_GIL,
    reason="only Linux holds a process to RLIMIT_AS; without the GIL Python begins with a gigabyte of that",
)


@needs_limits
def test_memory_errors_are_the_tasks_own_also_where_little_is_left():
    lines = run_in_new_python(SHORT_OF_MEMORY, "process").splitlines()
    if sys.version_info[:3] == (3, 13, 0):  # which may itself lose an error that it has no memory for
        lines = [re.sub("SystemError False$", "MemoryError True", line) for line in lines]
    assert lines == [
        f"{name} MemoryError True"
        for name in (
            *("once", "size-1048576", "size-4096", "size-700", "size-27"),
            *("by_numbers", "by_dicts", "by_links"),
        )
    ]


@needs_limits
def test_a_memory_error_on_a_thread_is_the_tasks_own():
    assert run_in_new_python(SHORT_OF_MEMORY, "thread") == "once MemoryError True\n"


NO_MEMORY_LEFT = """
import resource
from processes.failure import describe_failure

def fill(size):
    kept = []
    try:
        while True:
            kept.append(bytearray(size))
    except MemoryError:
        if size > 16:
            fill(size // 4)
        raise

describe_failure(ValueError("what it imports is there"))
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (40 << 20), resource.RLIM_INFINITY))
try:
    fill(1 << 16)
except MemoryError as error:
    failure = describe_failure(error)
    text = failure.traceback_str
    print(text.startswith("Traceback"), "in fill" in text, failure.traced_vars)
"""


@needs_limits
def test_where_no_memory_is_left_the_variables_go_so_that_the_traceback_can_be_told():
    assert run_in_new_python(NO_MEMORY_LEFT) == "True True {}\n"


# ---- Retries ---------------------------------------------------------------------------------------------


class OddType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise LookupError("odd")


class OddError(Exception, metaclass=OddType):
    pass


def wait_from_a_short_table(attempt: int) -> float:
    return {1: 0.0}[attempt]


NO_SECONDS = {
    "none": (lambda _: None, "its retry_delay returned None after attempt 1;"),
    "text": (lambda _: "1", "its retry_delay returned '1' after attempt 1;"),
    "bool": (lambda _: True, "its retry_delay returned True after attempt 1;"),
    "timedelta": (lambda _: timedelta(0), "its retry_delay returned datetime.timedelta(0) after attempt 1;"),
    "decimal": (lambda _: Decimal(1), "its retry_delay returned Decimal('1') after attempt 1;"),
    "infinite": (lambda _: inf, "its retry_delay returned inf after attempt 1;"),
    "nan": (lambda _: nan, "its retry_delay returned nan after attempt 1;"),
    "large": (lambda _: 10**400, "its retry_delay returned 1000000"),
    "parameterless": (lambda: 1.0, "its retry_delay raised TypeError: "),
    "exit": (lambda _: sys.exit(3), "its retry_delay raised SystemExit: 3 after attempt 1;"),
    "table": (wait_from_a_short_table, "its retry_delay raised KeyError: 2 after attempt 2;"),
}


def test_a_retry_that_cannot_be_decided_fails_its_task_alone(runner):
    tasks = [
        Task(name, throw, args=(ConnectionError,), retries=3, retry_delay=delay)
        for name, (delay, _) in NO_SECONDS.items()
    ]
    tasks.append(Task("type", throw, args=(ConnectionError,), retries=3, retry_on=(OddError,)))
    expected = {name: text for name, (_, text) in NO_SECONDS.items()}
    expected["type"] = "its retry_on raised LookupError: odd after attempt 1;"
    report = run_beside_others(runner, *tasks)
    for name, text in expected.items():
        error, entry = report.exceptions[name], report.entries[name]
        assert type(error) is ProcessesError
        assert str(error).startswith(f"Task {name!r} failed and is not attempted again: {text}"), name
        must_tell = "whether an exception is one of its types" if name == "type" else "a number of seconds"
        assert str(error).endswith(f"; it must tell {must_tell}"), name
        assert len(str(error)) < 500
        assert type(error.__cause__) is ConnectionError, name
        assert entry.attempts == (2 if name == "table" else 1), name
        assert entry.error.exception == str(error)
        assert "ConnectionError\n\nThe above exception was the direct cause" in entry.error.traceback_str
        assert list(entry.error.traced_vars) == ["make"], name  # those of the function, not of ours
    assert type(report.exceptions["table"].__context__) is KeyError
    told = report.entries["table"].error.traceback_str
    assert "return {1: 0.0}[attempt]" in told
    assert processes.__file__.removesuffix("__init__.py") not in told


def test_a_retry_delay_below_nothing_is_none(runner):
    events = []
    task = Task("again", throw, args=(ConnectionError,), retries=1, retry_delay=lambda _: -inf)
    Process([task]).run(runner=runner, observers=[events.append])
    assert [event.delay for event in events if isinstance(event, TaskRetried)] == [0.0]


def test_a_keyboard_interrupt_in_a_retry_delay_is_for_the_program(runner):
    def interrupt(_: int) -> float:
        raise KeyboardInterrupt

    process = Process([Task("lost", throw, args=(ConnectionError,), retries=1, retry_delay=interrupt)])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner=runner)
    assert process.report.entries["lost"].status is TaskStatus.PENDING


def test_an_argument_that_cannot_travel_asks_for_no_delay():
    asked = []
    task = Task(
        "lock",
        print,
        args=(threading.Lock(),),
        retries=3,
        retry_on=(SerializationError,),
        retry_delay=asked.append,
    )
    assert type(Process([task]).run(runner="process").exceptions["lock"]) is SerializationError
    assert asked == []


def test_a_time_limit_of_years_ends_no_run(runner):
    # In a thread, which waits until something comes: the main thread looks for signals now and then.
    tasks = [Task("limited", time.sleep, args=(0.2,), timeout=1e9)]
    assert [entry.status for entry in Process(tasks).stream(runner=runner)] == [TaskStatus.SUCCESS]


def test_an_observer_that_cannot_be_shown_or_compared_ends_no_run():
    class Odd:
        def __init__(self, name: str = "") -> None:
            self.name = name
            self.events: list[object] = []

        def __call__(self, event: object) -> None:
            self.events.append(event)
            if not self.name:
                raise ValueError("no")

        def __repr__(self) -> str:
            raise LookupError("odd")

        def __eq__(self, other: object) -> bool:
            raise LookupError("odd")

    observers = [Odd("first"), Odd(), Odd("last")]
    with pytest.warns(RuntimeWarning, match="the run goes on without it"):
        report = Process([Task("fine", abs, args=(-1,))]).run(observers=observers)
    assert report.results == {"fine": 1}
    assert [len(observer.events) for observer in observers] == [4, 1, 4]
