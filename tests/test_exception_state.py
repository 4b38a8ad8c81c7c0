"""An exception that went through bytes is the same exception, whatever its class does."""

from __future__ import annotations

import asyncio
import builtins
import copyreg
import os
import pickle
import smtplib
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import pytest
from failing import catch, formatted
from hypothesis import given
from hypothesis import strategies as st
from programs import output_of
from steadiness import steadily

from processes.exceptions import StandInError
from processes.reprs import bounded_repr
from processes.serialization.exception_state import dump_exception, load_exception
from processes.serialization.pickling import dump, load
from processes.serialization.tracebacks import FRAMES_WITH_VARIABLES, VARIABLE_CHARACTERS


def there_and_back(exception: BaseException) -> BaseException:
    return load_exception(dump_exception(exception))


def reload(data: bytes, *, after: str = "", where: Path | None = None) -> str:
    """Load an exception in a fresh interpreter, and return what it prints of it."""
    code = f"""
        import pickle, sys
        from processes.exceptions import StandInError
        from processes.serialization.exception_state import load_exception
        exception = load_exception(sys.stdin.buffer.read())
        {after}
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=data, capture_output=True, timeout=120, env=environment, cwd=where, check=False,
    )  # fmt: skip
    assert done.stderr == b"", done.stderr.decode()
    return done.stdout.decode().strip()


# What Python has


def raised(code: str) -> BaseException:
    return catch(lambda: exec(code, {}))


def decoding_error() -> BaseException:
    return catch(lambda: b"a\xff".decode())


BUILTIN = [
    kind for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, BaseExceptionGroup)
]  # fmt: skip

SPECIAL: list[Callable[[], BaseException]] = [
    lambda: raised("x = = 1"),
    lambda: raised("if x:\n\ty\n        z"),
    lambda: SyntaxError("bad", ("file.py", 3, 4, "the text", 3, 9)),
    decoding_error,
    lambda: catch(lambda: "\ud800".encode()),
    lambda: catch(lambda: "é".encode("ascii")),
    lambda: UnicodeTranslateError("text", 1, 2, "why"),
    lambda: catch(open, "/no/such/file"),
    lambda: catch(os.rename, "/no/such/file", "/no/other"),
    lambda: OSError(2, "why"),
    lambda: OSError("only a text"),
    lambda: OSError(),
    lambda: OSError(None, None),
    lambda: OSError(5, None),
    lambda: OSError(None, "why"),
    lambda: OSError(None, None, "name"),
    lambda: OSError(None),
    lambda: OSError(1, 2, 3, 4, 5, 6),
    lambda: FileNotFoundError(2, "why", "name", 2, "other"),
    lambda: BlockingIOError(11, "why", 17),
    lambda: ConnectionResetError(104, "reset"),
    lambda: StopIteration(3),
    lambda: StopAsyncIteration(3),
    lambda: SystemExit(3),
    lambda: SystemExit("message"),
    lambda: SystemExit(),
    lambda: KeyError("key"),
    lambda: ImportError("why", name="module", path="/path"),
    lambda: catch(__import__, "no_such_module"),
    lambda: raised("from os import no_such_name"),
    lambda: NameError("why", name="variable"),
    lambda: raised("no_such_variable"),
    lambda: AttributeError("why", name="attribute", obj=[1, 2]),
    lambda: catch(lambda: (3).no_such_attribute),  # type: ignore[attr-defined]
    lambda: catch(lambda: 1 / 0),
    lambda: asyncio.CancelledError("why"),
    lambda: asyncio.IncompleteReadError(b"ab", 3),
    lambda: subprocess.CalledProcessError(3, ["a"], b"out", b"err"),
    lambda: subprocess.TimeoutExpired(["a"], 3.5),
    lambda: UnicodeDecodeError("utf-8", b"x" * 100_000, 5, 6, "why"),
    lambda: smtplib.SMTPResponseException(554, b"no"),  # an OSError whose number nobody has set
    lambda: smtplib.SMTPSenderRefused(554, b"no", "a@b"),
]


def fields(exception: BaseException) -> dict[str, object]:
    """What there is to read on an exception, as text where it cannot be compared."""
    names = [name for name in dir(exception) if not name.startswith("__")]
    found = {name: getattr(exception, name) for name in names if hasattr(exception, name)}
    return {name: value for name, value in found.items() if not callable(value)}


def assert_same(copy: BaseException, original: BaseException) -> None:
    assert type(copy) is type(original)
    assert str(copy) == str(original)
    assert repr(copy) == repr(original)
    assert fields(copy) == fields(original)
    assert vars(copy) == vars(original)
    assert formatted(copy) == formatted(original)


def test_every_builtin_exception_comes_back_whole() -> None:
    takes: dict[type, tuple[object, ...]] = {
        UnicodeDecodeError: ("utf-8", b"\xff", 0, 1, "why"),
        UnicodeEncodeError: ("ascii", "é", 0, 1, "why"),
        UnicodeTranslateError: ("é", 0, 1, "why"),
    }
    for kind in BUILTIN:
        default = ("why", ("file.py", 3, 4, "the text")) if issubclass(kind, SyntaxError) else ("why", 3)
        exception = kind(*takes.get(kind, default))
        exception.add_note("a note")
        exception.extra = [1, {"a": 2}]  # type: ignore[attr-defined]
        assert_same(there_and_back(exception), exception)


def test_what_builtin_exceptions_hold_in_c_comes_back() -> None:
    for make in SPECIAL:
        exception = make()
        assert_same(there_and_back(exception), exception)


def test_a_large_object_that_lacks_an_attribute_stays_where_it_is() -> None:
    table = list(range(100_000))
    exception = catch(lambda: table.no_such_attribute)  # type: ignore[attr-defined]
    copy: Any = there_and_back(exception)
    assert (type(copy), str(copy), copy.name) == (AttributeError, str(exception), "no_such_attribute")
    assert copy.obj == bounded_repr(table)


# What users write


class OwnInit(ValueError):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class NoSuperInit(Exception):
    def __init__(self, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Slotted(Exception):
    __slots__ = ("__secret", "code", "unset")

    def __init__(self, code: int) -> None:
        self.code = code
        self.__secret = [code]

    def secret(self) -> list[int]:
        return self.__secret


class OwnNew(KeyError):
    def __new__(cls, first: int, second: int) -> OwnNew:
        return super().__new__(cls, first + second)


class OwnOSError(PermissionError):
    def __init__(self, path: str) -> None:
        super().__init__(13, "not allowed", path)
        self.path = path


class FrozenError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


class Untouchable(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no reduce")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise SystemExit("no reduce_ex")

    def __getstate__(self) -> Any:
        raise RuntimeError("no state")

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("no state")

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


class Exiting(Exception):
    def __reduce__(self) -> Any:
        return os._exit, (3,)


def raise_anyway(_: object) -> Any:
    raise RuntimeError("no")


class Nameless(type):
    __name__ = property(raise_anyway)
    __module__ = property(raise_anyway)


class OfNameless(ValueError, metaclass=Nameless):
    def __str__(self) -> str:
        raise SystemExit("no text")

    __notes__: Any = property(raise_anyway)
    __class__: Any = property(raise_anyway)


class Mixin:
    __slots__ = ()


class Mixed(Mixin, ValueError, KeyError):
    pass


class MixedInMemory(ValueError, FileNotFoundError):  # the second base says what it looks like in memory
    pass


def test_an_init_that_does_not_match_the_arguments_is_not_called() -> None:
    copy = there_and_back(OwnInit(3, reason="why"))
    assert type(copy) is OwnInit
    assert (str(copy), copy.args, copy.code, copy.reason) == ("3: why", ("3: why",), 3, "why")
    for exception in (
        NoSuperInit(4),
        OwnNew(1, 2),
        OwnOSError("/a"),
        Mixed("x", 1),
        Exiting("x"),
        MixedInMemory(2, "x"),
    ):
        assert_same(there_and_back(exception), exception)


def test_slots_come_back_those_with_private_names_too() -> None:
    copy = there_and_back(Slotted(7))
    assert isinstance(copy, Slotted)
    assert copy.code == 7
    assert copy.secret() == [7]
    assert not hasattr(copy, "unset")


def test_code_of_the_class_is_not_run() -> None:
    for kind in (Untouchable, FrozenError):
        exception = kind("text", 3)
        vars(BaseException)["__dict__"].__get__(exception)["extra"] = 5
        copy = there_and_back(exception)
        assert type(copy) is kind
        assert vars(BaseException)["args"].__get__(copy) == ("text", 3)
        assert vars(BaseException)["__dict__"].__get__(copy) == {"extra": 5}


def test_a_class_that_refuses_every_look_gets_a_stand_in() -> None:
    copy = there_and_back(OfNameless(3))
    assert type(copy).__name__ == "OfNameless"
    assert isinstance(copy, ValueError)
    assert (str(copy), copy.args) == ("<unprintable OfNameless object>", (3,))


def test_an_exception_of_an_extension_module_that_nobody_else_can_make_makes_itself() -> None:
    pydantic = pytest.importorskip("pydantic")

    def caught(make: Callable[[], object]) -> Any:
        with pytest.raises(pydantic.ValidationError) as info:
            make()
        return info.value

    def refuse(value: object) -> object:
        raise ValueError("no", value)

    refused = Annotated[int, pydantic.AfterValidator(refuse)]
    for original in (
        caught(lambda: pydantic.TypeAdapter(list[refused]).validate_python([1, "x"])),
        caught(lambda: pydantic.TypeAdapter(pydantic.PositiveInt).validate_python(-1)),
        caught(lambda: pydantic.validate_call(refuse)()),  # the arguments of a call cannot be pickled
    ):
        original.__cause__ = original.__context__ = ValueError("why")
        copy = there_and_back(original)
        assert type(copy) is pydantic.ValidationError
        assert [error["loc"] for error in copy.errors()] == [error["loc"] for error in original.errors()]
        assert [error["msg"] for error in copy.errors()] == [error["msg"] for error in original.errors()]
        assert repr(copy.__cause__) == repr(original.__cause__)
    original = caught(lambda: pydantic.TypeAdapter(refused).validate_python(1))
    outer = RuntimeError("from what has been refused")
    outer.__cause__, outer.__context__ = original.errors()[0]["ctx"]["error"], original
    copy = there_and_back(outer)
    assert repr(copy.__context__.errors()[0]["ctx"]["error"]) == repr(outer.__cause__)


def test_an_exception_of_an_extension_module_sets_what_nobody_else_can() -> None:
    original = pytest.importorskip("psycopg2").errors.UniqueViolation("twice")
    original.__setstate__({"pgcode": "23505", "pgerror": "ERROR: twice"})  # as a connection does
    copy: Any = there_and_back(original)
    assert (copy.pgcode, copy.pgerror, copy.args) == ("23505", "ERROR: twice", ("twice",))


class OfCall(Exception):
    """What an exception is told by may be in an object that has a lock, as gRPC's is."""

    def __init__(self, details: str) -> None:
        self.changed = threading.Condition()
        self.state = {"details": details, "changed": self.changed}

    def __str__(self) -> str:
        with self.state["changed"]:  # type: ignore[attr-defined]
            return str(self.state["details"])


def test_locks_in_what_an_exception_holds_are_made_anew() -> None:
    original = OfCall("no connection")
    with original.changed:
        copy: Any = there_and_back(original)
    assert str(copy) == "no connection"


class OfStatement(Exception):
    """As psycopg's: pickle is given something else for what cannot be serialized."""

    def __init__(self, code: str) -> None:
        self.result = (part for part in [code])
        self.connection, self.other = threading.Lock(), threading.Lock()

    def __reduce__(self) -> Any:
        reduced: Any = super().__reduce__()
        reduced[2]["result"], reduced[2]["connection"] = [*self.result], None
        return reduced


def test_an_attribute_that_cannot_travel_may_have_a_substitute_in_pickles() -> None:
    original = OfStatement("23505")
    copy: Any = there_and_back(original)
    assert (copy.result, copy.connection) == (["23505"], None)
    assert copy.other == repr(original.other)


class CountsEnds(Exception):
    ended = 0

    def __del__(self) -> None:
        type(self).ended += 1


def test_no_object_of_the_class_is_made_but_the_copy() -> None:
    original = CountsEnds()
    data = dump_exception(original)
    assert CountsEnds.ended == 0
    load_exception(data)
    assert CountsEnds.ended == 1


class RaisesWhenRead:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('from a pickle')",))

    def __repr__(self) -> str:
        return "a trap"


def test_an_attribute_that_cannot_travel_is_replaced_by_its_repr() -> None:
    lock = threading.Lock()
    exception: Any = OwnInit(3, reason="why")
    exception.args = ("first", lock, 3)
    exception.lock = lock
    exception.trap = RaisesWhenRead()
    exception.kept = {"a": (1, 2)}
    exception.__notes__ = ["first", lock]
    copy: Any = there_and_back(exception)
    assert {type(copy)} == {OwnInit}
    assert copy.args == ("first", repr(lock), 3)
    assert copy.lock == repr(lock)
    assert copy.trap == "a trap"
    assert copy.kept == {"a": (1, 2)}
    assert copy.reason == "why"
    assert copy.__notes__ == ["first", repr(lock)]


class Located(ValueError):
    """An exception that tells its text by what it holds, as patsy's does."""

    def __init__(self, message: str, steps: Iterator[int]) -> None:
        super().__init__(message)
        self.steps: Any = steps

    def __str__(self) -> str:
        return f"{self.args[0]} in {self.steps.gi_code.co_name}"


def test_an_exception_that_tells_its_text_by_what_cannot_travel_still_tells_it() -> None:
    exception = RuntimeError("b")
    exception.__cause__ = Located("a", (number for number in range(3)))
    copy = there_and_back(exception).__cause__
    assert isinstance(copy, Located)
    assert str(copy) == str(exception.__cause__) == "a in <genexpr>"
    assert type(copy).__qualname__ == "Located"
    assert str(there_and_back(copy)) == str(copy)


@pytest.mark.parametrize("notes", ["text", 3, ("a", "b"), {"a": 1}, []])
def test_notes_of_any_kind_come_back(notes: object) -> None:
    exception = ValueError("x")
    exception.__notes__ = notes  # type: ignore[assignment]
    assert there_and_back(exception).__notes__ == notes


def test_a_local_class_stays_the_same_class() -> None:
    class Local(ValueError):
        def __init__(self, code: int) -> None:
            self.code = code

        def double(self) -> int:
            return 2 * self.code

    method = Local.double
    copy = there_and_back(Local(3))
    assert type(copy) is Local
    assert copy.double() == 6
    assert Local.double is method, "the sender's own class was written over"


# What hangs on it


def chained() -> None:
    try:
        try:
            raise KeyError("context")
        finally:
            raise OwnInit(1, reason="cause")
    except OwnInit as error:
        raise ExceptionGroup("group", [ValueError("a"), ExceptionGroup("inner", [error])]) from error


def test_the_traceback_prints_as_the_original_does() -> None:
    exception = catch(chained)
    exception.add_note("noted")
    copy = there_and_back(exception)
    assert formatted(copy) == formatted(exception)
    assert copy.__suppress_context__ == exception.__suppress_context__
    twice = there_and_back(copy)
    assert formatted(twice) == formatted(exception)


def test_the_columns_of_an_error_are_marked_as_in_the_original() -> None:
    def fail(table: Any) -> object:
        return table["a"]["b"] + table["a"]["c"]

    exception = catch(fail, {"a": {"b": 1}})
    text = formatted(there_and_back(exception))
    assert text == formatted(exception)
    marked = text.splitlines()[-2]
    assert marked.strip(" ~^") == ""
    assert marked.rstrip().endswith("^^^^^")
    assert marked.index("~") > 20


def test_an_exception_that_hangs_in_two_places_is_one() -> None:
    copy: Any = there_and_back(catch(chained))
    inner = copy.exceptions[1]
    assert inner.exceptions[0] is copy.__cause__
    assert copy.__cause__ is copy.__context__
    assert isinstance(copy.__cause__.__context__, KeyError)


def test_rings_come_back_as_rings() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    first.args = (second, first)
    second.other = first  # type: ignore[attr-defined]
    copy: Any = there_and_back(first)
    assert copy.__cause__.__context__ is copy
    assert copy.args[0] is copy.__cause__
    assert copy.args[1] is copy
    assert copy.__cause__.other is copy
    group = ExceptionGroup("group", [first])
    first.__context__ = group
    copied = there_and_back(group)
    assert isinstance(copied, ExceptionGroup)
    assert copied.exceptions[0].__context__ is copied


class Holder:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []


def test_an_attribute_that_leads_back_to_the_exception_still_does() -> None:
    holder = Holder()
    first, second = ValueError("first"), ValueError("second")
    first.holder = holder  # type: ignore[attr-defined]
    second.__cause__ = first
    stranger = KeyError("neither cause nor context")
    stranger.__cause__ = second
    holder.errors += [first, second, stranger]
    copy: Any = there_and_back(second)
    assert copy.__cause__.holder.errors[0] is copy.__cause__
    assert copy.__cause__.holder.errors[1] is copy
    assert copy.__cause__.holder.errors[2].__cause__ is copy


def test_chains_of_any_length_come_back() -> None:
    exception: BaseException = ValueError(0)
    for number in range(1, 3000):
        later = ValueError(number)
        later.__cause__ = exception
        exception = later
    copy: BaseException | None = there_and_back(exception)
    for number in reversed(range(3000)):
        assert copy is not None
        assert copy.args == (number,)
        copy = copy.__cause__
    group: Exception = ValueError("innermost")
    for _ in range(2000):
        group = ExceptionGroup("nested", [group])
    nested: Any = there_and_back(group)
    depth = 0
    while isinstance(nested, ExceptionGroup):
        nested, depth = nested.exceptions[0], depth + 1
    assert depth == 2000
    assert nested.args == ("innermost",)


class RetriedError(Exception):
    pass


class SummaryError(Exception):
    def __init__(self, errors: list[Exception]) -> None:
        super().__init__("several failed", errors)
        self.errors = errors


def test_a_long_chain_of_own_exceptions_is_looked_through_once() -> None:
    exception: Exception = RetriedError("again")
    for _ in range(3000):
        later = RetriedError("again")
        later.__cause__ = exception
        exception = later
    begin = time.thread_time()
    dump_exception(exception)
    assert time.thread_time() - begin < 15  # seconds; it was 30, as each looked through those below it


def test_exceptions_that_are_summed_up_twice_travel_once() -> None:
    error: Exception = ValueError("first")
    for _ in range(10):  # the last leads to the first on a thousand ways
        error = SummaryError([error])
    data = dump_exception(error)
    assert len(pickle.loads(data)) == 11
    assert len(data) < 100_000
    copy: Any = load_exception(data)
    assert copy.errors[0] is copy.args[1][0]
    assert repr(copy) == repr(error)


class CodedGroup(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception], code: int) -> CodedGroup:
        self = super().__new__(cls, f"{code}", errors)
        self.code = code
        return self

    code: int

    def derive(self, excs: Any) -> Any:
        return CodedGroup(excs, self.code)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExceptionGroup("list", [ValueError(1), KeyError(2)]),
        lambda: ExceptionGroup("tuple", (ValueError(1), KeyError(2))),
        lambda: BaseExceptionGroup("base", [SystemExit(1), KeyboardInterrupt()]),
        lambda: CodedGroup([ValueError(1), KeyError(2)], 7),
    ],
)
def test_groups_of_every_kind_come_back(make: Callable[[], BaseExceptionGroup[BaseException]]) -> None:
    group = make()
    copy = there_and_back(group)
    assert type(copy) is type(group)
    assert repr(copy) == repr(group)
    assert [*map(repr, copy.args)] == [*map(repr, group.args)]
    assert type(copy.args[1]) is type(group.args[1])
    assert vars(copy) == vars(group)
    assert copy.subgroup(KeyError) is None or str(copy.subgroup(KeyError)) == str(group.subgroup(KeyError))


# Frames


def dive(left: int) -> None:
    if left:
        dive(left - 1)
    else:
        text = "x" * 10_000
        raise ValueError(len(text))


@pytest.mark.parametrize("depth", [900, 5000])
def test_deep_tracebacks_come_back(depth: int) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2 * depth + 1000)
    try:
        exception = catch(dive, depth)
    finally:
        sys.setrecursionlimit(limit)
    data = dump_exception(exception)
    copy = load_exception(data)
    assert formatted(copy) == formatted(exception)
    assert len(data) < 500_000


def test_a_debugger_sees_the_variables_as_text() -> None:
    copy = there_and_back(catch(dive, 3))
    frames = [entry[0] for entry in traceback.walk_tb(copy.__traceback__)]
    assert [frame.f_locals["left"] for frame in frames] == ["3", "2", "1", "0"]
    text = frames[-1].f_locals["text"]
    assert repr(text).startswith("'xxx")
    assert repr(text).endswith(" more characters")
    assert len(text) < VARIABLE_CHARACTERS + 100
    assert [frame.f_code.co_qualname for frame in frames] == ["dive"] * 4
    assert frames[0].f_globals["__name__"] == __name__


def test_variables_may_have_any_name() -> None:
    names = {name: number for number, name in enumerate(("None", "__debug__", "a b", "", "\ud800", "\0"))}
    copy = there_and_back(catch(lambda: exec("1 / 0", names)))
    assert copy.__traceback__ is not None
    frame = copy.__traceback__.tb_next.tb_frame  # type: ignore[union-attr]
    found = {**frame.f_locals}
    assert found == {name: str(number) for name, number in names.items() if name != "__builtins__"}


@pytest.mark.parametrize(
    "changes",
    [
        {"co_linetable": b""},
        {"co_filename": "no\0file"},
        {"co_filename": "no\ud800file"},
        {"co_name": "no\0name", "co_qualname": "no\ud800name"},
        {"co_firstlineno": 1 << 30},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_code_that_no_compiler_makes_has_its_frames_all_the_same(changes: dict[str, Any]) -> None:
    def fail() -> float:
        return 1 / 0

    fail.__code__ = fail.__code__.replace(**changes)
    original = catch(fail)
    assert frames_of(there_and_back(original)) == frames_of(original)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Refusing(dict[str, object]):
    def get(self, *_: object) -> object:
        raise RuntimeError("no look-ups")


@pytest.mark.parametrize(
    "values",
    [{"__name__": []}, {"__name__": Unprintable()}, Refusing()],
    ids=["a list", "no text", "no look-ups"],
)
def test_code_that_is_executed_may_have_any_globals(values: dict[str, object]) -> None:
    original = catch(exec, "def fail(): 1 / 0\nfail()", values)
    assert frames_of(there_and_back(original)) == frames_of(original)


def test_an_entry_of_a_traceback_that_tells_no_instruction_tells_its_line() -> None:
    original = ValueError("made by hand")
    original.__traceback__ = TracebackType(None, sys._getframe(), -1, 7)
    assert frames_of(there_and_back(original)) == frames_of(original)


def frames_of(exception: BaseException) -> list[tuple[object, ...]]:
    """The file, line and function of each frame."""
    found: list[tuple[object, ...]] = []
    entry = exception.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        found.append((code.co_filename, entry.tb_lineno, code.co_name, code.co_qualname))
        entry = entry.tb_next
    return found


def test_only_the_innermost_frames_carry_variables() -> None:
    copy = there_and_back(catch(dive, FRAMES_WITH_VARIABLES + 5))
    frames = [entry[0] for entry in traceback.walk_tb(copy.__traceback__)]
    assert [bool(frame.f_locals) for frame in frames] == [False] * 6 + [True] * FRAMES_WITH_VARIABLES


def test_a_repr_that_hangs_does_not_hold_the_exception_up() -> None:
    release = threading.Event()

    class Hanging:
        def __repr__(self) -> str:
            release.wait()
            return "at last"

    def fail() -> None:
        hanging = Hanging()
        raise ValueError(id(hanging))

    try:
        copy = there_and_back(catch(fail))
    finally:
        release.set()
    assert copy.__traceback__ is not None
    assert "took longer than" in copy.__traceback__.tb_frame.f_locals["hanging"]


# Inside other values


def test_texts_that_hang_share_one_time_limit() -> None:
    release = threading.Event()

    class Hanging(Exception):
        def __str__(self) -> str:
            release.wait()
            return "at last"

    begin = time.monotonic()
    try:
        copy: Any = there_and_back(ExceptionGroup("all hang", [Hanging() for _ in range(20)]))
    finally:
        release.set()
    assert time.monotonic() - begin < 10  # it was a second for each
    assert len(copy.exceptions) == 20


def test_an_exception_in_a_value_keeps_all_that_it_has() -> None:
    exception = catch(chained)
    value = load(
        dump({"a": [exception], "b": exception}, task_name="t", what="x").data, task_name="t", what="x"
    )
    assert formatted(value["b"]) == formatted(exception)
    assert value["a"][0] is value["b"]


def test_copyreg_is_left_alone() -> None:
    before = dict(copyreg.dispatch_table)
    there_and_back(catch(chained))
    assert copyreg.dispatch_table == before


def test_an_importable_exception_needs_no_cloudpickle() -> None:
    code = (
        "import sys\n"
        "from processes.serialization.exception_state import dump_exception, load_exception\n"
        "try: int('x')\n"
        "except ValueError as error:\n"
        "    error.code = 3\n"
        "    copy = load_exception(dump_exception(error))\n"
        "print(repr(copy), copy.code, 'cloudpickle' in sys.modules)"
    )
    assert output_of([sys.executable, "-c", code]).endswith(" 3 False\n")


# Where the class cannot be had


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that no other process can import."""
    source = """
        class Lost(LookupError):
            def __init__(self, code):
                super().__init__(code, "text")
                self.code = code
            def __str__(self):
                return f"lost {self.code}"
        class LostOSError(OSError): pass
        class LostGroup(ExceptionGroup): pass
        class LostBaseGroup(BaseExceptionGroup): pass
        class LostExit(SystemExit): pass
        class Value: pass
    """
    (tmp_path / "elsewhere_module.py").write_text(textwrap.dedent(source))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        import elsewhere_module  # type: ignore[import-not-found]

        yield elsewhere_module
        del sys.modules["elsewhere_module"]


def without_module(data: bytes) -> Any:
    """Load data in this process, as one that has no such module."""
    module = sys.modules.pop("elsewhere_module")
    path, sys.path[:] = sys.path[:], [entry for entry in sys.path if "elsewhere" not in entry]
    sys.modules["elsewhere_module"] = None  # type: ignore[assignment]
    try:
        return load_exception(data)
    finally:
        sys.path[:] = path
        sys.modules["elsewhere_module"] = module


def test_a_class_that_is_not_there_gets_a_stand_in_of_its_name(elsewhere: Any) -> None:
    def fail() -> None:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise elsewhere.Lost(3) from error

    exception = catch(fail)
    exception.add_note("noted")
    copy: Any = without_module(dump_exception(exception))
    assert {LookupError, StandInError} <= set(type(copy).__mro__)
    assert type(copy).__name__ == "Lost"
    assert type(copy).__module__ == "elsewhere_module"
    assert str(copy) == "lost 3"
    assert copy.args == (3, "text")
    assert copy.code == 3
    assert formatted(copy) == formatted(exception)
    again = there_and_back(copy)
    assert formatted(again) == formatted(exception)
    assert isinstance(again, LookupError)


def test_stand_ins_keep_fields_and_members(elsewhere: Any) -> None:
    error = without_module(dump_exception(elsewhere.LostOSError(2, "why", "name")))
    assert isinstance(error, OSError)
    assert (error.errno, error.filename, str(error)) == (2, "name", "[Errno 2] why: 'name'")
    leave = without_module(dump_exception(elsewhere.LostExit(3)))
    assert isinstance(leave, SystemExit)
    assert leave.code == 3
    group = without_module(dump_exception(elsewhere.LostGroup("group", [elsewhere.Lost(3)])))
    assert isinstance(group, ExceptionGroup)
    assert type(group).__name__ == "LostGroup"
    assert str(group.exceptions[0]) == "lost 3"
    mixed = without_module(dump_exception(elsewhere.LostBaseGroup("group", [SystemExit(3)])))
    assert isinstance(mixed, BaseExceptionGroup)
    assert repr(mixed.exceptions) == "(SystemExit(3),)"


def test_an_attribute_that_cannot_be_read_here_has_a_text_in_its_place(elsewhere: Any) -> None:
    exception = ValueError("text")
    exception.value = elsewhere.Value()  # type: ignore[attr-defined]
    exception.kept = [1]  # type: ignore[attr-defined]
    copy = without_module(dump_exception(exception))
    assert copy.value == "<Value object that could not be deserialized: ModuleNotFoundError>"
    assert copy.kept == [1]


def test_a_fresh_interpreter_reads_it_too(elsewhere: Any, tmp_path: Path) -> None:
    data = dump_exception(elsewhere.Lost(3))
    after = "print(type(exception).__mro__[1].__name__, exception.code)"
    assert reload(data, after=after, where=tmp_path) == "LookupError 3"
    sys.path.remove(str(tmp_path))
    try:
        assert reload(data, after=after) == "StandInError 3"
    finally:
        sys.path.insert(0, str(tmp_path))


# Graphs of any shape

kinds = st.sampled_from([ValueError, OwnInit, Slotted, OSError, KeyError])
places = st.tuples(
    st.integers(0, 9), st.sampled_from(["__cause__", "__context__", "other"]), st.integers(0, 9)
)


def build(chosen: list[type], links: list[tuple[int, str, int]], grouped: list[list[int]]) -> BaseException:
    made: list[Exception] = []
    for number, kind in enumerate(chosen):
        made.append(kind(number, reason="why") if kind is OwnInit else kind(number))
    for members in grouped:
        made.append(ExceptionGroup(f"{members}", [made[member % len(made)] for member in members]))
    for start, link, end in links:
        if link != "other" or not isinstance(made[start % len(made)], OwnInit):
            setattr(made[start % len(made)], link, made[end % len(made)])
    return made[-1]


def shape(exception: BaseException) -> list[object]:
    """All that can be reached, as rows that name each other by number."""
    table = [exception]
    rows: list[object] = []
    for one in table:
        links: list[object] = []
        members = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        for other in (one.__cause__, one.__context__, getattr(one, "other", None), *members):
            if other is None:
                links.append(None)
                continue
            if not any(other is known for known in table):
                table.append(other)
            links.append(next(number for number, known in enumerate(table) if known is other))
        rows.append((type(one), str(one), one.__suppress_context__, links))
    return rows


@given(
    st.lists(kinds, min_size=1, max_size=6),
    st.lists(places, max_size=10),
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=4),
)
@steadily
def test_graphs_of_any_shape_come_back(
    chosen: list[type], links: list[tuple[int, str, int]], grouped: list[list[int]]
) -> None:
    exception = build(chosen, links, grouped)
    assert shape(there_and_back(exception)) == shape(exception)


def test_what_is_dumped_is_plain_data() -> None:
    rows = pickle.loads(dump_exception(catch(chained)))
    assert rows[0]["message"] == "group"
