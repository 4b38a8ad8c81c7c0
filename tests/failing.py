"""Functions that fail in every way, and exceptions taken apart so that they can be compared.

They are no part of a test module, because pytest rewrites the assertions of those, and worker processes
import them without pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import errno
import functools
import json
import re
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

# ---- Exceptions of the users' own ------------------------------------------------------------------------


class PlainError(Exception):
    """Nothing but a name."""


class NeedsKeywordsError(Exception):
    """Cannot be called with its own args."""

    def __init__(self, *, code: int, reason: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"[{self.code}] {self.reason}"


class SlottedError(ValueError):
    """Keeps its values in slots."""

    __slots__ = ("left", "never_set", "right")

    def __init__(self, left: object, right: object) -> None:
        super().__init__(left)
        self.left = left
        self.right = right


class ManyBasesError(KeyError, AttributeError):
    """Is of two builtin kinds."""


class OwnOSError(FileNotFoundError):
    """Is transient, or is not; who knows."""


@dataclass(frozen=True)
class FrozenError(Exception):
    """Lets nobody set an attribute, not even Python's own."""

    code: int


class OwnExit(SystemExit):
    """Is no Exception."""


class OwnGroup(ExceptionGroup):
    """Has something to tell beside its members."""

    def __new__(cls, message: str, errors: list[Exception], extra: int = 0):
        self = super().__new__(cls, message, errors)
        self.extra = extra
        return self

    def derive(self, errors):
        return OwnGroup(self.message, errors, self.extra)


# ---- Functions that fail, one kind each ------------------------------------------------------------------


def fail_plainly():
    text, numbers = "some text", [1, 2, 3]
    raise PlainError(text, numbers)


def fail_in_an_expression(divisor=0):
    numerator = 10
    # Without brackets: Python 3.11.2 sets the marks of an operand in brackets at the wrong place.
    return [1, 2, 3][0] + numerator * 2 / divisor + 7


def fail_with_a_frozen_error():
    raise FrozenError(3)


@contextlib.contextmanager
def context():
    yield


@context()
def fail_as_its_context_decorates_it():
    raise PlainError("decorated")


def fail_over_several_lines():
    values = {
        "first": 1,
    }
    return int(
        values["first"]
        + values[
            "second"
        ]
    )  # fmt: skip


def fail_with_a_cause():
    try:
        fail_in_an_expression()
    except ZeroDivisionError as error:
        raise PlainError("from") from error


def fail_with_a_context():
    try:
        fail_in_an_expression()
    except ZeroDivisionError:
        unknown_name = fail_plainly
        unknown_name()


def fail_with_a_suppressed_context():
    try:
        fail_in_an_expression()
    except ZeroDivisionError:
        raise PlainError("alone") from None


def fail_with_a_long_chain():
    error: Exception | None = None
    for number in range(30):
        try:
            raise PlainError(number) from error
        except PlainError as caught:
            error = caught
    raise PlainError("last") from error


def fail_in_a_ring():
    first, second = PlainError("first"), PlainError("second")
    first.__context__, second.__context__ = second, first
    first.other = second
    raise first


def fail_with_notes():
    error = PlainError("noted")
    error.add_note("one note")
    error.add_note("a note\nof two lines")
    raise error


def fail_with_attributes():
    error = PlainError("attributed")
    error.number, error.where = 3, {"list": [1, 2.5], "path": ("a", None)}
    error.inner = ValueError("kept in an attribute")
    raise error


def fail_with_arguments_that_are_exceptions():
    raise PlainError(KeyError("k"), [ValueError("listed")])


def catch(function: Callable[..., object], *args: object) -> BaseException:
    """Return what a call raises, with a traceback that begins in `function`."""
    try:
        function(*args)
    except BaseException as exception:
        entry = exception.__traceback__
        return exception.with_traceback(entry and entry.tb_next)
    raise AssertionError("nothing was raised")


def fail_as_a_group():
    inner = ExceptionGroup("inner", [catch(fail_with_a_cause), catch(fail_with_notes)])
    raise ExceptionGroup("outer", [catch(fail_plainly), inner, TypeError("never raised")])


def fail_as_a_group_of_ones_own():
    group = OwnGroup("own", [catch(fail_plainly)], extra=7)
    group.add_note("about the group")
    raise group


def fail_as_a_group_of_exits():
    raise BaseExceptionGroup("exits", [SystemExit(2), KeyboardInterrupt()])


def fail_with_own_init():
    raise NeedsKeywordsError(code=7, reason="because")


def fail_with_slots():
    raise SlottedError("l", {"r": 1})


def fail_with_many_bases():
    raise ManyBasesError("both")


def fail_with_errno():
    open("/no/such/folder/file")


def fail_with_own_os_error():
    raise OwnOSError(errno.ENOENT, "gone", "here.txt", 2, "there.txt")  # 2: the number on Windows


def fail_with_an_os_error_without_number():
    raise OSError(None, "no number")


def fail_to_decode():
    b"abc\xff".decode("utf-8")


def fail_to_encode():
    "smørrebrød".encode("ascii")


def fail_to_compile():
    compile("a = (1,\nb = 2", "made up.py", "exec")


def fail_to_import():
    import no_such_module_anywhere  # noqa: F401


def fail_to_import_a_name():
    from json import dump_it  # noqa: F401


def fail_with_a_name_error():
    lenght = 3
    return lenght + length  # noqa: F821


def fail_with_an_attribute_error():
    text = "text"
    return text.uper()


def fail_with_a_key_error():
    return {"a": 1}["b"]


def fail_with_stop_iteration():
    raise StopIteration({"value": 1})


def fail_by_exiting():
    sys.exit(3)


def fail_by_exiting_with_a_text():
    raise OwnExit("a text")


def fail_with_a_keyboard_interrupt():
    raise KeyboardInterrupt


def fail_by_generator_exit():
    raise GeneratorExit("odd")


def fail_by_cancellation():
    raise asyncio.CancelledError("cancelled")


def fail_an_assertion(limit=3):
    number = 5
    assert number < limit, f"{number} is too much"


def fail_in_a_library():
    return json.loads('{"a": [1, 2')


def fail_in_a_lambda():
    return (lambda divisor: 1 / divisor)(0)


def fail_in_a_comprehension():
    return [10 / number for number in (2, 1, 0)]


def fail_in_a_generator():
    def numbers():
        yield 1
        raise PlainError("in the generator")

    return list(numbers())


def fail_in_a_class_body():
    class Broken:
        attribute = 1 / 0

    return Broken


def fail_in_executed_code():
    exec(compile("def made(x):\n    return x / 0\nmade(1)", "<made>", "exec"), {})


def fail_in_a_text():
    # Its file is called "<string>", as that of `python -c` is.
    exec("def made(x):\n    return x / 0\nmade(1)", {})


@dataclass
class Positive:
    """A number that is no other."""

    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise PlainError(self.number)


def fail_in_a_method_that_python_wrote():
    Positive(0)


def fail_with_odd_variables():
    number, nothing, text = 1.5, None, "quo'ted\n"
    nested = {"a": [(1, 2), {3}], "b": {"c": b"bytes"}}
    nested["self"] = nested
    big = "x" * 10_000
    many = list(range(100_000))
    mixed = [fail_plainly, Place, json, Place(1, [2]), threading.Lock(), Colour.RED, ...]
    raise PlainError(number, nothing, text, len(big), len(many), len(mixed))


def fail_deep(depth=450):
    if depth:
        return fail_a_step_deeper(depth - 1)
    raise PlainError("at the bottom")


def fail_a_step_deeper(depth):
    kept = depth * 2
    return fail_deep(depth) + kept


async def fail_as_a_coroutine():
    before = "the sleep"
    await asyncio.sleep(0)
    raise PlainError("awaited", before)


def take_two(one, two):
    """Is called with fewer or more."""


def raise_one(kind):
    raise kind("told")


def raise_it(error):
    raise error


def made_error(text=""):
    """Return an exception of a class that is made for it, and that nobody can import."""
    return type("MadeError", (Exception,), {"__module__": "made.when.asked.for"})(text)


def take_apart(value):
    return [*value]


def take_a_text(value):
    return value.lower()


class Failing:
    """Fails as a method and as an instance."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Failing({self.number})"

    def method(self, text: str = "method") -> None:
        raise PlainError(self.number, text)

    def __call__(self) -> None:
        raise PlainError(self.number, "called")

    @classmethod
    def of_the_class(cls) -> None:
        raise PlainError(cls.__name__)

    @staticmethod
    def static() -> None:
        raise PlainError("static")


def outer(secret: int) -> float:
    divisor = secret - secret
    return middle(divisor)


def middle(divisor: int) -> float:
    numerator = 1
    return inner(numerator, divisor)


def inner(numerator: int, divisor: int) -> float:
    return numerator / divisor


def recurse_for_ever(number: int = 0) -> int:
    return recurse_for_ever(number + 1) + 1


def lock_in_an_attribute() -> None:
    error = PlainError("locked")
    error.lock = threading.Lock()
    error.fine = [1]
    raise error


FAILURES: dict[str, Callable[[], object]] = {
    **{
        name: function
        for name, function in list(globals().items())
        if name.startswith("fail_") and name not in ("fail_a_step_deeper", "fail_as_a_coroutine")
    },
    "partial": functools.partial(fail_in_an_expression, divisor=0),
    "method": Failing(1).method,
    "instance": Failing(2),
    "class_method": Failing.of_the_class,
    "static_method": Failing.static,
    "lambda": lambda: {}["missing"],
    "builtin": functools.partial(int, "x"),
    "class": functools.partial(Failing, 1, 2),
}


# ---- Failures made to measure ----------------------------------------------------------------------------


class Colour(enum.Enum):
    """A value that travels by name."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Place:
    """A value of the users' own."""

    number: int
    things: Any = None


KINDS: dict[str, Callable[..., BaseException]] = {
    **{
        kind.__name__: kind
        for kind in (
            *(ValueError, TypeError, KeyError, IndexError, RuntimeError, ConnectionError, TimeoutError),
            *(ConnectionResetError, StopIteration, AttributeError, ImportError, NameError, ArithmeticError),
            *(SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException),
            *(PlainError, ManyBasesError, OwnExit),
        )
    },
    "OSError": lambda *args: OSError(errno.EACCES, "not for you", *map(str, args)),
    "UnicodeDecodeError": lambda *args: UnicodeDecodeError("utf-8", repr(args).encode(), 0, 1, "drawn"),
    "NeedsKeywordsError": lambda *args: NeedsKeywordsError(code=len(args), reason=repr(args)),
    "SlottedError": lambda *args: SlottedError(args, len(args)),
    "OwnOSError": lambda *args: OwnOSError(*args),
}


@dataclass(frozen=True)
class Recipe:
    """What to raise, and how."""

    kind: str = "ValueError"
    args: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    members: tuple[Recipe, ...] = ()  # makes it a group, of whatever kind
    link: str = ""  # how it hangs on the other one: "cause", "context", "suppressed"
    other: Recipe | None = None
    depth: int = 0  # frames between the function and the place of the failure

    def make(self) -> BaseException:
        if self.members:
            members = [catch(raise_by, member) for member in self.members]
            error: BaseException = BaseExceptionGroup(self.kind, members)
        else:
            error = KINDS[self.kind](*self.args)
        for note in self.notes:
            error.add_note(note)
        for name, value in self.attributes.items():
            setattr(error, name, value)
        return error


def raise_by(recipe: Recipe, *args: object, **kwargs: object) -> None:
    steps = recipe.depth
    if steps > 0:
        raise_deeper(steps, recipe)
    error = recipe.make()
    if recipe.other is None:
        raise error
    try:
        raise_by(recipe.other)
    except BaseException as other:
        if recipe.link == "cause":
            raise error from other
        if recipe.link == "suppressed":
            raise error from None
        raise error  # noqa: B904 - this is what "context" means


def raise_deeper(steps: int, recipe: Recipe) -> None:
    if steps > 1:
        raise_deeper(steps - 1, recipe)
    raise_by(replace(recipe, depth=0))


# ---- Exceptions taken apart ------------------------------------------------------------------------------

BUILTIN_FIELDS = (
    *("errno", "strerror", "filename", "filename2", "code", "value", "name", "name_from", "path", "obj"),
    *("encoding", "object", "start", "end", "reason", "msg", "lineno", "offset", "text", "end_lineno"),
    *("end_offset", "print_file_and_line", "left", "right", "never_set"),
)


def facts_of(exception: BaseException) -> list[dict[str, Any]]:
    """Return all that there is about an exception and those that hang on it; values are rendered."""
    found: list[BaseException] = [exception]
    facts: list[dict[str, Any]] = []

    def plain(value: object) -> object:
        if isinstance(value, BaseException):
            for number, other in enumerate(found):
                if other is value:
                    return f"exception {number}"
            found.append(value)
            return f"exception {len(found) - 1}"
        if isinstance(value, (list, tuple)):
            return [type(value), *map(plain, value)]
        return tidy(repr(value))

    for one in found:  # which grows meanwhile
        group = isinstance(one, BaseExceptionGroup)
        facts.append(
            {
                "type": type(one),
                "str": tidy(str(one)),
                "repr": tidy(repr(one)),
                "args": plain(one.args),
                "attributes": {name: plain(value) for name, value in sorted(vars(one).items())},
                "fields": {name: plain(getattr(one, name)) for name in BUILTIN_FIELDS if hasattr(one, name)},
                "cause": plain(one.__cause__),
                "context": plain(one.__context__),
                "suppress_context": one.__suppress_context__,
                "message": group and one.message,
                "members": group and plain(one.exceptions),
                "frames": [
                    (entry.filename, entry.lineno, entry.end_lineno, entry.colno, entry.end_colno, entry.name)
                    for entry in traceback.extract_tb(one.__traceback__)
                ],
            }
        )
    return facts


def tidy(text: str) -> str:
    """Make a text the same in every process: no addresses, and sets of words in order."""
    text = re.sub(r"0x[0-9a-fA-F]+", "0x…", text)
    # Their quotes may be escaped: a repr may stand in a text whose repr it is.
    return re.sub(r"""\{([\w'"\\]+(?:, [\w'"\\]+)+)\}""", lambda found: _sorted_set(found[1]), text)


def _sorted_set(members: str) -> str:
    return "{" + ", ".join(sorted(members.split(", "))) + "}"


# ---- To look at what was raised ---------------------------------------------------------------------------


def formatted(exception: BaseException) -> str:
    return "".join(traceback.format_exception(exception))
