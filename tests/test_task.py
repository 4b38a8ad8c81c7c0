"""Task: what it takes, what it refuses, and what it costs."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import math
import operator
import os
import pickle
import sys
import tracemalloc
import types
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from programs import output_of

from processes.exceptions import CircularDependencyError, DependencyNotFoundError, TaskNotFoundError
from processes.process import Process
from processes.reprs import brief_repr
from processes.retry import exponential_backoff
from processes.runners import RUNNERS
from processes.runners.sequential import SequentialRunner
from processes.task import Task, check_resources, function_name
from processes.task_types import TaskDependency, TaskStatus, results_of


def work() -> int:
    return 42


class Doubler:
    def __call__(self, number: int) -> int:
        return 2 * number

    def method(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...


def test_a_task_has_defaults_for_all_but_name_and_function():
    task = Task("load", work)
    expected = {
        "name": "load",
        "func": work,
        "log_path": None,
        "args": (),
        "kwargs": {},
        "dependencies": [],
        "traced_vars_frame_filter": None,
        "timeout": None,
        "retries": 0,
        "retry_on": None,
        "retry_delay": 0.0,
        "runner": None,
        "priority": 0,
        "resources": {},
        "keep_result": True,
    }
    assert {name: getattr(task, name) for name in expected} == expected


def test_a_task_keeps_what_it_is_given(tmp_path):
    kwargs, dependencies, resources = {"a": 1}, [TaskDependency("other")], {"db": 1, "gpu": 0.5}
    runner = SequentialRunner()
    path = str(tmp_path / "task.log")
    task = Task(
        "load",
        work,
        path,
        (1, 2),
        kwargs,
        dependencies,
        "etl.py",
        1.5,
        3,
        (OSError, KeyError),
        retry_delay=abs,
        runner=runner,
        priority=-2,
        resources=resources,
        keep_result=False,
    )
    assert task.kwargs is kwargs
    assert task.dependencies is dependencies
    assert task.resources is resources
    assert task.runner is runner
    assert (task.log_path, task.args, task.traced_vars_frame_filter) == (path, (1, 2), "etl.py")
    assert (task.timeout, task.retries, task.retry_on) == (1.5, 3, (OSError, KeyError))
    assert (task.retry_delay, task.priority, task.keep_result) == (abs, -2, False)


def test_tasks_share_no_default():
    one, two = Task("one", work), Task("two", work)
    for name in ("kwargs", "dependencies", "resources"):
        assert getattr(one, name) is not getattr(two, name)


def test_a_name_is_kept_in_lower_case_until_it_is_changed():
    task = Task("LOAD_Ünits.v2", work)
    assert task.name == "load_ünits.v2"
    task.name = "Other"
    assert task.name == "Other"


def test_retries_none_means_none_at_all():
    assert Task("a", work, retries=None).retries == 0


WRONG_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": 3}, TypeError, "name must be str, not int"),
    ({"name": None}, TypeError, "name must be str, not NoneType"),
    (
        {"name": abs},
        TypeError,
        "name must be str, not builtin_function_or_method: write Task('name', function)",
    ),
    ({"name": b"a"}, TypeError, "name must be str, not bytes"),
    ({"name": ""}, ValueError, "Task name cannot be empty"),
    *(
        (
            {"name": value},
            ValueError,
            f"Task name cannot contain spaces: {value!r}; write {dashed!r}, or number the tasks where names "
            "come from data",
        )
        for dashed, values in {
            "a-b": ("a b", "a\tb", "a\u00a0b"),
            "a": (" a", "a\n"),
            "task-1": ("  ",),
        }.items()
        for value in values
    ),
    *(
        (
            {"func": value},
            TypeError,
            f"func must be callable, not {kind}: pass the function itself, without calling it",
        )
        for value, kind in [(None, "NoneType"), ("work", "str"), (42, "int")]
    ),
    ({"args": [1]}, TypeError, "args must be tuple, not list: write args=(value,)"),
    ({"args": "abc"}, TypeError, "args must be tuple, not str: write args=(value,)"),
    ({"args": None}, TypeError, "args must be tuple, not NoneType: write args=(value,)"),
    ({"kwargs": [("a", 1)]}, TypeError, "kwargs must be dict, not list: write kwargs={'name': value}"),
    ({"kwargs": {1: 2}}, TypeError, "kwargs must be dict with str keys, not 1"),
    (
        {"dependencies": (TaskDependency("b"),)},
        TypeError,
        "dependencies must be list, not tuple (task 'a'): write dependencies=[…]",
    ),
    *(
        (
            {"dependencies": wrong},
            TypeError,
            f"dependencies must be list, not {type(wrong).__name__} (task 'a'): {hint}",
        )
        for wrong, hint in [
            ("b", "write results_of('b') to get its result, or [TaskDependency('b')] to get none"),
            (
                Task("b", int),
                "write results_of('b') to get its result, or [TaskDependency('b')] to get none",
            ),
            (
                (results_of("b"),),
                "results_of makes a list, so write dependencies=results_of('load')",
            ),
            ({"rate": "b"}, "write dependencies=results_of(rate='daily-rate')"),
        ]
    ),
    (
        {"dependencies": TaskDependency("b")},
        TypeError,
        "dependencies must be list, not TaskDependency (task 'a'): write dependencies=[…]",
    ),
    (
        {"dependencies": [TaskDependency("b"), "c"]},
        TypeError,
        "dependency must be of type TaskDependency, not str (task 'a'): write *results_of('c') to get "
        "its result, or TaskDependency('c') to get none",
    ),
    (
        {"dependencies": [Task("c", int)]},
        TypeError,
        "dependency must be of type TaskDependency, not Task (task 'a'): write *results_of('c') to get "
        "its result, or TaskDependency('c') to get none",
    ),
    (
        {"dependencies": [None]},
        TypeError,
        "dependency must be of type TaskDependency, not NoneType (task 'a'): name the task, as in "
        "TaskDependency('load')",
    ),
    (
        {"args": results_of("b")},
        TypeError,
        "args must be tuple, not list: write dependencies=results_of('load')",
    ),
    (
        {"kwargs": results_of(rate="b")},
        TypeError,
        "kwargs must be dict, not list: write dependencies=results_of('load')",
    ),
    *(
        (
            {"log_path": wrong},
            TypeError,
            f"log_path must be str, os.PathLike or None, not {type(wrong).__name__}: "
            "arguments of the function are args=(…)",
        )
        for wrong in (3, b"a", True, [1])
    ),
    (
        {"log_path": results_of("b")},
        TypeError,
        "log_path must be str, os.PathLike or None, not list: "
        "dependencies are dependencies=results_of('load')",
    ),
    (
        {"log_path": {"rate": 1}},
        TypeError,
        "log_path must be str, os.PathLike or None, not dict: "
        "keyword arguments of the function are kwargs={…}",
    ),
    (
        {"dependencies": [TaskDependency("b"), TaskDependency("c"), TaskDependency("B", True)]},
        ValueError,
        "Duplicate dependency name: b (task 'a'); name each dependency once (case does not count)",
    ),
    (
        {"dependencies": [TaskDependency("A")]},
        CircularDependencyError,
        "Task 'a' lists itself as a dependency.",
    ),
    (
        {"traced_vars_frame_filter": 3},
        TypeError,
        "traced_vars_frame_filter must be a str or None, not int",
    ),
    *(
        (
            {"timeout": value},
            TypeError,
            f"timeout must be a positive number of seconds or None, not {kind}",
        )
        for value, kind in [("1", "str"), (True, "bool"), ([1], "list"), (1j, "complex")]
    ),
    *(
        (
            {"timeout": value},
            ValueError,
            f"timeout must be a positive number, not {brief_repr(value)}; None means no limit",
        )
        for value in (0, 0.0, -1, -0.5, math.nan, math.inf, 10**400)
    ),
    *(
        ({"retries": value}, TypeError, f"retries must be a non-negative int, not {kind}")
        for value, kind in [("3", "str"), (1.0, "float"), (0.0, "float"), (True, "bool"), (False, "bool")]
    ),
    ({"retries": -1}, ValueError, "retries must be a non-negative int, not -1"),
    *(
        (
            {"retry_on": value},
            TypeError,
            "retry_on must be None or a tuple of Exception subclasses, as in (OSError,), "
            f"not {brief_repr(value)}",
        )
        for value in (
            OSError,
            [OSError],
            (OSError, "KeyError"),
            (OSError, 3),
            (KeyboardInterrupt,),
            (OSError(),),
            (int,),
            "OSError",
        )
    ),
    *(
        (
            {"retry_delay": value},
            TypeError,
            f"retry_delay must be a number of seconds or a callable, not {kind}",
        )
        for value, kind in [("1", "str"), (None, "NoneType"), (True, "bool"), (False, "bool")]
    ),
    (
        {"retry_delay": [1, 10]},
        TypeError,
        "retry_delay must be a number of seconds or a callable, not list: "
        "write lambda attempt: delays[attempt - 1]",
    ),
    (
        {"timeout": timedelta(seconds=5)},
        TypeError,
        "timeout must be a positive number of seconds or None, not timedelta: write delta.total_seconds()",
    ),
    (
        {"retry_delay": timedelta(seconds=5)},
        TypeError,
        "retry_delay must be a number of seconds or a callable, not timedelta: write delta.total_seconds()",
    ),
    (
        {"retry_delay": exponential_backoff},
        TypeError,
        "exponential_backoff makes a retry_delay, and is none: write exponential_backoff(1)",
    ),
    *(
        (
            {"retry_delay": value},
            ValueError,
            f"retry_delay must be a non-negative number of seconds, not {brief_repr(value)}",
        )
        for value in (-1, -0.5, math.nan, math.inf, 10**400)
    ),
    *(
        ({"priority": value}, TypeError, f"priority must be int, not {kind}")
        for value, kind in [("1", "str"), (1.0, "float"), (True, "bool"), (None, "NoneType")]
    ),
    (
        {"resources": ["db"]},
        TypeError,
        "resources must be a mapping, not list: write resources={'name': amount}",
    ),
    ({"resources": {1: 1}}, TypeError, "resources must have str keys, not 1"),
    *(
        (
            {"resources": {"db": value}},
            TypeError,
            f"resources['db'] must be a positive number, not {kind}",
        )
        for value, kind in [("1", "str"), (None, "NoneType"), (True, "bool")]
    ),
    *(
        (
            {"resources": {"db": value}},
            ValueError,
            f"resources['db'] must be a positive number, not {brief_repr(value)}",
        )
        for value in (0, -1, -0.5, math.nan, math.inf)
    ),
    *(
        ({"keep_result": value}, TypeError, f"keep_result must be bool, not {kind}")
        for value, kind in [(1, "int"), (None, "NoneType"), ("no", "str")]
    ),
]


def refusal(arguments):
    """Give the error that a task with these arguments is, as its type and text; None if it is made."""
    try:
        Task(**{"name": "a", "func": work, **arguments})
    except Exception as error:
        return type(error), str(error)
    return None


def test_a_wrong_argument_is_refused_at_construction():
    for arguments, error, message in WRONG_ARGUMENTS:
        assert refusal(arguments) == (error, message), arguments


def test_what_an_attribute_was_changed_to_is_refused_before_anything_runs():
    called = []
    for arguments, kind, message in WRONG_ARGUMENTS:
        if not arguments.keys().isdisjoint({"name", "dependencies"}):
            continue  # these are read when a process is made
        task = Task("a", work)
        process = Process([Task("first", called.append, args=(1,)), task])
        for name, value in arguments.items():
            setattr(task, name, value)
        for run in (process.run, process.stream, task.run):
            with pytest.raises(kind) as caught:
                run()
            assert str(caught.value) == message
            assert getattr(caught.value, "__notes__", []) == (
                [] if run == task.run else ["An attribute of task 'a' was changed to this."]
            )
    assert not called


@pytest.mark.parametrize("timeout", [1, 0.001, 3600, 1e300])
def test_a_time_limit_is_any_positive_number(timeout):
    assert Task("a", work, timeout=timeout).timeout == timeout


@pytest.mark.parametrize("retry_delay", [0, 0.0, 2, 0.5, lambda attempt: attempt])
def test_a_retry_delay_is_a_number_or_a_callable(retry_delay):
    assert Task("a", work, retry_delay=retry_delay).retry_delay is retry_delay


def test_an_empty_retry_on_is_allowed():
    assert Task("a", work, retry_on=()).retry_on == ()


@pytest.mark.parametrize("name", RUNNERS)
def test_each_runner_can_be_named(name):
    assert Task("a", work, runner=name).runner == name


def test_an_unknown_runner_is_a_value_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="'threads'.*'sequential'.*'thread'.*'process'"):
        Task("a", work, runner="threads")


@pytest.mark.parametrize("runner", [3, SequentialRunner, ["thread"], True])
def test_what_is_no_runner_is_a_type_error(runner):
    with pytest.raises(TypeError, match="runner must be str or ProcessRunner"):
        Task("a", work, runner=runner)


def test_resources_are_any_mapping():
    resources = types.MappingProxyType({"db": 1})
    report = Process([Task("a", work, resources=resources)]).run(resources=resources)
    assert report.results == {"a": 42}


def test_no_resources_are_an_empty_dict():
    assert check_resources(None) == {}


def test_a_refused_task_leaves_no_log_file(tmp_path):
    with pytest.raises(TypeError):
        Task("a", work, tmp_path / "task.log", keep_result=None)
    assert list(tmp_path.iterdir()) == []


def test_dependency_names_are_a_set_in_lower_case():
    task = Task("a", work, dependencies=[TaskDependency("b"), TaskDependency("c")])
    task.dependencies[0].task_name = "B2"
    assert task.get_dependencies_names() == {"b2", "c"}


def test_a_task_shows_its_name_its_function_and_its_dependencies():
    task = Task("A", functools.partial(work), dependencies=[TaskDependency("b")])
    assert repr(task) == "Task(name='a', func=work, dependencies=['b'])"


def test_a_task_runs_alone():
    result = Task("a", work).run()
    assert (result.status, result.result, result.attempts) == (TaskStatus.SUCCESS, 42, 1)


def test_a_task_that_runs_alone_has_all_resources_and_the_name_that_it_was_given_last():
    task = Task("a", work, resources={"database": 1})
    task.name = "Renamed"
    assert task.run().worked


def test_a_task_without_its_process_or_its_dependencies_fails_before_any_attempt():
    needy = Task("needy", work, dependencies=[TaskDependency("source", True)])
    below = Task("below", work, dependencies=[TaskDependency("needy")])
    process = Process([Task("source", work), needy, below])
    for result, error, impact in (
        (needy.run(), DependencyNotFoundError, []),
        (needy.run(process), DependencyNotFoundError, ["below"]),
        (Task("other", work).run(process), TaskNotFoundError, []),
    ):
        assert (result.status, result.attempts) == (TaskStatus.ERRORED, 0)
        assert type(result.exception) is error
        assert result.error_data.downstream_impact == impact
        assert result.error_data.exception == str(result.exception)
        # No frame of this library stands in what a user reads.
        assert 'File "' not in result.error_data.traceback_str
        assert (result.error_data.traced_vars, result.error_data.traced_vars_location) == ({}, "")
    process.run()
    assert needy.run(process).attempts == 1


def test_a_task_that_runs_alone_gets_the_results_of_its_dependencies_whatever_the_case_of_their_names():
    needy = Task("needy", abs, dependencies=[TaskDependency("source", True)])
    process = Process([Task("source", work), needy])
    process.run()
    needy.dependencies[0].task_name = "SOURCE"
    assert needy.run(process).result == 42


def test_a_task_that_runs_alone_says_that_a_result_that_it_needs_was_not_kept():
    tasks = [
        Task("source", work, keep_result=False),
        Task("needy", abs, dependencies=[TaskDependency("source", True)]),
        Task("waits", work, dependencies=[TaskDependency("source")]),
    ]
    process = Process(tasks)
    process.run()
    assert tasks[2].run(process).result == 42
    result = tasks[1].run(process)
    assert (type(result.exception), result.attempts) == (DependencyNotFoundError, 0)
    assert str(result.exception) == (
        "Task 'needy' needs the result of 'source', which was not kept; give 'source' keep_result=True"
    )


def test_a_task_refuses_to_run_in_what_is_no_process():
    with pytest.raises(TypeError, match="executing_process must be Process or None, not str"):
        Task("a", work).run("process")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda task: pickle.loads(pickle.dumps(task))]
)
@pytest.mark.parametrize("folder", ["", "here"])
def test_a_task_is_copied_and_pickled_without_its_logger(duplicate, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "task.log" if not folder else Path(folder, "task.log")
    task = Task("a", work, path, (1,), {"b": 2}, [TaskDependency("c")], timeout=5)
    task.logger.addHandler(logging.StreamHandler())
    twin = duplicate(task)
    assert (twin.name, twin.func, twin.args, twin.kwargs) == ("a", work, (1,), {"b": 2})
    assert (twin.dependencies, twin.timeout) == (task.dependencies, 5)
    monkeypatch.chdir("/")
    assert twin.logger is not task.logger
    assert twin.log_path == path
    assert [one.baseFilename for one in twin.logger.handlers] == [str(tmp_path / path)]
    task.close_handlers()


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (work, "work"),
        (lambda: None, "<lambda>"),
        (functools.partial(work), "work"),
        (functools.partial(functools.partial(work)), "work"),
        (functools.partial(Doubler()), "Doubler"),
        (Doubler(), "Doubler"),
        (Doubler, "Doubler"),
        (Doubler().method, "method"),
        (Doubler.of_class, "of_class"),
        (len, "len"),
        ([].append, "append"),
        (math.sin, "sin"),
        (functools.lru_cache(work), "work"),
        (operator.itemgetter(1), "itemgetter"),
    ],
)
def test_a_function_has_the_best_name_there_is(func, name):
    assert function_name(func) == name


class Nameless(type):
    __name__ = property(lambda cls: 1 / 0)


def odd(value):
    class Odd(metaclass=Nameless):
        __name__ = value

        def __call__(self): ...

    return Odd()


@pytest.mark.parametrize("value", [None, 3, property(lambda self: 1 / 0), type("Text", (str,), {})("x")])
def test_an_odd_name_gives_way_to_the_name_of_the_class(value):
    assert function_name(odd(value)) == "Odd"


def test_a_class_that_lies_about_its_type_has_a_name():
    class Liar:
        __class__ = property(lambda self: 1 / 0)

        def __call__(self): ...

    assert function_name(Liar()) == "Liar"
    assert "Liar" in repr(Task("a", Liar()))


def test_a_dropped_task_is_freed_at_once_and_leaves_nothing_in_logging(tmp_path):
    gc.collect()
    gc.disable()
    try:
        known = set(logging.root.manager.loggerDict)
        handlers = len(logging._handlerList)
        task = Task("dropped", work, tmp_path / "task.log", dependencies=[TaskDependency("b")])
        task.logger.info("used")
        references = [weakref.ref(thing) for thing in (task, task.logger, task.logger.handlers[0])]
        assert len(logging._handlerList) == handlers
        del task
        assert [reference() for reference in references] == [None, None, None]
        assert set(logging.root.manager.loggerDict) == known
    finally:
        gc.enable()


def test_many_dropped_tasks_leave_no_memory_behind():
    for _ in range(3):  # there may be other threads, which need some meanwhile
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tasks = [Task(f"t{number}", work) for number in range(20_000)]
            held = tracemalloc.get_traced_memory()[0] - before
            del tasks
            left = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        if left < held / 100:
            return
    pytest.fail(f"{left} of {held} bytes are left")


def test_the_values_of_the_library_import_nothing_heavy():
    code = (
        "import sys, processes.task, processes.graph, processes.execution_report, processes.comms, "
        "processes.rendering.drawing\n"
        "print(*{'rich', 'jinja2', 'click', 'numpy', 'dask', 'psutil', 'cloudpickle'} & set(sys.modules))"
    )
    assert output_of([sys.executable, "-c", code], cwd=Path.cwd()).split() == []


def test_a_relative_log_path_belongs_to_the_directory_of_the_construction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Task("a", work, os.path.join("logs", "task.log"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    task.logger.info("here")
    assert "here" in (tmp_path / "logs" / "task.log").read_text()
