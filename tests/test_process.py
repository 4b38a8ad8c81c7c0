"""Process: what it refuses, and how its graph is changed."""

from __future__ import annotations

import gc
import pickle
import re
import time
import weakref
from inspect import signature
from typing import Any

import pytest

from processes import (
    CircularDependencyError,
    DependencyNotFoundError,
    Process,
    ProcessPoolRunner,
    ReportContent,
    SlackChannel,
    SMTPConfig,
    Task,
    TaskDependency,
    TaskNotFoundError,
    ThreadRunner,
    WebhookConfig,
    results_of,
)


def needs(process: Process) -> dict[str, list[str]]:
    return {task.name: [need.task_name for need in task.dependencies] for task in process.tasks}


def test_a_new_dependency_is_one_tasks_alone_though_others_were_made_with_the_same_list():
    behind = [TaskDependency("make", use_result_as_additional_args=True)]
    uses = [Task(f"use-{number}", lambda *data: data, dependencies=behind) for number in range(3)]
    process = Process([Task("make", lambda: 1), Task("extra", lambda: 5), *uses])
    process.add_task_dependency("use-0", TaskDependency("extra", use_result_as_additional_args=True))
    process.add_task_dependency("USE-0", TaskDependency("use-1"))
    assert behind == [TaskDependency("make")]
    assert needs(process) == {
        "make": [],
        "extra": [],
        "use-1": ["make"],
        "use-0": ["make", "extra", "use-1"],
        "use-2": ["make"],
    }
    assert process.run().results == {"make": 1, "extra": 5, "use-0": (1, 5), "use-1": (1,), "use-2": (1,)}


@pytest.mark.parametrize(
    ("need", "error"),
    [("use", CircularDependencyError), ("other", DependencyNotFoundError), ("make", ValueError)],
)
def test_a_dependency_that_is_refused_leaves_the_task_as_it_was(need, error):
    behind = [TaskDependency("make")]
    process = Process([Task("make", int), Task("use", int, dependencies=behind)])
    with pytest.raises(error):
        process.add_task_dependency("use", TaskDependency(need))
    assert process.get_task("use").dependencies is behind
    assert needs(process) == {"make": [], "use": ["make"]}


async def watch_later(event: object) -> None:
    """To call it does nothing."""


class WatchesLater:
    async def __call__(self, event: object) -> None:
        """To call it does nothing."""


def watch_in_turn(event):
    yield event


class WatchesInTurn:
    def __call__(self, event):
        yield event


def same_name(name: str) -> Any:
    """Make an object whose class is called as a builtin one is."""
    return type(name, (), {"__module__": "numpy"})()


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda: Process((Task("a", int), Task("b", int))),
            "tasks must be list, not tuple: write Process(list(tasks))",
        ),
        (
            lambda: Process(Task(name, int) for name in "ab"),
            "tasks must be list, not generator: write Process(list(tasks))",
        ),
        (
            lambda: Process({"a": Task("a", int)}),
            "tasks must be list, not dict: write Process(list(tasks.values()))",
        ),
        (lambda: Process(Task("a", int)), "tasks must be list, not Task: write Process([…])"),
        (
            lambda: Process("shop", [Task("a", int)]),
            "tasks must be list, not str: write Process([…], 'shop')",
        ),
        (
            lambda: Process([], ThreadRunner(2)),
            "name must be str, not ThreadRunner: write Process([…], runner=ThreadRunner(…))",
        ),
        (
            lambda: Process([abs]),
            "tasks must be Task objects, not <built-in function abs>: write Task('name', function)",
        ),
        (
            lambda: Process([[Task("a", abs)]]),
            "tasks must be Task objects, not [Task(name='a', func=abs, dependencies=[])]: "
            "take the tasks out of it, as in [*tasks, other]",
        ),
        (
            lambda: Process([]).add_task([Task("a", abs)]),
            "tasks must be Task objects, not [Task(name='a', func=abs, dependencies=[])]: "
            "add what is in it one by one",
        ),
        (
            lambda: Process([Task("a", abs)]).add_task_dependency("a", results_of("b")),
            "dependency must be of type TaskDependency, not [TaskDependency('b', True, False, '')]: "
            "results_of makes a list: add what is in it one by one",
        ),
        (lambda: Process([], 5), "name must be str, not 5"),
        (
            lambda: Process([]).run(runner=dict),
            "runner must be str or ProcessRunner, not <class 'dict'>: "
            "write 'thread', ThreadRunner(8), ExecutorRunner(executor) or DaskRunner(client)",
        ),
        (
            lambda: Process([]).run(observers=print),
            "observers must be a list of callables, not <built-in function print>: write observers=[…]",
        ),
        (
            lambda: Process([]).run(observers=[watch_later]),
            "observer watch_later is a coroutine function, which nobody awaits: make it a plain one, "
            "which may call asyncio.run",
        ),
        (
            lambda: Process([]).run(observers=[WatchesLater()]),
            "observer WatchesLater is a coroutine function, which nobody awaits: make it a plain one, "
            "which may call asyncio.run",
        ),
        (
            lambda: Process([]).run(observers=[watch_in_turn]),
            "observer watch_in_turn is a generator function, of which nothing runs: make it a plain one, "
            "without yield",
        ),
        (
            lambda: Process([]).run(observers=[WatchesInTurn()]),
            "observer WatchesInTurn is a generator function, of which nothing runs: make it a plain one, "
            "without yield",
        ),
        (
            lambda: Process([]).run(notify=print),
            "notify must be a list of channels, not <built-in function print>: write notify=[…]",
        ),
        (
            lambda: Process([]).run(notify="https://localhost"),
            "notify must be a list of channels, not 'https://localhost': write notify=[…]",
        ),
        (
            lambda: Process([]).run("process"),
            "parallel must be bool or None, not 'process'; write runner='process'",
        ),
        (
            lambda: Process([]).run(4),
            "parallel must be bool or None, not 4; write parallel=True, max_workers=4",
        ),
        (
            lambda: Process([]).run([Task("a", int)]),
            "parallel must be bool or None, not [Task(name='a', func=int, dependencies=[])]; "
            "tasks belong to a Process: write Process([…]).run()",
        ),
        (
            lambda: Task("a", abs, (1,)),
            "log_path must be str, os.PathLike or None, not tuple: arguments of the function are args=(…)",
        ),
        (lambda: Task("a", int, keep_result=same_name("bool")), "keep_result must be bool, not numpy.bool"),
        (
            lambda: TaskDependency("a", same_name("bool")),
            "use_result_as_additional_args must be bool, not numpy.bool",
        ),
        (
            lambda: Task("a", int, retries=same_name("int64")),
            "retries must be a non-negative int, not int64",
        ),
    ],
)
def test_an_error_names_the_parameter_and_says_what_was_meant(give, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        give()
    assert str(caught.value) == message


class Unshowable:
    def __repr__(self) -> str:
        raise LookupError


LONG = "x y" * 100_000


@pytest.mark.parametrize(
    "give",
    [
        Process,
        lambda value: Process([value]),
        lambda value: Process([], runner=value),
        *(
            lambda value, name=name: Process([]).run(**{name: value})
            for name in ("parallel", "runner", "progress", "fail_fast", "durations", "notify_on")
        ),
        lambda value: Process([]).run(observers=[value]),
        lambda value: Process([]).run(notify=[value]),
        lambda value: Process([]).run(durations={"a": value}),
        lambda value: Process([]).run(max_workers=value if type(value) is not int else LONG),
        lambda value: Process([]).add_task(value),
        lambda value: Process([Task("a", int)]).add_task_dependency("a", value),
        lambda value: Process([]).get_task(value if type(value) is not str else 0),
        lambda value: Process([]).run().notify(tasks=value if type(value) is not list else LONG),
        lambda value: Task(value if type(value) is str else LONG, int),
        lambda value: Task("a", int, retry_on=value),
        lambda value: Task("a", int, timeout=value),
        lambda value: Task("a", int, retries=value),
        lambda value: Task("a", int, retry_delay=value),
        lambda value: Task("a", int, resources={"a": value}),
        lambda value: TaskDependency("a", False, True, value),
        lambda value: ThreadRunner(value),
        lambda value: ProcessPoolRunner(initializer=value),
        lambda value: ReportContent(redact=value),
        lambda value: WebhookConfig("https://localhost", timeout=value),
        lambda value: SMTPConfig(value, "me@example.org", ["you@example.org"]),
        lambda value: SlackChannel("https://localhost", content=value),
    ],
)
def test_an_error_about_an_argument_shows_only_the_start_of_a_large_one(give):
    for value in (list(range(100_000)), LONG, -(10**10_000), Unshowable()):
        with pytest.raises((TypeError, ValueError)) as caught:
            give(value)
        assert 10 < len(str(caught.value)) < 600, type(value)


def passes(name: str, keyword: str) -> TaskDependency:
    return TaskDependency(name, use_result_as_additional_kwargs=True, additional_kwarg_name=keyword)


@pytest.mark.parametrize(
    ("kwargs", "keyword", "twice"),
    [
        ({"price": 7}, "price", "from its own kwargs and as the result of 'net'"),
        ({}, "tax", "from the result of 'net' and as the result of 'tax'"),
    ],
)
def test_two_values_for_one_keyword_are_refused_when_the_task_is_made_and_when_it_is_changed(
    kwargs, keyword, twice
):
    both = [passes("net", keyword), passes("tax", "tax")]
    message = (
        f"Task 'total' gets the keyword argument {keyword!r} twice: {twice}; give one of them another name"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Task("total", print, kwargs=kwargs, dependencies=both)
    # The same of a task that is changed before its process is made, and by its process.
    total = Task("total", print)
    total.kwargs, total.dependencies = kwargs, both
    with pytest.raises(ValueError, match=re.escape(message)):
        Process([Task("net", int), Task("tax", int), total])
    total.dependencies = both[:1] if not kwargs else []
    process = Process([Task("net", int), Task("tax", int), total])
    with pytest.raises(ValueError, match=re.escape(message)):
        process.add_task_dependency("total", both[0] if kwargs else both[1])


def test_a_keyword_without_its_switch_passes_nothing_and_disturbs_nobody():
    dependencies = [passes("net", "price"), TaskDependency("tax", additional_kwarg_name="price")]
    tasks = [Task("net", lambda: 1), Task("tax", lambda: 2), Task("all", dict, dependencies=dependencies)]
    assert Process(tasks).run().results["all"] == {"price": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda tasks: tasks.append(Task("new", int)),
        lambda tasks: tasks.pop(),
        lambda tasks: tasks.reverse(),
        lambda tasks: tasks.__setitem__(0, Task("load", int)),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda process: process.run(),
        lambda process: process.stream(),
        lambda process: process.add_task(Task("more", int)),
        lambda process: process.remove_task("save"),
        lambda process: process.add_task_dependency("save", TaskDependency("load")),
    ],
)
def test_a_process_whose_list_of_tasks_was_changed_says_how_to_change_it(change, use):
    process = Process([Task("load", int), Task("save", int)], "shop")
    before = list(process.tasks)
    change(process.tasks)
    message = (
        "The list of tasks of <Process 'shop': 2 tasks> was changed, which does not change the process: "
        "use add_task and remove_task, or make a new Process of the list"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        use(process)
    assert set(Process(process.tasks).run().entries) == {task.name for task in process.tasks}
    process.tasks[:] = before
    assert list(process.run().results) == ["load", "save"]


def test_processes_made_of_one_list_do_not_see_each_others_changes():
    tasks = [Task("save", int, dependencies=[TaskDependency("load")]), Task("load", int)]
    one, other = Process(tasks), Process(tasks)
    assert [task.name for task in tasks] == ["load", "save"]
    one.add_task(Task("new", int))
    other.remove_task("save")
    assert [task.name for task in tasks] == ["load", "save"]
    assert list(one.run().results) == ["load", "save", "new"]
    assert list(other.run().results) == ["load"]


def test_a_process_may_be_made_task_by_task_however_many_there_are():
    process = Process([])
    began = time.monotonic()
    for number in range(20_000):
        try:
            process.get_task(f"t{number}")
        except TaskNotFoundError:
            process.add_task(Task(f"t{number}", abs, args=(number,)))
        if number:
            process.add_task_dependency(f"t{number}", TaskDependency(f"t{number // 2}"))
        assert process.get_task(f"T{number}").name == f"t{number}"
    # Some 0.2 s; where each step looks at all tasks, it is minutes.
    assert time.monotonic() - began < 60
    assert [task.name for task in process.get_dependant_tasks("t9000")] == ["t18000", "t18001"]


@pytest.mark.parametrize("numbers", [range(1, 5_000), range(4_999, 0, -1)], ids=["up", "down"])
def test_tasks_may_get_dependencies_that_come_after_them_however_many_there_are(numbers):
    process = Process([Task(f"t{number}", int) for number in range(5_000)])
    began = time.monotonic()
    for number in numbers:
        process.add_task_dependency(f"t{number - 1}", TaskDependency(f"t{number}"))
    for number in numbers:
        if number > 1:  # below each there is a long chain by now, which is not followed time and again
            process.add_task_dependency(f"t{number - 2}", TaskDependency(f"t{number}"))
    # Some 0.2 s; where each step puts all tasks in order, it is a minute.
    assert time.monotonic() - began < 20
    with pytest.raises(CircularDependencyError):
        process.add_task_dependency("t4999", TaskDependency("t0"))
    with pytest.raises(ValueError, match="'t4999' cannot be removed: it is needed by 't4998', 't4997';"):
        process.remove_task("t4999")
    assert [task.name for task in process.tasks] == [f"t{number}" for number in range(4_999, -1, -1)]


def test_tasks_are_removed_one_by_one_however_many_there_are():
    chain = [Task("t0", int)]
    chain += [Task(f"t{at}", int, dependencies=[TaskDependency(f"t{at - 1}")]) for at in range(1, 20_000)]
    process = Process(chain)
    began = time.monotonic()
    for at in range(19_999, 1, -1):
        process.remove_task(f"T{at}")
        assert repr(process).endswith(f": {at} tasks>")
    # Some 0.05 s; where each step looks at all tasks, it is minutes.
    assert time.monotonic() - began < 60
    assert needs(process) == {"t0": [], "t1": ["t0"]}


def test_a_task_that_was_removed_is_let_go_of_at_once():
    process = Process([Task("a", int)])
    large = {1, 2, 3}
    gone = weakref.ref(large)
    process.add_task(Task("b", len, args=(large,)))
    del large
    process.remove_task("b")
    gc.collect()  # a task and its logger refer to each other
    assert gone() is None
    process.add_task(Task("c", int, dependencies=[TaskDependency("a")]))
    assert needs(process) == {"a": [], "c": ["a"]}


@pytest.mark.parametrize("look", [lambda process: process, pickle.dumps, repr, Process.run])
def test_what_was_added_is_there_whoever_looks_first(look):
    process = Process([Task("a", int)], "shop")
    process.run()
    old = process.tasks
    process.add_task(Task("b", int, dependencies=[TaskDependency("a")]))
    look(process)
    assert [task.name for task in old] == ["a"]
    assert list(process.runner.results) == ["a", "b"]
    assert repr(process) == "<Process 'shop': 2 tasks>"
    assert process.critical_path() == ["a", "b"]
    assert list(pickle.loads(pickle.dumps(process)).run().results) == ["a", "b"]


def test_what_another_process_does_to_a_task_that_was_added_does_not_count():
    shared = Task("shared", abs, args=(-1,))
    one, other = Process([]), Process([Task("first", int), shared])
    one.add_task(shared)
    other.add_task_dependency("shared", TaskDependency("first"))
    assert one.run().results == {"shared": 1}
    assert other.run().results == {"first": 0, "shared": 1}


def test_a_run_calls_tasks_what_they_were_called_when_the_process_was_made(tmp_path):
    path = tmp_path / "log"
    task = Task("old", int, path, args=("x",), retries=1, retry_on=(ValueError,))
    process = Process([task])
    task.name = "new"  # for another process
    seen = []
    report = process.run(observers=[seen.append])
    assert [event.name for event in seen[1:-1]] == ["old"] * 4
    assert report.entries["old"].error.task_name == "old"
    stories = ("Starting old.", "Attempt 1 of old failed", "Failed old")
    assert [path.read_text().count(story) for story in stories] == [1, 1, 1]


def test_a_task_on_which_others_depend_is_not_removed(tmp_path):
    load = Task("load", int, tmp_path / "log")
    both = [Task(name, int, dependencies=[TaskDependency("load")]) for name in ("save", "send")]
    process = Process([load, *both])
    message = "Task 'load' cannot be removed: it is needed by 'save', 'send'; remove what needs it first"
    with pytest.raises(ValueError, match=re.escape(message)):
        process.remove_task("Load")
    assert needs(process) == {"load": [], "save": ["load"], "send": ["load"]}
    assert load.logger.handlers
    for name in ("save", "send", "Load"):
        process.remove_task(name)
    assert needs(process) == {}
    assert not load.logger.handlers


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"observers": [print, 3]}, TypeError, "an observer must be callable with an event, not 3"),
        ({}, ValueError, "Task 'two' needs 2 of the resource 'db', and the run has 0; pass run(resources="),
        ({"resources": {"db": 1}}, ValueError, "needs 2 of the resource 'db', and the run has 1;"),
        ({"resources": {"gpu": 2}}, ValueError, "needs 2 of the resource 'db', and the run has 0;"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_begins(runner, options, error, message):
    done = []
    process = Process([Task("one", done.append, args=(1,)), Task("two", int, resources={"db": 2})])
    with pytest.raises(error, match=re.escape(message)):
        process.run(runner=runner, **options)
    assert done == []


def test_a_stream_takes_what_a_run_takes():
    run, stream = (signature(method).parameters for method in (Process.run, Process.stream))
    assert [*stream.values()] == [*run.values()]
