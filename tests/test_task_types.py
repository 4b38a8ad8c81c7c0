"""TaskStatus, TaskResult, TaskDependency, ErrorData."""

from __future__ import annotations

import copy
import pickle

import pytest

from processes import Process, Task
from processes.error_data import ErrorData
from processes.task_types import TaskDependency, TaskResult, TaskStatus, results_of


def test_a_status_is_one_of_four_with_its_name_in_lower_case_as_value():
    assert {status.name: status.value for status in TaskStatus} == {
        "PENDING": "pending",
        "SUCCESS": "success",
        "ERRORED": "errored",
        "SKIPPED": "skipped",
    }


def test_a_result_has_the_defaults_of_a_task_that_never_ran():
    result = TaskResult(TaskStatus.PENDING, None, None)
    assert (result.error_data, result.elapsed_seconds, result.attempts) == (None, 0.0, 0)
    assert result == TaskResult.pending()


def test_results_are_made_by_how_a_task_ended():
    error, data = ValueError("boom"), ErrorData("load")
    assert TaskResult.skipped() == TaskResult(TaskStatus.SKIPPED, None, None)
    assert TaskResult.success(7, elapsed_seconds=1.5, attempts=2) == TaskResult(
        TaskStatus.SUCCESS, 7, None, None, 1.5, 2
    )
    assert TaskResult.errored(error, error_data=data, elapsed_seconds=0.5, attempts=3) == TaskResult(
        TaskStatus.ERRORED, None, error, data, 0.5, 3
    )


def test_only_a_success_has_worked():
    results = [
        TaskResult.pending(),
        TaskResult.skipped(),
        TaskResult.success(None),
        TaskResult.errored(ValueError()),
    ]
    assert [result.worked for result in results] == [False, False, True, False]


def test_a_result_shows_all_it_holds():
    assert repr(TaskResult.success(7, attempts=1)) == (
        "TaskResult(status=<TaskStatus.SUCCESS: 'success'>, result=7, exception=None, error_data=None, "
        "elapsed_seconds=0.0, attempts=1)"
    )


def test_error_data_has_the_defaults_of_an_unknown_failure():
    data = ErrorData()
    assert data == ErrorData("?", "?", (), {}, [], "", "", {}, "")
    assert data.kwargs is not ErrorData().kwargs


def test_a_dependency_passes_nothing_by_default():
    dependency = TaskDependency("load")
    assert vars(dependency) == {
        "task_name": "load",
        "use_result_as_additional_args": False,
        "use_result_as_additional_kwargs": False,
        "additional_kwarg_name": "",
    }


def test_a_dependency_keeps_its_name_in_lower_case_until_it_is_changed():
    dependency = TaskDependency("LOAD_Ünits")
    assert dependency.task_name == "load_ünits"
    dependency.task_name = "Other"
    assert dependency.task_name == "Other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "task_name must be str, not int: name the task, as in 'load'"),
        ((None,), "task_name must be str, not NoneType: name the task, as in 'load'"),
        ((b"a",), "task_name must be str, not bytes: name the task, as in 'load'"),
        (("a", 1), "use_result_as_additional_args must be bool, not int"),
        (("a", None), "use_result_as_additional_args must be bool, not NoneType"),
        (
            ("a", "data"),
            "use_result_as_additional_args must be bool, not str: "
            "write use_result_as_additional_kwargs=True, additional_kwarg_name='data'",
        ),
        (
            ("a", False, "data"),
            "use_result_as_additional_kwargs must be bool, not str: "
            "write use_result_as_additional_kwargs=True, additional_kwarg_name='data'",
        ),
        (("a", False, False, 3), "additional_kwarg_name must be str, not int"),
        (("a", False, True, None), "additional_kwarg_name must be str, not NoneType"),
        *(
            (
                ("a", False, True, name),
                "additional_kwarg_name must be the name of a keyword argument when "
                f"use_result_as_additional_kwargs is True, not {name!r} (for the result of 'a')",
            )
            for name in ("", "two words", "1st", "a-b")
        ),
    ],
)
def test_wrong_arguments_of_a_dependency_are_type_errors(arguments, message):
    with pytest.raises(TypeError) as caught:
        TaskDependency(*arguments)
    assert str(caught.value) == message


def test_dependencies_are_equal_when_they_name_the_same_task():
    assert TaskDependency("Load", True) == TaskDependency("load", False, True, "rows")
    assert TaskDependency("load") != TaskDependency("save")
    assert TaskDependency("load") != "load"
    assert {TaskDependency("load"), TaskDependency("LOAD", True)} == {TaskDependency("load")}
    assert hash(TaskDependency("load")) == hash("load")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_a_dependency_can_be_copied_and_pickled(duplicate):
    dependency = TaskDependency("load", True, True, "rows")
    assert vars(duplicate(dependency)) == vars(dependency)


def test_a_dependency_shows_how_it_was_made():
    assert repr(TaskDependency("load", False, True, "rows")) == "TaskDependency('load', False, True, 'rows')"


def test_results_are_passed_by_position_in_the_order_of_the_names_and_by_keyword():
    tasks = [
        Task("Two", int, args=(2,)),
        Task("ten", int, args=(10,)),
        Task("base", int, args=(3,)),
        Task(
            "power",
            lambda *args, **kwargs: (args, kwargs),
            dependencies=results_of("ten", "two", modulus="Base"),
        ),
    ]

    assert Process(tasks).run().results["power"] == ((10, 2), {"modulus": 3})


def test_what_passes_results_is_a_list_of_dependencies_that_others_can_be_added_to():
    dependencies = [*results_of("rows", rate="daily-rate"), TaskDependency("setup")]

    assert [vars(dependency) for dependency in dependencies] == [
        vars(TaskDependency("rows", use_result_as_additional_args=True)),
        vars(
            TaskDependency("daily-rate", use_result_as_additional_kwargs=True, additional_kwarg_name="rate")
        ),
        vars(TaskDependency("setup")),
    ]
    assert results_of() == []


def test_a_task_stands_for_its_name_where_results_are_passed():
    parts = [Task("One", int, args=(1,)), Task("two", int, args=(2,))]
    scale = Task("scale", int, args=(10,))
    total = Task("total", lambda *parts, by: sum(parts) * by, dependencies=results_of(*parts, by=scale))
    assert Process([total, *parts, scale]).run().results["total"] == 30


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: results_of(["a", "b"]), r"task_name must be str, not list: results_of\(\*names\)"),
        (lambda: results_of(name for name in "ab"), r"not generator: results_of\(\*names\)"),
        (lambda: results_of({"a", "b"}), r"not set: results_of\(\*names\)"),
        (lambda: results_of({"rate": "a"}), r"not dict: results_of\(\*\*names\)"),
        (lambda: TaskDependency(Task("Tax", int)), "task_name must be str, not Task: write its name, 'tax'"),
        (
            lambda: results_of(TaskDependency("a")),
            r"not TaskDependency: it goes beside others, as in \[\*res",
        ),
        (
            lambda: results_of(**{"bt-5": "bt-5"}),
            r"'bt-5' is not the name of a keyword argument: write results_of\(bt_5='bt-5'\), or pass many",
        ),
        (lambda: Task("a", sum, dependencies=[results_of("b")]), "results_of makes a list"),
    ],
)
def test_names_that_are_none_and_lists_within_lists_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_task_whose_result_is_passed_twice_is_refused():
    with pytest.raises(ValueError, match="Duplicate dependency name: b"):
        Task("a", sum, dependencies=results_of("b", start="b"))
