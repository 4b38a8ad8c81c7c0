"""What is known of a failure is what Python itself would show, on every runner."""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import pdb  # noqa: T100 - it is what is tested
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import failing
import pytest
from failing import FAILURES, catch, facts_of, lock_in_an_attribute, outer, recurse_for_ever, tidy
from functions import SENDING
from programs import output_of

from processes import Process, ProcessExecutionReport, Task, TaskDependency, results_of
from processes.failure import notes_of

# How a task is made has no part in how its failure looks.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "logged": {"log_path": "log"},
    "limited": {"timeout": 300},
}


def variants_on(runner: str) -> list[str]:
    """Name the variants that a runner runs: on Dask each task takes a hundredth of a second."""
    return ["plain"] if runner == "dask" else list(VARIANTS)


@cache
def raised(name: str) -> BaseException:
    """What the bare function raises: the measure for all runners."""
    return catch(FAILURES[name])


@cache
def report_of(runner: str, folder: Path) -> ProcessExecutionReport:
    """All failures, run once on a runner."""
    tasks = []
    for variant in variants_on(runner):
        options = VARIANTS[variant]
        if "log_path" in options:
            options = {"log_path": folder / f"{runner}.log"}
        tasks += [Task(f"{variant}-{name}", function, **options) for name, function in FAILURES.items()]
    with Process(tasks) as process:
        return process.run(runner=runner)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("logs")


def test_all_fail(runner, folder):
    report = report_of(runner, folder)
    assert set(report.errored) == set(report.entries)
    assert {entry.attempts for entry in report.entries.values()} == {1}


def test_the_traceback_is_the_one_that_python_shows(runner, folder):
    report = report_of(runner, folder)
    for name in FAILURES:
        shown = "".join(traceback.format_exception(raised(name)))
        for variant in variants_on(runner):
            text = report.entries[f"{variant}-{name}"].error.traceback_str
            assert text == shown, f"{variant}-{name}"


def test_the_live_exception_is_the_one_that_was_raised(runner, folder):
    report = report_of(runner, folder)
    for name in FAILURES:
        facts = facts_of(raised(name))
        shown = "".join(traceback.format_exception(raised(name)))
        for variant in variants_on(runner):
            live = report.exceptions[f"{variant}-{name}"]
            assert facts_of(live) == facts, f"{variant}-{name}"
            assert "".join(traceback.format_exception(live)) == shown, f"{variant}-{name}"


def test_text_variables_and_location_are_those_of_the_innermost_frame(runner, folder):
    report, sequential = report_of(runner, folder), report_of("sequential", folder)
    for name in FAILURES:
        error = raised(name)
        location, variables = "", []
        for frame, line in traceback.walk_tb(error.__traceback__):
            location = f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
            variables = [key for key in frame.f_locals if key[0] != "." and key != "__builtins__"][:200]
        for variant in variants_on(runner):
            error_data = report.entries[f"{variant}-{name}"].error
            reference = sequential.entries[f"plain-{name}"].error
            assert error_data.exception == str(error), f"{variant}-{name}"
            assert error_data.traced_vars_location == location, f"{variant}-{name}"
            assert list(error_data.traced_vars) == variables, f"{variant}-{name}"
            assert tidy(str(error_data.traced_vars)) == tidy(str(reference.traced_vars)), f"{variant}-{name}"


def test_variables_are_shown_as_their_repr_and_large_ones_are_cut(runner, folder):
    variables = report_of(runner, folder).entries["plain-fail_with_odd_variables"].error.traced_vars
    assert variables["number"] == "1.5"
    assert variables["nothing"] == "None"
    assert variables["text"] == r'''"quo'ted\n"'''
    assert variables["nested"] == "{'a': [(1, 2), {3}], 'b': {'c': b'bytes'}, 'self': {...}}"
    assert "Place(number=1, things=[2])" in variables["mixed"]
    assert variables["big"].endswith("more characters")
    assert variables["many"].endswith("more items]")
    assert max(map(len, variables.values())) < 5_000


def test_the_marks_under_a_source_line_are_at_the_right_place(runner, folder):
    text = report_of(runner, folder).entries["plain-fail_in_an_expression"].error.traceback_str
    assert text.splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{failing.__file__}", line {failing.fail_in_an_expression.__code__.co_firstlineno + 3}, '
        "in fail_in_an_expression",
        "    return [1, 2, 3][0] + numerator * 2 / divisor + 7",
        "                          ~~~~~~~~~~~~~~^~~~~~~~~",
        "ZeroDivisionError: division by zero",
    ]


def test_nine_hundred_frames_are_no_trouble(runner, folder):
    entry = report_of(runner, folder).errored["plain-fail_deep"]
    assert entry.error.exception == "at the bottom"
    assert entry.error.traceback_str.count("in fail_a_step_deeper") == 450
    live = report_of(runner, folder).exceptions["plain-fail_deep"]
    assert len(list(traceback.walk_tb(live.__traceback__))) == 901


def test_a_recursion_without_end_is_a_recursion_error(runner):
    report = Process([Task("deep", recurse_for_ever), Task("ok", abs, args=(-1,))]).run(runner=runner)
    assert type(report.exceptions["deep"]) is RecursionError
    error = report.errored["deep"].error
    assert error.exception.startswith("maximum recursion depth exceeded")
    assert "more times]" in error.traceback_str
    assert error.traced_vars_location.endswith("in recurse_for_ever")
    assert report.results == {"ok": 1}


def test_a_filter_picks_the_frame_whose_variables_are_kept(runner):
    kept = {
        None: ("inner", {"numerator": "1", "divisor": "0"}),
        "middle": ("middle", {"divisor": "0", "numerator": "1"}),
        "outer": ("outer", {"secret": "5", "divisor": "0"}),
        "failing": ("inner", {"numerator": "1", "divisor": "0"}),
        "no such file": ("inner", {"numerator": "1", "divisor": "0"}),
    }
    tasks = [Task(f"t{n}", outer, args=(5,), traced_vars_frame_filter=one) for n, one in enumerate(kept)]
    report = Process(tasks).run(runner=runner)
    for task, (function, variables) in zip(tasks, kept.values(), strict=True):
        error = report.errored[task.name].error
        code = getattr(failing, function).__code__
        assert error.traced_vars == variables, task.traced_vars_frame_filter
        file, _, rest = error.traced_vars_location.rpartition(":")
        line, _, name = rest.partition(" in ")
        assert (file, name) == (code.co_filename, function)
        assert code.co_firstlineno < int(line) <= code.co_firstlineno + 2


def test_a_failure_keeps_what_the_function_was_called_with(runner):
    tasks = [
        Task("source", list, args=("ab",)),
        Task(
            "bad",
            failing.raise_by,
            args=(failing.Recipe("KeyError", ("k",)),),
            kwargs={"own": 1},
            dependencies=[TaskDependency("source", True, True, "named")],
        ),
        Task("below", abs, dependencies=[TaskDependency("bad")]),
        Task("further-below", abs, dependencies=[TaskDependency("below")]),
    ]
    error = Process(tasks).run(runner=runner).errored["bad"].error
    assert error.args == (failing.Recipe("KeyError", ("k",)), ["a", "b"])
    assert error.kwargs == {"own": 1, "named": ["a", "b"]}
    assert error.downstream_impact == ["below", "further-below"]
    assert (error.task_name, error.function, error.exception) == ("bad", "raise_by", "'k'")


def test_a_failing_coroutine_shows_no_event_loop(runner):
    report = Process([Task("awaits", failing.fail_as_a_coroutine)]).run(runner=runner)
    live, error = report.exceptions["awaits"], report.errored["awaits"].error
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(live.__traceback__)] == [
        "fail_as_a_coroutine"
    ]
    assert live.__context__ is None
    assert error.traceback_str == "".join(traceback.format_exception(live))
    assert error.traceback_str.count("Traceback") == 1
    assert error.traced_vars == {"before": "'the sleep'"}


def test_arguments_that_do_not_fit_are_an_error_of_the_call_itself(runner):
    report = Process([Task("call", failing.take_two)]).run(runner=runner)
    error = report.errored["call"].error
    hint, *others = notes_of(report.exceptions["call"])
    assert hint.startswith("Task 'call' passes nothing: args=(…) and kwargs={…} pass values, ")
    assert not others
    assert error.traceback_str == f"TypeError: {error.exception}\n{hint}\n"
    assert "missing 2 required positional arguments: 'one' and 'two'" in error.exception
    assert (error.traced_vars, error.traced_vars_location) == ({}, "")


def test_a_result_that_is_not_passed_on_is_named_where_it_is_missing(runner):
    tasks = [
        Task("make", int),
        Task("use", math.sqrt, dependencies=[TaskDependency("make")]),
        Task(
            "name",
            failing.take_two,
            dependencies=[TaskDependency("make", additional_kwarg_name="one")],
        ),
        Task("no-name", math.sqrt, dependencies=[TaskDependency("make", additional_kwarg_name="no name")]),
        Task("alone", failing.take_two, args=(1,)),
        Task("many", math.sqrt, args=(1, 2), dependencies=[TaskDependency("make")]),
    ]
    report = Process(tasks).run(runner=runner)
    hints = {
        "use": "Task 'use' depends on 'make', but does not get its result: "
        "dependencies=results_of('make') passes it on.",
        "name": "Task 'name' depends on 'make', but does not get its result: "
        "dependencies=results_of(one='make') passes it on.",
        "no-name": "Task 'no-name' depends on 'make', but does not get its result: "
        "dependencies=results_of('make') passes it on.",
    }
    assert {name: notes_of(error) for name, error in report.exceptions.items()} == {
        name: [hints[name]] if name in hints else [] for name in ("use", "name", "no-name", "alone", "many")
    }
    for name, hint in hints.items():
        assert report.entries[name].error.traceback_str.endswith(f"\n{hint}\n")
        assert hint in str(report)


def test_a_task_that_stands_for_its_result_is_named_where_a_function_fails_for_it(runner):
    made = Task("make", list)
    (need,) = results_of("make")
    wrong = {
        "count": ((made,), {}),
        "root": ((), {"value": made}),
        "need": ((need,), {}),
        "needs": ((), {"value": need}),
        "lists": (([made],), {}),
        "lists-needs": (([need],), {}),
        "name": ((), {"one": made}),  # fails for something else
    }
    functions = {
        "lists": "".join,
        "lists-needs": failing.take_a_text,
        "name": failing.take_two,
    }
    tasks = [
        Task(name, functions.get(name, failing.take_apart), args=args, kwargs=kwargs)
        for name, (args, kwargs) in wrong.items()
    ]
    report = Process([made, *tasks]).run(runner=runner)
    assert {name: notes_of(error) for name, error in report.exceptions.items()} == {
        name: [
            f"Task {name!r} has {'a dependency on' if 'need' in name else 'task'} 'make'"
            f"{'' if 'need' in name else ' itself'} among its arguments, not its result: "
            f"dependencies=results_of({'value=' if kwargs else ''}'make') passes that on."
        ]
        if name != "name"
        else []
        for name, (_, kwargs) in wrong.items()
    }


def test_a_function_that_refuses_results_says_which_it_gets(runner):
    refused = [
        (
            (),
            results_of("a", "b", "c"),
            "results_of('a', 'b', 'c'): a function takes any number of results as *values",
        ),
        ((), results_of("a", one="b"), "results_of('a', one='b')"),  # one gets two values
        ((), results_of("a", "b", three="c"), "results_of('a', 'b', three='c')"),  # there is no three
        ((0,), results_of(one="a"), "its args and results_of(one='a')"),
        ((), results_of("a"), "results_of('a')"),  # two is missing
        (
            (),
            results_of(*"abcdef"),
            "results_of('a', 'b', 'c', 'd', 'e', …): a function takes any number of results as *values",
        ),
    ]
    tasks = [
        Task(f"use-{n}", failing.take_two, args=args, dependencies=dependencies)
        for n, (args, dependencies, _) in enumerate(refused)
    ]
    tasks.append(Task(f"use-{len(refused)}", sum, dependencies=results_of("a", "b")))  # they are no list
    refused.append(((), [], "results_of('a', 'b'): a function takes any number of results as *values"))
    report = Process([*(Task(name, int) for name in "abcdef"), *tasks]).run(runner=runner)
    assert {name: notes_of(error) for name, error in report.exceptions.items()} == {
        f"use-{n}": [f"Task 'use-{n}' passes {passed}."] for n, (_, _, passed) in enumerate(refused)
    }


def test_why_a_failure_is_not_retried_is_told_where_it_may_surprise(runner):
    told = {
        "plain": (ValueError, {"retries": 2}, "without retry_on, that is for {}, not for ValueError"),
        "namesake": (
            multiprocessing.TimeoutError,
            {"retries": 1},
            "without retry_on, that is for {}, not for multiprocessing.context.TimeoutError",
        ),
        "namesake-of-one": (
            multiprocessing.TimeoutError,
            {"retries": 1, "retry_on": (KeyError, TimeoutError)},
            "the TimeoutError of multiprocessing.context is none of those in its retry_on",
        ),
        "other": (ValueError, {"retries": 1, "retry_on": (KeyError,)}, None),
        "given-up": (ConnectionError, {"retries": 1}, None),
        "retried-once": (ValueError, {"retries": 1, "retry_on": (ValueError,)}, None),
        "made-when-asked-for": (
            failing.made_error,
            {"retries": 1, "retry_on": (type(failing.made_error()),)},
            None,
        ),
        "no-retries": (ValueError, {}, None),
        "takes-no-note": (failing.FrozenError, {"retries": 1}, None),
    }
    tasks = [
        Task(name, failing.raise_one, args=(kind,), **options) for name, (kind, options, _) in told.items()
    ]
    report = Process(tasks).run(runner=runner)
    assert "\nNot attempted again, though" in report.errored["takes-no-note"].error.traceback_str
    assert {name: notes_of(error) for name, error in report.exceptions.items()} == {
        name: [
            f"Not attempted again, though retries={options['retries']}: "
            f"{why.format('ConnectionError, TimeoutError and WorkerDiedError')}."
        ]
        if why
        else []
        for name, (_, options, why) in told.items()
    }


def test_why_one_error_of_many_tasks_is_not_retried_is_told_each_of_them_once(runner):
    same = ValueError("the same")
    tasks = [Task(f"t{n}", failing.raise_it, args=(same,), retries=1) for n in range(3)]
    report = Process(tasks).run(runner=runner)
    for name, error in report.exceptions.items():
        assert len(notes_of(error)) == 1, name
        assert report.entries[name].error.traceback_str.count("Not attempted again") == 1, name


def test_an_argument_that_stands_where_the_log_file_does_is_named(runner, tmp_path):
    path = tmp_path / "data.csv"
    report = Process([Task("load", failing.take_two, path)]).run(runner=runner)
    (note,) = notes_of(report.exceptions["load"])
    assert note == (
        f"Task 'load' has log_path={str(path)!r} and no args: arguments of the function are args=(…)."
    )


def test_a_debugger_walks_through_the_frames_of_a_live_exception(runner):
    live = Process([Task("x", outer, args=(5,))]).run(runner=runner).exceptions["x"]
    output = io.StringIO()
    debugger = pdb.Pdb(
        stdin=io.StringIO("p numerator\nup\nup\np secret\nwhere\nquit\n"),
        stdout=output,
        nosigint=True,
        readrc=False,
    )
    debugger.use_rawinput = False
    debugger.reset()
    debugger.interaction(None, live.__traceback__)
    text = output.getvalue().replace("(Pdb) ", "")
    assert "1\n" in text
    assert "5\n" in text
    assert "return numerator / divisor" in text
    assert "return middle(divisor)" in text


def test_what_cannot_travel_costs_a_live_exception_no_more_than_itself(runner):
    live = Process([Task("x", lock_in_an_attribute)]).run(runner=runner).exceptions["x"]
    assert type(live) is failing.PlainError
    assert (live.args, live.fine) == (("locked",), [1])
    assert "lock" in (live.lock if runner in SENDING else repr(live.lock))


# ---- Programs that are no importable module --------------------------------------------------------------

PROGRAM = """
import json, sys, traceback
from processes import Process, Task

class OwnError(Exception):
    def __init__(self, value, *, code):
        super().__init__(value)
        self.code = code

class Slotted(OwnError):
    __slots__ = ("extra",)

def helper(divisor):
    numerator = 3
    return numerator / divisor + 1

def divide(divisor=0):
    return helper(divisor)

def own():
    try:
        divide()
    except ZeroDivisionError as error:
        made = Slotted("own", code=3)
        made.extra = OwnError("inside", code=4)
        made.add_note("a note")
        raise made from error

def group():
    raise ExceptionGroup("group", [OwnError(1, code=1), ValueError(2)])

factor = 2
scaled = lambda: {}["missing"] * factor

def bare(function):
    try:
        function()
    except BaseException as error:
        return error.with_traceback(error.__traceback__.tb_next)

def text():
    exec("\\n\\n1 / 0")

functions = {"divide": divide, "own": own, "group": group, "lambda": scaled, "text": text}
shown = {}
for runner in ["bare", "sequential", "thread", "process"]:
    if runner == "bare":
        exceptions = {name: bare(function) for name, function in functions.items()}
        texts = {n: "".join(traceback.format_exception(e)) for n, e in exceptions.items()}
        more = {}
    else:
        report = Process([Task(name, function) for name, function in functions.items()]).run(runner=runner)
        exceptions = report.exceptions
        texts = {name: entry.error.traceback_str for name, entry in report.entries.items()}
        more = {n: [e.error.traced_vars, e.error.traced_vars_location] for n, e in report.entries.items()}
    own_error = exceptions["own"]
    assert type(own_error) is Slotted and type(own_error.extra) is OwnError, type(own_error).__mro__
    assert (own_error.code, own_error.extra.code, own_error.args) == (3, 4, ("own",))
    assert type(exceptions["group"].exceptions[0]) is OwnError
    assert type(own_error.__cause__) is ZeroDivisionError
    shown[runner] = {"texts": texts, "more": more}
print(json.dumps(shown))
"""


def shown_by(command: list[str], **options: Any) -> Any:
    return json.loads(output_of([sys.executable, *command], **options))


def check_program(shown: dict[str, Any]) -> dict[str, str]:
    for runner in ("sequential", "thread", "process"):
        assert shown[runner]["texts"] == shown["bare"]["texts"], runner
        assert shown[runner]["more"] == shown["sequential"]["more"], runner
    variables, location = shown["process"]["more"]["divide"]
    assert variables == {"divisor": "0", "numerator": "3"}
    assert location.endswith("in helper")
    return shown["process"]["texts"]


def test_failures_of_a_script_are_alike(tmp_path):
    script = tmp_path / "script with spaces.py"
    script.write_text(PROGRAM)
    texts = check_program(shown_by([str(script)]))
    assert "    return numerator / divisor + 1\n           ~~~~~~~~~~^~~~~~~~~\n" in texts["divide"]
    assert texts["own"].endswith("Slotted: own\na note\n")
    assert 'scaled = lambda: {}["missing"] * factor' in texts["lambda"]


def test_failures_of_a_module_run_as_a_program_are_alike(tmp_path):
    package = tmp_path / "ours"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "program.py").write_text(PROGRAM)
    texts = check_program(shown_by(["-m", "ours.program"], cwd=tmp_path))
    assert "return numerator / divisor + 1" in texts["divide"]


def test_failures_of_a_program_from_standard_input_are_alike(tmp_path):
    texts = check_program(shown_by(["-"], input=PROGRAM, cwd=tmp_path))
    assert 'File "<stdin>", line 15, in helper' in texts["divide"]


def test_failures_of_a_program_on_the_command_line_are_alike(tmp_path):
    texts = check_program(shown_by(["-c", PROGRAM], cwd=tmp_path))
    assert 'File "<string>", line 15, in helper' in texts["divide"]
    if sys.version_info >= (3, 13):  # from then on Python has the source lines of -c
        assert "return numerator / divisor + 1" in texts["divide"]
