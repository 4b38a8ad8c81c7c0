"""Runs with a checkpoint: what has succeeded is not run again, and all else is, on every runner."""

from __future__ import annotations

import copyreg
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from programs import ended, output_of, started
from saved import METRE, FrozenError, Money, Point, Prices, RefusedError, Row, Share, fail, note

from processes import (
    Process,
    RunFinished,
    RunStarted,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStarted,
    TaskStatus,
)


def passed(name: str) -> TaskDependency:
    return TaskDependency(name, use_result_as_additional_args=True)


def taken(ran: Path) -> list[str]:
    """Return what has run since somebody asked, in order."""
    names = ran.read_text().split() if ran.exists() else []
    ran.unlink(missing_ok=True)
    return sorted(names)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def make(ran: Path) -> Callable[..., Task]:
    """Make a task that notes that it ran."""

    def make(name: str, value: object = 1, *needs: str, **options: Any) -> Task:
        dependencies = [passed(need) for need in needs]
        return Task(name, note, args=(str(ran), name, value), dependencies=dependencies, **options)

    return make


def diamond(make: Callable[..., Task], **values: object) -> Process:
    edges: dict[str, Iterable[str]] = {"a": "", "b": "a", "c": "a", "d": "bc", "e": ""}
    return Process([make(name, values.get(name, name), *needs) for name, needs in edges.items()])


def test_after_a_failure_only_what_has_not_succeeded_runs(runner, make, ran, tmp_path):
    path = tmp_path / "run.ckpt"
    first = diamond(make, c=fail).run(runner=runner, checkpoint=path)
    assert [entry.status for entry in first.entries.values()].count(TaskStatus.SUCCESS) == 3
    assert (taken(ran), first.from_checkpoint) == (["a", "b", "c", "e"], ())
    second = diamond(make).run(runner=runner, checkpoint=str(path))
    assert (taken(ran), second.from_checkpoint) == (["c", "d"], ("a", "b", "e"))
    third = diamond(make).run(runner=runner, checkpoint=path)
    assert (taken(ran), third.from_checkpoint) == ([], ("a", "b", "c", "d", "e"))
    fresh = diamond(make).run(runner=runner)
    assert fresh.results == third.results == second.results
    assert third.entries == second.entries
    assert [entry.attempts for entry in third.entries.values()] == [1] * 5
    assert (second.metrics.keys(), third.metrics.keys()) == ({"c", "d"}, set())


def test_what_is_below_a_task_that_runs_again_runs_again(runner, make, ran, tmp_path):
    path = tmp_path / "run.ckpt"
    diamond(make).run(runner=runner, checkpoint=path).raise_for_errors()
    taken(ran)
    for changed, expected in {"a": "abcd", "b": "bd", "d": "d", "e": "e"}.items():
        report = diamond(make, **{changed: "changed"}).run(runner=runner, checkpoint=path)
        assert taken(ran) == [*expected]
        assert report.results == diamond(make, **{changed: "changed"}).run(runner="sequential").results
        # And back: the records of what was there before are gone.
        diamond(make).run(runner=runner, checkpoint=path)
        ran.unlink()


def test_other_dependencies_are_another_task(make, ran, tmp_path):
    path = tmp_path / "run.ckpt"

    def run(*dependencies: TaskDependency) -> list[str]:
        tasks = [make("a"), make("b"), make("c")]
        tasks[2].dependencies = [*dependencies]
        Process(tasks).run(checkpoint=path)
        return taken(ran)

    assert run() == ["a", "b", "c"]
    for dependencies in (
        [TaskDependency("a")],
        [passed("a")],
        [passed("a"), passed("b")],
        [passed("b"), passed("a")],
        [passed("b"), TaskDependency("a")],
    ):
        assert run(*dependencies) == ["c"]
        assert run(*dependencies) == []


def test_a_log_file_tells_why_a_task_runs_again(tmp_path):
    log, path = tmp_path / "log", tmp_path / "run.ckpt"

    def first_line(function: Callable[..., object], first: object = 1, **options: Any) -> str:
        log.unlink(missing_ok=True)
        tasks = [Task("first", abs, args=(first,)), Task("second", function, log_path=log, **options)]
        Process(tasks).run(checkpoint=path)
        return log.read_text().splitlines()[0].partition(": ")[2]

    needs = [TaskDependency("first")]
    again = "Starting second again: "
    assert first_line(int) == "Starting second."
    assert first_line(float) == f"{again}its function is not what it was."
    rates = {"EUR": 1}

    def price(amount: float) -> float:
        return amount * rates["EUR"]

    first_line(price, args=(1,))
    rates["EUR"] = 2
    for function in (price, partial(price)):
        expected = "its function uses 'rates', which is not what it was."
        assert first_line(function, args=(1,)) == f"{again}{expected}"
        rates["EUR"] += 1
    price.__module__ = "pricing"
    expected = f"its function is of module 'pricing', and was of {__name__!r}."
    assert first_line(price, args=(1,)) == f"{again}{expected}"
    first_line(float)
    assert first_line(float, args=("1",)) == f"{again}its arguments are not what they were."
    untold = (digit for digit in "1")
    assert first_line(float, args=(untold,)).startswith(f"{again}the contents of what it calls or gets")
    assert first_line(float, args=("1",), dependencies=needs).startswith(f"{again}it depends on other tasks")
    assert (
        first_line(float, 2, args=("1",), dependencies=needs) == f"{again}it depends on 'first', which runs."
    )
    assert first_line(float, 2, args=("1",), dependencies=needs).startswith("Took the result")
    changed = Process([Task("first", abs, args=(3,)), Task("second", float, args=("1",), dependencies=needs)])
    assert changed.dry_run(path) == {
        "first": "its arguments are not what they were",
        "second": "it depends on 'first', which runs",
    }


def test_a_task_under_another_name_is_another_task(make, ran, tmp_path):
    for name, expected in (("a", ["a"]), ("b", ["b"]), ("A", [])):
        task = make(name)
        task.args = (str(ran), "same", 1)
        Process([task]).run(checkpoint=tmp_path / "run.ckpt")
        assert taken(ran) == ["same"] * len(expected)


def test_what_says_how_a_task_runs_does_not_make_it_another(make, ran, shared_workers, tmp_path):
    path = tmp_path / "run.ckpt"
    Process([make("a")]).run(checkpoint=path)
    taken(ran)
    task = make("a", retries=3, timeout=60, priority=5, runner="thread", log_path=tmp_path / "log")
    report = Process([task, make("b")]).run(runner="process", checkpoint=path)
    assert (taken(ran), report.from_checkpoint) == (["b"], ("a",))


def test_results_come_back_as_they_were(runner, tmp_path, monkeypatch):
    numpy = pytest.importorskip("numpy")
    with suppress(ImportError):  # it comes with Dask, which has it do this for all exceptions
        from tblib.pickling_support import pickle_exception

        monkeypatch.setitem(copyreg.dispatch_table, FrozenError, pickle_exception)
    prices = Prices("EUR")
    prices["tea"] = Money("2.50", "EUR")
    values = {
        "prices": prices,
        "row": Row(source="a list"),
        "share": Share(50),
        "several": [Money("1", "EUR"), Money("2", "EUR"), Share(50), Share(25)],
        "simple": [1, "two", None],
        "point": Point(1, ("a", "b")),
        "array": numpy.arange(500_000.0),
        "small": numpy.arange(5),
        "bytes": b"x" * 3_000_000,
        "mixed": {"a": numpy.ones((300, 300)), "b": bytearray(500_000), "c": Point(2)},
        "strided": numpy.arange(200_000)[::2],
        "error": ConnectionError("as a value"),
        "refused": RefusedError("tea", "sold out"),
        "frozen": FrozenError(reason="no room"),
        "unit": METRE,
        "class": Point,
        "none": None,
    }
    path = tmp_path / "run.ckpt"

    def run() -> dict[str, Any]:
        tasks = [Task(name, lambda value: value, args=(value,)) for name, value in values.items()]
        tasks += [
            Task(f"below-{name}", lambda *_: 1, dependencies=[passed(name)], retries=len(saved))
            for name in values
        ]
        report = Process(tasks).run(runner=runner, checkpoint=path)
        report.raise_for_errors()
        saved.update(dict.fromkeys(report.from_checkpoint))
        return report.results

    saved: dict[str, None] = {}
    first = run()
    assert not saved
    second = run()
    assert {*saved} == {*values, *(f"below-{name}" for name in values)}
    for name, value in values.items():
        assert type(second[name]) is type(value)
        assert repr(second[name]) == repr(first[name]) == repr(value)
    assert (second["array"] == values["array"]).all()
    assert (second["mixed"]["a"] == 1).all()
    assert (second["class"], second["point"]) == (Point, values["point"])
    assert second["prices"].currency == "EUR"
    refused = second["refused"]
    assert (refused.code, refused.order, refused.reason) == ("tea: sold out", "tea", "sold out")
    assert second["unit"] is METRE
    second["array"][0] = 5  # what is made of it is nobody else's
    second["mixed"]["b"][:1] = b"y"


SCRIPT = """
import threading
from processes import Process, Task, TaskDependency

class Point:
    def __init__(self, x):
        self.x = x

class BusyError(Exception):
    def __init__(self):
        self.lock = threading.Lock()

def double(point):
    assert type(point) is Point
    large = bytes(300_000)
    return lambda: 2 * point.x if len(large) == 300_000 else 0

def make_large(point):
    return [Point(5), bytes(500_000), BusyError()]

def look(function, large):
    {look}

def passed(name):
    return TaskDependency(name, True)

tasks = [Task("make", Point, args=(4,)), Task("double", double, dependencies=[passed("make")]),
         Task("large", make_large, dependencies=[passed("make")]),
         Task("look", look, dependencies=[passed("double"), passed("large")])]
for runner in ("thread", "process"):
    report = Process(tasks).run(runner=runner, checkpoint=f"{{runner}}.ckpt")
    is_own = type(report.results["make"]) is Point
    print(runner, *report.from_checkpoint, report.results.get("look"), is_own)
"""


def test_classes_and_functions_of_a_script_come_back_as_the_scripts_own(tmp_path):
    lines = []
    returned = "return function() + large[0].x if list(map(type, large)) == [Point, bytes, BusyError] else 0"
    for look in ("raise ValueError", returned, returned):
        (tmp_path / "script.py").write_text(SCRIPT.format(look=look))
        lines += output_of([sys.executable, "script.py"], cwd=tmp_path).splitlines()
    assert lines == [
        f"{runner} {found}"
        for found in ("None True", "make double large 13 True", "make double large look 13 True")
        for runner in ("thread", "process")
    ]


MODELS = """
from typing import Generic, TypeVar
from pydantic import BaseModel

class Page(BaseModel, Generic[(T := TypeVar("T"))]):
    items: list[T]
"""

FORMS = """
from typing import Generic
from pydantic import BaseModel
from models import Page, T
from processes import Process, Task, TaskDependency

class Row(BaseModel):
    sheet: "Sheet[Row] | None" = None

class Sheet(BaseModel, Generic[T]):
    items: list[T]

def make():
    own = [Sheet[int](items=[1]), Sheet[Row](items=[Row(sheet=Sheet[Row](items=[]))]), Page[Row](items=[])]
    return [Page[int](items=[1]), Page[list[Page[str]]](items=[]), *own]

def are_own(items):
    kinds = [Page[int], Page[list[Page[str]]], Sheet[int], Sheet[Row], Page[Row]]
    return [isinstance(item, kind) for item, kind in zip(items, kinds, strict=True)]

tasks = [Task("make", make), Task("look", are_own, dependencies=[TaskDependency("make", True)])]
tasks += [Task("given", are_own, args=(make(),))]
for runner in ("thread", "process"):
    report = Process(tasks).run(runner=runner, checkpoint=f"{runner}.ckpt")
    found = report.results["look"] + report.results["given"] + are_own(report.results["make"])
    print(*report.from_checkpoint, found.count(True))
"""


def test_forms_of_generic_models_are_those_of_their_module_or_script(tmp_path):
    pytest.importorskip("pydantic")
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "script.py").write_text(FORMS)
    run = [sys.executable, "script.py"]
    assert output_of(run, cwd=tmp_path).splitlines() == ["15"] * 2
    assert output_of(run, cwd=tmp_path).splitlines() == ["make look given 15"] * 2


def test_a_task_that_keeps_no_result_is_taken_over_with_what_its_dependants_need(runner, make, ran, tmp_path):
    path = tmp_path / "run.ckpt"

    def tasks(**values: object) -> Process:
        return Process(
            [
                make("large", bytes(300_000), keep_result=False),
                make("alone", 2, keep_result=False),
                make("fails", values.get("fails", fail)),
                # Skipped before "large" ends, or after: its value is saved in any case.
                make("below", len, "large", "fails"),
            ]
        )

    make_below = partial(tasks, fails=lambda: 1)
    first = tasks().run(runner=runner, checkpoint=path)
    assert first.entries["large"].result is None
    taken(ran)
    len_of_two = Process(
        [
            *make_below().tasks[:-1],
            Task("below", lambda *args: [len(arg) for arg in args[0]], dependencies=[passed("large")]),
        ]
    )
    second = len_of_two.run(runner=runner, checkpoint=path)
    assert (taken(ran), set(second.from_checkpoint)) == (["fails"], {"large", "alone"})
    assert second.results == {"large": None, "alone": None, "fails": 1, "below": [300_000]}
    third = len_of_two.run(runner=runner, checkpoint=path)
    assert len(third.from_checkpoint) == 4


def test_a_value_that_was_not_saved_as_nobody_needed_it_is_made_when_somebody_does(
    make, ran, tmp_path, recwarn
):
    path = tmp_path / "run.ckpt"
    Process([make("a", keep_result=False)]).run(checkpoint=path)
    assert taken(ran) == ["a"]
    assert Process([make("a", keep_result=False)]).run(checkpoint=path).from_checkpoint == ("a",)
    report = Process([make("a", keep_result=False), make("b", 2, "a")]).run(checkpoint=path)
    assert (report.results["b"], taken(ran)) == ([2, [1]], ["a", "b"])
    report = Process([make("a")]).run(checkpoint=path)
    assert (report.results, taken(ran)) == ({"a": [1]}, [])
    assert recwarn.list == []


class Value:
    """Can be told from all else that is alive."""

    def __init__(self) -> None:
        self.me = self  # the garbage collector knows it


def test_a_value_that_was_taken_over_is_dropped_when_its_last_dependant_has_it(tmp_path):
    path, alive = tmp_path / "run.ckpt", []

    def tasks(*below: Task) -> Process:
        made = Task("value", Value, keep_result=False)
        return Process([made, Task("has-it", type, dependencies=[passed("value")]), *below])

    def look(event: object) -> None:
        if isinstance(event, TaskStarted):
            gc.collect()
            alive.append(sum(type(one) is Value for one in gc.get_objects()))

    tasks().run(runner="sequential", checkpoint=path).raise_for_errors()
    new = Task("needs-it", type, dependencies=[passed("value")])
    later = Task("later", int, dependencies=[TaskDependency("needs-it")])
    report = tasks(new, later).run(runner="sequential", checkpoint=path, observers=[look])
    assert report.from_checkpoint == ("value", "has-it")
    assert alive == [1, 0]


def test_observers_and_log_files_are_told_of_what_is_taken_over(make, tmp_path, runner):
    log, path = tmp_path / "log", tmp_path / "run.ckpt"
    process = Process([make("a", log_path=log), make("b", fail, "a")], "shop")
    process.run(runner=runner, checkpoint=path)
    log.unlink()
    events: list[object] = []
    report = process.run(runner=runner, checkpoint=path, observers=[events.append])
    began, taken_over, start, end, finished = events
    assert isinstance(began, RunStarted)
    assert isinstance(finished, RunFinished)
    assert isinstance(taken_over, TaskFinished)
    assert isinstance(end, TaskFinished)
    assert (taken_over.name, taken_over.result.result, taken_over.from_checkpoint) == ("a", [1], True)
    assert start == TaskStarted("b", 1)
    assert (end.name, end.from_checkpoint) == ("b", False)
    (line,) = log.read_text().splitlines()
    assert line.endswith("INFO processes.a: Took the result of a from the checkpoint.")
    assert "1 failed, 1 succeeded (1 from the checkpoint), " in str(report)
    assert "checkpoint" in next(row for row in str(report).splitlines() if row.startswith("a "))
    assert '"from_checkpoint": ["a"]' in report.to_json()
    assert report.entries["a"].elapsed_seconds > 0


def test_a_stream_gives_what_is_taken_over_too(make, ran, tmp_path):
    path = tmp_path / "run.ckpt"
    process = diamond(make)
    with process.stream(checkpoint=path) as stream:
        assert next(stream).name == "a"
    done = taken(ran)  # the rest was cancelled
    with process.stream(checkpoint=path) as stream:
        assert {entry.name for entry in stream} == {*"abcde"}
    assert sorted(stream.report.from_checkpoint) == done
    assert sorted([*done, *taken(ran)]) == [*"abcde"]


def test_durations_of_a_run_that_was_taken_over_hold_for_the_next(make, tmp_path):
    path = tmp_path / "run.ckpt"
    process = diamond(make)
    first = process.run(checkpoint=path)
    second = process.run(checkpoint=path, durations=first)
    assert {name: entry.elapsed_seconds for name, entry in second.entries.items()} == {
        name: entry.elapsed_seconds for name, entry in first.entries.items()
    }


def test_retries_are_counted_as_in_the_run_that_made_them(runner, tmp_path, ran):
    def flaky() -> str:
        with ran.open("a") as file:
            file.write("x")
        if ran.stat().st_size < 3:
            raise ConnectionError
        return "at last"

    process = Process([Task("flaky", flaky, retries=5)])
    for _ in range(2):
        report = process.run(runner=runner, checkpoint=tmp_path / "run.ckpt")
        assert (report.results, report.entries["flaky"].attempts) == ({"flaky": "at last"}, 3)
    assert ran.read_text() == "xxx"


def test_tasks_that_need_resources_are_taken_over_too(make, ran, tmp_path):
    saved = [make(name, resources={"db": 1}) for name in ("one", "two")]
    path = tmp_path / "run.ckpt"
    Process(saved).run(resources={"db": 1}, checkpoint=path)
    process = Process([*saved, make("three", resources={"db": 1})])
    process.run(resources={"db": 1}, checkpoint=path).raise_for_errors()
    assert taken(ran) == ["one", "three", "two"]


@pytest.mark.parametrize("value", [3, True, ["run.ckpt"], ""])
def test_what_is_no_path_is_refused_before_anything_runs(value, make, ran):
    error = ValueError if value == "" else TypeError
    with pytest.raises(error, match="checkpoint must be"):
        diamond(make).run(checkpoint=value)
    with pytest.raises(error, match="checkpoint must be"):
        diamond(make).dry_run(value)
    assert taken(ran) == []


def test_a_file_of_another_kind_is_refused_before_anything_runs(runner, make, ran, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("name,price\n")
    with pytest.raises(ValueError, match="is a file of another kind"):
        diamond(make).run(runner=runner, checkpoint=path)
    with pytest.raises(ValueError, match="is a file of another kind"):
        diamond(make).stream(runner=runner, checkpoint=path)
    assert (taken(ran), path.read_text()) == ([], "name,price\n")


def test_a_run_within_a_run_or_beside_it_cannot_have_its_file(make, ran, tmp_path):
    path = tmp_path / "run.ckpt"
    inner = diamond(make)

    def run_inner() -> None:
        inner.run(checkpoint=path)

    report = Process([Task("inner", run_inner)]).run(runner="thread", checkpoint=path)
    assert isinstance(report.exceptions["inner"], BlockingIOError)
    assert taken(ran) == []
    inner.run(checkpoint=path).raise_for_errors()  # it is free again


def test_a_wrong_argument_beside_it_does_not_keep_the_file(make, tmp_path):
    path = tmp_path / "run.ckpt"
    process = diamond(make)
    with pytest.raises(TypeError, match="fail_fast") as caught:
        process.run(checkpoint=path, fail_fast="yes")
    process.run(checkpoint=path).raise_for_errors()
    del caught


SAVES_WHEN_IMPORTED = """
import time
from dataclasses import dataclass
from processes import Process, Task, results_of

@dataclass
class Step:
    number: int

def first():
    return Step(1)

def following(step):
    return Step(step.number + 1)

def chain(name):
    tasks = [Task(f"{name}-1", first)]
    for n in range(2, 20):
        tasks.append(Task(f"{name}-{n}", following, dependencies=results_of(f"{name}-{n - 1}")))
    return tasks

print(Process(chain("alone")).run(runner="thread", checkpoint="alone.ckpt").results["alone-19"])
kept = Task("kept", time.sleep, args=(0.1,), runner="sequential", priority=1)  # has the run's own thread
print(Process([*chain("beside"), kept]).run(runner="thread", checkpoint="beside.ckpt").results["beside-19"])
"""


def test_a_module_that_is_imported_may_save_objects_of_its_own_classes(tmp_path):
    (tmp_path / "steps.py").write_text(SAVES_WHEN_IMPORTED)
    output = output_of([sys.executable, "-c", "import steps"], 30, cwd=tmp_path)
    assert output == "Step(number=19)\n" * 2


def test_without_a_checkpoint_nothing_of_it_is_imported():
    program = (
        "import sys\n"
        "from processes import Process, Task\n"
        "Process([Task('a', abs, args=(-1,))]).run()\n"
        "print([name for name in sys.modules if 'checkpoint' in name or 'fingerprint' in name])"
    )
    assert output_of([sys.executable, "-c", program]) == "[]\n"


# Programs that are killed

KILLED = """
import os, sys
from processes import Process, Task, TaskDependency

def note(name, *needed):
    with open("ran", "a") as file:
        file.write(name + "\\n")
    if name == os.environ.get("STOP_AT"):
        print("there", flush=True)
        while True:
            sys.stdin.read(1)
    return [name, *needed]

def passed(name):
    return TaskDependency(name, use_result_as_additional_args=True)

tasks = [Task("t0", note, args=("t0",))]
tasks += [Task(f"t{n}", note, args=(f"t{n}",), dependencies=[passed(f"t{n - 1}")]) for n in range(1, 6)]
try:
    report = Process(tasks).run(runner=sys.argv[1], checkpoint="run.ckpt")
except KeyboardInterrupt:
    sys.exit("interrupted")
print(report.results["t5"])
print(len(report.from_checkpoint))
"""


needs_sigint = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")


@pytest.mark.parametrize(
    ("runner", "how"),
    [
        ("sequential", "SIGTERM"),
        pytest.param("sequential", "SIGINT", marks=needs_sigint),
        pytest.param("process", "SIGINT", marks=needs_sigint),
        ("process", "SIGKILL"),
    ],
)
def test_a_program_that_was_killed_goes_on_where_it_was(runner, how, tmp_path):
    import signal

    (tmp_path / "script.py").write_text(KILLED)
    command = [sys.executable, "script.py", runner]
    pipes: dict[str, Any] = {
        "cwd": tmp_path,
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    environment = os.environ | {"STOP_AT": "t3"}
    if runner == "process":  # a worker has no input of its own
        script = KILLED.replace("sys.stdin.read(1)", "__import__('time').sleep(60)")
        (tmp_path / "script.py").write_text(script)
    with started(command, env=environment, **pipes) as program:
        assert program.stdout.readline() == "there\n"
        for _ in range(60):  # Python hears one that comes just before it begins to read when it has read
            program.send_signal(getattr(signal, how, signal.SIGTERM))  # which kills on Windows, as SIGKILL
            with suppress(subprocess.TimeoutExpired):
                program.wait(timeout=2)
                break
        assert program.returncode
    assert (tmp_path / "ran").read_text().split() == ["t0", "t1", "t2", "t3"]
    with started(command, **pipes) as program:
        output, errors = program.communicate(timeout=120)
    assert errors == ""
    nested: list[Any] = ["t0"]
    for number in range(1, 6):
        nested = [f"t{number}", nested]
    assert output.splitlines() == [repr(nested), "3"]
    assert (tmp_path / "ran").read_text().split() == ["t0", "t1", "t2", "t3", "t3", "t4", "t5"]


def test_two_programs_cannot_have_one_file_at_a_time(tmp_path):
    (tmp_path / "script.py").write_text(KILLED)
    command = [sys.executable, "script.py", "sequential"]
    environment = os.environ | {"STOP_AT": "t3"}
    pipes: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.PIPE, "text": True}
    with started(command, env=environment, stdin=subprocess.PIPE, **pipes) as program:
        assert program.stdout.readline() == "there\n"
        second = ended(command, cwd=tmp_path)
        assert second.returncode == 1
        assert "BlockingIOError" in second.stderr
        assert "another run has this checkpoint" in second.stderr
    assert (tmp_path / "ran").read_text().split() == ["t0", "t1", "t2", "t3"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12 on
def test_a_run_that_has_ended_keeps_no_lock_though_a_fork_of_the_program_lives(make, tmp_path):
    import signal

    path = tmp_path / "run.ckpt"
    pids: list[int] = []
    reached, stop = os.pipe()

    def fork() -> None:
        pid = os.fork()
        if not pid:
            os.read(reached, 1)
            os._exit(0)
        pids.append(pid)

    try:
        Process([Task("fork", fork)]).run(runner="sequential", checkpoint=path).raise_for_errors()
        Process([make("a")]).run(checkpoint=path).raise_for_errors()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(reached)
        os.close(stop)
