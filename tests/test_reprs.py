"""Values are told as text, whatever they are, within a second or so, and at a bounded length."""

from __future__ import annotations

import contextvars
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from array import array
from collections import Counter, OrderedDict, deque
from pathlib import Path

import psutil
import pytest
from failing import catch
from hypothesis import given
from hypothesis import strategies as st
from programs import output_of, started, wait_until
from steadiness import characters, steadily

from processes.reprs import MAX_CHARACTERS, RENDER_SECONDS, bounded_repr, bounded_reprs, type_name

SOON = RENDER_SECONDS + 59  # seconds; a busy machine is given time, a hang is not


class RaisingText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Shown:
    def __repr__(self) -> str:
        return "Shown!"


class RaisingRepr:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("text"), "raised ValueError: text>"),
        (SystemExit(3), "raised SystemExit: 3>"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt>"),
        (RaisingText(), "raised RaisingText: <unprintable RaisingText object>>"),
        (ValueError("x" * 1000), "more characters>"),
    ],
)
def test_a_repr_that_raises_says_so(error: BaseException, text: str) -> None:
    shown = bounded_repr(RaisingRepr(error))
    assert shown.startswith("<RaisingRepr object whose __repr__ raised ")
    assert shown.endswith(text)
    assert bounded_repr([1, RaisingRepr(error)]) == f"[1, {shown}]"


STANDS_STILL = """
import os, signal, time
from processes.reprs import bounded_repr

class Slow:
    def __repr__(self):
        time.sleep(0.1)  # by then it is waited for
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.1)
        return "told"

print(bounded_repr(Slow()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing stops a program on Windows")
def test_a_repr_is_told_though_the_machine_stands_still_meanwhile() -> None:
    with started([sys.executable, "-c", STANDS_STILL], stdout=subprocess.PIPE, text=True) as program:
        process = psutil.Process(program.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        time.sleep(1.2 * RENDER_SECONDS)
        process.resume()
        output, _ = program.communicate(timeout=120)
    assert output == "told\n"


def test_a_type_is_named_though_its_class_does_not_tell_its_module() -> None:
    class Nameless(type):
        __module__ = property(lambda cls: 1 / 0)

    assert type_name(Nameless("list", (), {})()) == f"{__name__}.list"


def test_a_type_is_named_whose_metaclass_alone_tells_its_module() -> None:
    """As that of Cython's functions does: the class has a descriptor there, for its objects."""

    class Compiling(type):
        __module__ = property(lambda cls: "compiled")

    assert type_name(Compiling("list", (), {"__module__": property(lambda made: 1 / 0)})()) == "compiled.list"


def test_a_repr_sees_the_context_variables_of_the_failure() -> None:
    unit: contextvars.ContextVar[str] = contextvars.ContextVar("unit")
    unit.set("ms")

    class Duration:
        def __repr__(self) -> str:
            return f"3 {unit.get()}"

    assert bounded_repr(Duration()) == "3 ms"


def test_huge_values_are_cut_without_being_looked_through() -> None:
    size = 100 << 20
    assert bounded_repr("x" * size).endswith(f"x'… {size - MAX_CHARACTERS} more characters")
    assert bounded_repr(bytearray(size)).endswith("more bytes")
    few, many = range(200_000), list(range(2_000_000))
    others = (array("d", bytes(16_000_000)), deque(many), Counter(few), OrderedDict.fromkeys(few))
    for value in (many, tuple(many), set(few), dict.fromkeys(few), *others):
        tracemalloc.start()
        try:
            shown = bounded_repr(value)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20  # bytes; a copy, or the repr() of the whole, takes many MB
        assert len(shown) < MAX_CHARACTERS + 100
        assert " more items" in shown[-40:]


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there are no frozen dicts before Python 3.15")
def test_a_huge_frozen_dict_is_cut_as_others_are() -> None:
    assert bounded_repr(frozendict(a=1), 40) == "frozendict({'a': 1})"  # type: ignore[name-defined]  # noqa: F821
    huge = frozendict.fromkeys(range(8), 1)  # type: ignore[name-defined]  # noqa: F821
    assert bounded_repr(huge, 14) == "frozendict({0: 1, … 7 more items})"


def test_a_cut_says_how_much_is_missing() -> None:
    assert bounded_repr([1, 2, 3, 4, 5, 6, 7, 8], 10) == "[1, 2, 3, … 5 more items]"
    assert bounded_repr("abcdefgh", 4) == "'abcd'… 4 more characters"
    assert bounded_repr(b"abcdefgh", 4) == "b'ab'… 6 more bytes"
    assert bounded_repr({"a": [1, 2, 3, 4], "b": 2}, 8) == "{'a': [1, … 3 more items], … 1 more items}"
    assert bounded_repr(10**100_000) == "<int of 332193 bits>"
    assert bounded_repr(deque(range(20)), 12) == "deque([0, 1, … 18 more items])"
    assert bounded_repr(deque([1, 2, 3]), 40) == "deque([1, 2, 3])"
    assert bounded_repr(array("d", range(8)), 14) == "array([0.0, 1.0, … 6 more items])"


def test_values_share_one_time_limit() -> None:
    released = threading.Event()

    class Hanging:
        def __repr__(self) -> str:
            released.wait()
            return "at last"

    start = time.monotonic()
    shown = bounded_reprs({number: Hanging() for number in range(50)})
    released.set()
    assert time.monotonic() - start < SOON
    assert list(shown) == list(range(50))


class Rows(list):  # type: ignore[type-arg]
    pass


class Text(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __repr__(self) -> str:
        return self


GROUP = ExceptionGroup("two", [OSError("lost"), ExceptionGroup("one", [ValueError(0)])])

SHORT_VALUES = [
    *(None, ..., NotImplemented, True, 1.5, 1j, "it's", 'a "quote"', "\n", b"\x00", bytearray(b"x")),
    *((), (1,), [], {}, set(), {1}, frozenset(), frozenset({1}), range(3), [[[1, {"a": ({2},)}]]]),
    *(
        int,
        len,
        sys,
        catch,
        object(),
        Shown(),
        Rows([1]),
        Path("a"),
        ValueError(3),
        KeyError(),
        OSError(2, "gone"),
        GROUP,
        Text("own"),
    ),
]


@pytest.mark.parametrize("value", SHORT_VALUES, ids=lambda value: type(value).__name__)
def test_a_short_repr_is_the_usual_one(value: object) -> None:
    assert bounded_repr(value) == str.__str__(repr(value))


def test_values_that_hold_themselves_end() -> None:
    items: list[object] = [1]
    table: dict[str, object] = {"items": items}
    items.append(items)
    items.append(table)
    table["self"] = table
    assert bounded_repr(items) == repr(items)
    assert bounded_repr(table) == repr(table)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert bounded_repr(deep).startswith("[[[[")
    ring: deque[object] = deque(range(MAX_CHARACTERS))
    ring.appendleft(ring)
    assert bounded_repr(ring).startswith("deque([deque([...]), 0, 1, ")
    error = ValueError("odd")
    error.args = (error,)
    assert bounded_repr(error) == "ValueError(ValueError(...))"


def test_the_repr_of_groups_that_share_members_is_bounded() -> None:
    group = ExceptionGroup("first", [ValueError(1)])
    for _ in range(20):  # Python's own is of 50 MB
        group = ExceptionGroup("twice", [group, group])
    tracemalloc.start()
    try:
        shown = bounded_repr(group)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # bytes
    assert shown.startswith("ExceptionGroup('twice', [ExceptionGroup('twice', [")
    assert len(shown) < MAX_CHARACTERS + 1000


text = st.text(characters)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(text | st.integers(), inner)
        | st.sets(st.integers() | text)
        | st.frozensets(st.integers())
    ),
)


@given(plain_values, st.integers(min_value=0, max_value=200))
@steadily
def test_a_repr_is_whole_or_not_much_longer_than_allowed(value: object, room: int) -> None:
    shown, whole = bounded_repr(value, room), repr(value)
    if len(whole) <= room:
        assert shown == whole
    else:
        assert shown == whole or "… " in shown
        # Each container around the cut may say that it was cut, too.
        assert len(shown) <= room + 60 * (1 + whole.count("[") + whole.count("(") + whole.count("{"))


def test_they_and_failures_import_next_to_nothing() -> None:
    code = (
        "import sys, processes\n"
        "before = set(sys.modules)\n"
        "import processes.failure\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    # reprlib and itertools come with pickle, which workers need anyway.
    assert set(output_of([sys.executable, "-c", code]).split()) <= {
        *("__future__", "itertools", "reprlib"),
        *("processes.failure", "processes.reprs"),
    }
