"""A failure is described whatever it holds, within a second or so, and at a bounded length."""

from __future__ import annotations

import linecache
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from failing import catch, formatted

from processes.failure import (
    MAX_MESSAGE,
    MAX_TOLD,
    MAX_TRACEBACK,
    MAX_VARIABLES,
    Failure,
    describe_failure,
    drop_leading_frames,
    exception_text,
)
from processes.reprs import RENDER_SECONDS

SOON = RENDER_SECONDS + 59  # seconds; a busy machine is given time, a hang is not


def outer(number: float) -> float:
    text = "abc"
    return middle(number) + len(text)


def middle(number: float) -> float:
    halves = [number / 2, number / 2]
    return Divider().divide(sum(halves))


class Divider:
    def __repr__(self) -> str:
        return "Divider!"

    def divide(self, by: float) -> float:
        result = None
        return 1 / by if result is None else result


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event to hang on, which is set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


# What a description holds


def test_the_traceback_is_what_python_prints() -> None:
    exception = catch(outer, 0)
    failure = describe_failure(exception)
    assert failure.traceback_str == formatted(exception)
    assert "return 1 / by if result is None else result" in failure.traceback_str
    assert "~~^~~~" in failure.traceback_str
    assert failure.exception == "float division by zero" or failure.exception == "division by zero"


def test_causes_contexts_notes_and_groups_are_in_the_traceback() -> None:
    def fail() -> None:
        try:
            try:
                outer(0)
            except ZeroDivisionError as error:
                raise KeyError("the cause") from error
        except KeyError:
            members = [ValueError("first"), ExceptionGroup("inner", [TypeError("second")])]
            members[0].add_note("a note on a member")
            raise ExceptionGroup("outer", members) from None

    exception = catch(fail)
    exception.__suppress_context__ = False
    exception.add_note("a note\nof two lines")
    text = describe_failure(exception).traceback_str
    assert text == formatted(exception)
    for part in (
        "the cause",
        "a note on a member",
        "of two lines",
        "second",
        "direct cause",
        "During handling",
    ):
        assert part in text


def test_the_traced_variables_are_those_of_the_innermost_frame() -> None:
    failure = describe_failure(catch(outer, 0))
    assert failure.traced_vars == {"self": "Divider!", "by": "0.0", "result": "None"}
    line = Divider.divide.__code__.co_firstlineno + 2
    assert failure.traced_vars_location == f"{__file__}:{line} in divide"


@pytest.mark.parametrize(
    ("frame_filter", "function"),
    [
        ("outer", "outer"),
        ("middle", "middle"),
        ("Divider.", "divide"),
        ("test_failure", "divide"),
        (__file__, "divide"),
        ("", "divide"),
        ("no such frame", "divide"),
        (None, "divide"),
    ],
)
def test_a_filter_selects_the_innermost_frame_that_it_matches(
    frame_filter: str | None, function: str
) -> None:
    failure = describe_failure(catch(outer, 0), frame_filter)
    assert failure.traced_vars_location.endswith(f" in {function}")
    if function == "outer":
        assert failure.traced_vars == {"number": "0", "text": "'abc'"}


def test_an_exception_without_traceback_is_described_by_its_text_alone() -> None:
    failure = describe_failure(ValueError("never raised"))
    assert failure.exception == "never raised"
    assert failure.traceback_str == "ValueError: never raised\n"
    assert failure.traced_vars == {}
    assert failure.traced_vars_location == ""


def test_leading_frames_of_the_named_modules_are_dropped() -> None:
    def call(function: Callable[..., object], *args: object) -> BaseException:
        try:
            function(*args)
        except BaseException as exception:
            return exception
        raise AssertionError

    namespace: dict[str, Any] = {"__name__": "ours"}
    exec("def run(function, *args):\n    return function(*args)", namespace)
    exception = call(lambda: namespace["run"](outer, 0))
    drop_leading_frames(exception, {__name__})
    first = exception.__traceback__
    assert first is not None
    assert first.tb_frame.f_code.co_name == "run"
    drop_leading_frames(exception, {"ours"})
    first = exception.__traceback__
    assert first is not None
    assert first.tb_frame.f_code.co_name == "outer"
    builtin = call(namespace["run"], int, "x")
    drop_leading_frames(builtin, {"ours", __name__})
    assert builtin.__traceback__ is None
    assert describe_failure(builtin).traced_vars == {}


def test_frames_whose_globals_have_no_name_are_in_no_module() -> None:
    exception = catch(exec, "1 / 0", {"__name__": []})
    drop_leading_frames(exception, {"ours"})
    assert exception.__traceback__ is not None


def test_a_failure_pickles() -> None:
    failure = describe_failure(catch(outer, 0))
    copy = pickle.loads(pickle.dumps(failure))
    for name in ("exception", "traceback_str", "traced_vars", "traced_vars_location"):
        assert getattr(copy, name) == getattr(failure, name)


# What an exception may do


class RaisingText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class WrongText(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]


class RaisingAttributes(Exception):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


class RaisingTruth(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


def raise_anyway(_: object) -> Any:
    raise RuntimeError("no")


class RaisingNotes(Exception):
    __notes__: Any = property(raise_anyway)


class RaisingTraceback(Exception):
    __traceback__: Any = property(raise_anyway)


class Meta(type):
    __name__ = property(raise_anyway)
    __module__ = property(raise_anyway)


class RaisingClass(Exception, metaclass=Meta):
    pass


HOSTILE = [
    RaisingText,
    ExitingText,
    WrongText,
    RaisingAttributes,
    RaisingNotes,
    RaisingTruth,
    RaisingTraceback,
    RaisingClass,
]


@pytest.mark.parametrize("kind", HOSTILE, ids=lambda kind: type.__repr__(kind).split(".")[-1][:-2])
def test_an_exception_that_raises_when_it_is_looked_at_still_has_its_frames_told(
    kind: type[Exception],
) -> None:
    def fail() -> None:
        answer = 42
        raise kind(answer)

    try:
        fail()
    except Exception as exception:
        failure = describe_failure(exception)
    assert "in fail" in failure.traceback_str
    assert failure.traced_vars["answer"] == "42"
    assert failure.traced_vars_location.endswith(" in fail")


def test_an_exception_whose_text_raises_is_called_unprintable() -> None:
    assert exception_text(RaisingText()) == "<unprintable RaisingText object>"
    assert exception_text(ExitingText()) == "<unprintable ExitingText object>"
    assert describe_failure(WrongText()).exception == "<unprintable WrongText object>"


@pytest.mark.parametrize("notes", ["a text", 3, [3, None, object()], {"a": 1}, ("x",), [RaisingText()]])
def test_notes_of_any_kind_are_survived(notes: object) -> None:
    exception = catch(outer, 0)
    exception.__notes__ = notes  # type: ignore[assignment]
    text = describe_failure(exception).traceback_str
    assert "ZeroDivisionError" in text
    assert "in divide" in text


def test_a_text_that_hangs_costs_a_second_and_not_the_frames(release: threading.Event) -> None:
    class Hanging(Exception):
        def __str__(self) -> str:
            release.wait()
            return "at last"

    def fail() -> None:
        raise Hanging

    start = time.monotonic()
    failure = describe_failure(catch(fail))
    assert time.monotonic() - start < SOON
    assert failure.exception == "<unprintable Hanging object>"
    assert "in fail" in failure.traceback_str


def test_a_file_name_that_hangs_costs_a_second_and_not_the_frames(release: threading.Event) -> None:
    class Hanging:
        def __repr__(self) -> str:
            release.wait(60)
            return "at last"

    def fail() -> None:
        raise OSError(2, "no such file", Hanging())

    start = time.monotonic()
    failure = describe_failure(catch(fail))
    assert time.monotonic() - start < SOON
    assert failure.exception == "<unprintable FileNotFoundError object>"
    assert "in fail" in failure.traceback_str


def test_a_name_error_and_an_attribute_error_keep_their_suggestions() -> None:
    def misspelt() -> object:
        number = 3
        return (number.bit_lenght(), numbr)  # type: ignore[attr-defined,name-defined]  # noqa: F821

    exception = catch(misspelt)
    assert describe_failure(exception).traceback_str == formatted(exception)


@pytest.mark.parametrize("depth", [900, 5000])
def test_a_deep_recursion_is_described(depth: int) -> None:
    def one(left: int) -> None:
        if not left:
            raise ValueError("at the bottom")
        two(left - 1)

    def two(left: int) -> None:
        one(left)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(3 * depth + 1000)
    try:
        exception = catch(one, depth)
    finally:
        sys.setrecursionlimit(limit)
    failure = describe_failure(exception)
    assert failure.traceback_str.endswith("ValueError: at the bottom\n")
    assert failure.traced_vars["left"] == "0"
    assert len(failure.traceback_str) <= MAX_TRACEBACK + 100


def test_a_recursion_error_is_described_near_the_limit_too() -> None:
    described: list[Failure] = []

    def dive() -> None:
        try:
            dive()
        except RecursionError as error:
            if len(described) < 50:
                described.append(describe_failure(error))
            raise

    with pytest.raises(RecursionError):
        dive()
    # With no stack left at all there is a poor description, a little above a whole one.
    assert all("RecursionError" in failure.traceback_str for failure in described)
    assert described[-1].exception.startswith("maximum recursion depth exceeded")
    assert "in dive" in described[-1].traceback_str


def test_a_place_that_many_frames_are_at_is_formatted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the bottom")
        dive(depth - 1)

    error = catch(dive, 500)
    expected = formatted(error)
    places = []
    format_frame = traceback.StackSummary.format_frame_summary

    def noted(self: Any, frame: Any, **options: Any) -> Any:
        places.append(frame.lineno)
        return format_frame(self, frame, **options)

    monkeypatch.setattr(traceback.StackSummary, "format_frame_summary", noted)
    assert describe_failure(error).traceback_str == expected
    assert "more times" in expected
    assert len(places) < 10  # Python looks at each, for a tenth of a millisecond


def test_rings_of_causes_end() -> None:
    first, second = catch(outer, 0), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    second.__context__ = second
    text = describe_failure(first).traceback_str
    assert text.count("ValueError: second") == 1


def test_a_chain_of_a_thousand_causes_is_whole() -> None:
    exception: BaseException = ValueError("0.")
    for number in range(1, 1000):
        later = ValueError(f"{number}.")
        later.__cause__ = exception
        exception = later
    text = describe_failure(exception).traceback_str
    assert all(f"ValueError: {number}.\n" in text for number in range(1000))


def test_groups_lose_no_member() -> None:
    exception: Exception = ExceptionGroup("wide", [ValueError(f"{number}.") for number in range(500)])
    for depth in range(50):
        exception = ExceptionGroup(f"depth {depth}.", [exception, KeyError(f"beside {depth}.")])
    text = describe_failure(exception).traceback_str
    assert all(f"ValueError: {number}.\n" in text for number in range(500))
    assert all(f"beside {depth}." in text for depth in range(50))


def test_groups_that_share_members_are_told_once_where_python_tells_thousands() -> None:
    group = ExceptionGroup("first", [catch(outer, 0)])
    for number in range(14):  # of which the last holds the first on 16 384 ways
        group = ExceptionGroup(f"{number}.", [group, group])
    text = describe_failure(group).traceback_str
    assert text.count("ZeroDivisionError: ") == 1
    for number in range(13):
        assert text.count(f"ExceptionGroup: {number}. (2 sub-exceptions)\n") == 2
    assert text.count("(shown elsewhere in this traceback)\n") == 14


def test_a_few_groups_that_share_members_are_told_as_python_does() -> None:
    group = ExceptionGroup("first", [catch(outer, 0)])
    for _ in range(4):
        group = ExceptionGroup("twice", [group, group])
    assert describe_failure(group).traceback_str == formatted(group)


def test_a_group_of_many_is_told_as_python_does() -> None:
    def fail(depth: int, cause: Exception | None) -> None:
        if depth == 0:
            raise KeyError("leaf") from cause
        try:
            outer(0)
        except ZeroDivisionError as error:
            members = [catch(fail, depth - 1, [None, cause, error][number % 3]) for number in range(11)]
            members[7].add_note("a note on a member")
            raise ExceptionGroup(f"{depth}.", members) from catch(outer, 0)

    exception = catch(fail, 3, None)
    text = describe_failure(exception).traceback_str
    assert text == formatted(exception)
    assert text.count("KeyError: ") > MAX_TOLD


def test_groups_deeper_than_the_stack_are_survived() -> None:
    exception: Exception = ValueError("innermost")
    for _ in range(3000):
        exception = ExceptionGroup("nested", [exception])
    assert "nested (1 sub-exception)" in describe_failure(exception).traceback_str


def test_a_huge_message_is_bounded() -> None:
    size = 100 << 20
    exception = ValueError("x" * size)
    exception.add_note("y" * size)
    failure = describe_failure(exception)
    assert failure.exception == "x" * MAX_MESSAGE + f"… {size - MAX_MESSAGE} more characters"
    assert failure.exception in failure.traceback_str
    assert len(failure.traceback_str) < 3 * MAX_MESSAGE


def test_a_traceback_of_many_huge_messages_keeps_its_two_ends() -> None:
    members = [ValueError(f"{number} " + "x" * MAX_MESSAGE) for number in range(200)]
    text = describe_failure(ExceptionGroup("many", members)).traceback_str
    assert len(text) < MAX_TRACEBACK + 100
    assert text.lstrip(" +|").startswith("ExceptionGroup: many (200 sub-exceptions)")
    assert "ValueError: 199 " in text


def test_a_source_that_cannot_be_read_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        def get_source(self, name: str) -> str:
            raise RuntimeError(f"no source of {name}")

    namespace: dict[str, Any] = {"__name__": "odd", "__loader__": Loader()}
    exec(compile("def fail():\n    number = 7\n    raise ValueError('here')\n", "odd.py", "exec"), namespace)
    failure = describe_failure(catch(namespace["fail"]))
    linecache.cache.pop("odd.py", None)
    assert 'File "odd.py", line 3, in fail' in failure.traceback_str
    assert failure.traced_vars == {"number": "7"}


def test_variables_of_odd_frames_are_survived() -> None:
    class Raising(dict[str, object]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("no names")

        def keys(self) -> Any:
            raise RuntimeError("no names")

    code = compile("x = 1\nraise ValueError(x)", "odd", "exec")
    failure = describe_failure(catch(lambda: exec(code, {}, Raising())))
    assert failure.exception == "1"
    many = describe_failure(catch(lambda: exec(code, {f"v{i}": i for i in range(10_000)})))
    assert len(many.traced_vars) == MAX_VARIABLES
    assert "__builtins__" not in many.traced_vars


def test_a_repr_that_hangs_costs_a_second_and_not_the_other_variables(release: threading.Event) -> None:
    class Hanging:
        def __repr__(self) -> str:
            release.wait()
            return "at last"

    def fail() -> None:
        first, hanging, last = Divider(), Hanging(), Divider()
        number = 3
        raise ValueError(id((first, hanging, last, number)))

    start = time.monotonic()
    failure = describe_failure(catch(fail))
    assert time.monotonic() - start < SOON
    assert failure.traced_vars["first"] == "Divider!"
    assert failure.traced_vars["hanging"] == "<Hanging object whose __repr__ took longer than 1 s>"
    assert failure.traced_vars["last"].startswith("<Divider object, left out")
    assert failure.traced_vars["number"] == "3"
    assert list(failure.traced_vars)[:3] == ["first", "hanging", "last"]
    assert "in fail" in failure.traceback_str
