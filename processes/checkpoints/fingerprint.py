"""What a task calls and with what, as a digest that is the same in each run of a program.

Pickles are no help here: they depend on which equal values are one object, on the order of sets, on line
numbers, and on the ids that classes and functions get in each process. So what a value is made of is written
into a hash:

- A function is its code without line numbers, its defaults, what it has closed over, and the globals that it
  names: functions and classes among these by their own contents, whichever module of the user's they are of.
- A module of the user's that is imported in a function, or of which code wants more than parts that it names,
  is its source file, with those that it imports.
- Where code asks for subclasses, those of each class that it may mean count too.
- What a compiled module of the user's holds is its name, and that module's file.
- An import that waits for its first use (Python 3.15) is done: what it brings counts as any global does.
- What belongs to Python or to an installed package is its name, and the version of the package, or its files.
- Any other object is what it is reduced to for a pickle.

Where in doubt the digest differs, and a task runs once more than it had to. It cannot see what a function
looks up by a name that it makes, has a library look up, or reads from the world: files, the clock, the
environment.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from hashlib import blake2b
from struct import pack
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from zlib import crc32

from ..interrupt import is_of_signal
from ..reprs import brief_repr
from ..serialization.pickling import is_simple
from ..serialization.reducers import shared_by_all
from .code_reading import Code, steps_and_constants
from .contents import DIGEST_BYTES, Part, Writer
from .provenance import Modules, imports_by_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SHORT: Final = 4  # is enough of one that decides nothing

_CALL: Final = print  # in the place of a function: all that counts is what it is given

_PYTHON: Final = f"{sys.implementation.cache_tag} {sys.flags.optimize}".encode()

_T = TypeVar("_T")


class _Digest(NamedTuple):
    """The digest of a value, and whether code that it needs imports modules which texts name."""

    digest: bytes
    imports_by_text: bool


class NoFingerprintError(Exception):
    """A call has no fingerprint; the text says of what the contents cannot be told, and why."""


class _SetHoldsItselfError(NoFingerprintError):
    """A set leads back to what holds it, so that its items have no digests of their own.

    Attributes
    ----------
    holder : object
        What holds it. All else that stands on the way may have a digest where it is met by itself.
    """

    def __init__(self, holder: object) -> None:
        super().__init__(f"a set leads back to {brief_repr(holder)}, which a list or dict may do")
        self.holder = holder


def digest_of(data: bytes | memoryview) -> bytes:
    """Return the digest of some bytes."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


class Fingerprints:
    """Makes the fingerprints of a run's tasks; what several of them name is looked at once."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[object, _Digest | str]] = {}
        self._used: dict[int, tuple[object, dict[str, bytes]]] = {}
        self._parts: dict[int, tuple[object, Part]] = {}
        self._begun: set[int] = set()  # ids of those of which the part is being made
        self._codes: dict[int, tuple[CodeType, Code]] = {}
        self._large: dict[tuple[int, int], tuple[memoryview, bytes]] = {}  # by address and size
        self.modules = Modules()
        self.shared = {id(value): (module, value) for module, _, value in shared_by_all()}

    def of_call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Return the fingerprint of a call: the digest of the function, and that of its arguments.

        Raises
        ------
        NoFingerprintError
            If it has none: the code of a value may raise anything.
        """
        called = _known(self._functions, function, lambda one: self._try_digest(one, "function"))
        given: _Digest | str | None = None
        if is_simple(args) and is_simple(kwargs):
            with contextlib.suppress(ValueError):  # of so many digits Python writes no number
                given = _Digest(repr((args, kwargs)).encode(), imports_by_text=False)
        given = given or self._try_digest(functools.partial(_CALL, *args, **kwargs), "arguments")
        if isinstance(called, str) or isinstance(given, str):
            raise NoFingerprintError(called if isinstance(called, str) else given)
        imported = b""
        if called.imports_by_text or given.imports_by_text:
            imported = self.modules.named_in("", function, *args, *kwargs.values())
        return digest_of(_PYTHON + called.digest) + digest_of(given.digest + imported)

    def used_by(self, function: Callable[..., Any]) -> dict[str, bytes]:
        """Return digests of what a function names, by variable, to tell which of them was edited.

        That of its own code is under an empty name, and the name of its module, which counts too, under
        ``__module__``.
        """
        return _known(self._used, function, self._look_up_used)

    def _look_up_used(self, function: Any) -> dict[str, bytes]:
        while type(function) in {functools.partial, MethodType}:
            function = function.func if type(function) is functools.partial else function.__func__
        if type(function) is not FunctionType:
            return {}
        variables = self.variables_of(function).items()
        used = {name: self._mark(value) for name, value in variables if value is not function}
        code = self.code(function.__code__).digest[:_SHORT]
        return {"": code, "__module__": str(function.__module__).encode(), **used}

    def variables_of(self, function: FunctionType) -> dict[str, object]:
        """Return what a function finds in its variables: globals, and what it has closed over."""
        there = function.__globals__
        found = {name: there[name] for name in self.code(function.__code__).globals if name in there}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it is empty
                found[name] = cell.cell_contents
        return found

    def _mark(self, value: object) -> bytes:
        """Return what tells a value from later ones, as far as it can be told."""
        if is_simple(value):
            with contextlib.suppress(ValueError):  # of so many digits Python writes no number
                return pack("<I", crc32(repr(value).encode("utf-8", "surrogatepass")))
        found = self._try_digest(functools.partial(_CALL, value), "value")
        return b"" if isinstance(found, str) else found.digest[:_SHORT]

    def _try_digest(self, value: object, what: str) -> _Digest | str:
        """Return the digest of a value; as text, why it has none."""
        try:
            return self._digest(value)
        except BaseException as error:
            if is_of_signal(error):
                raise
            return f"its {what}: {_reason(error)}"

    def digest(self, value: object) -> bytes:
        """Return the digest of a value, with all functions and classes that it needs."""
        if not is_simple(value):
            return self._digest(value).digest
        writer = Writer(self)
        writer.write(value)
        return writer.digest()

    def _digest(self, value: object) -> _Digest:
        writer = Writer(self)
        writer.write_held(value)
        root = writer.part()
        numbers: dict[int, int] = {}
        queue: list[Any] = []
        whole = blake2b(root.digest, digest_size=DIGEST_BYTES)

        def note(needs: Iterable[Any]) -> None:
            for need in needs:
                if id(need) not in numbers:
                    numbers[id(need)] = len(queue)
                    queue.append(need)
                whole.update(pack("<I", numbers[id(need)]))

        note(root.needs)
        parts: list[Part] = []
        names: set[str] = set()  # which code in it names
        firm = [*root.needs]  # which more than annotations name
        is_untold = False
        while len(parts) < len(queue):
            for need in queue[len(parts) :]:
                part = _known(self._parts, need, self._try_part_of)
                parts.append(part)
                names.update(part.names)
                is_untold = is_untold or part.untold is not None
                whole.update(part.digest)
                note(part.needs)
            if "__subclasses__" in names:  # of which class it may not say
                for need in [*queue]:
                    note(below := self._subclasses_of(need))
                    firm += below
        if is_untold:
            self._check_told(firm)
        return _Digest(whole.digest(), imports_by_text(names))

    def _check_told(self, firm: list[Any]) -> None:
        """Raise why the contents of something cannot be told that more than annotations name."""
        seen: set[int] = set()
        for need in firm:  # grows meanwhile
            if id(need) not in seen:
                seen.add(id(need))
                part = self._parts[id(need)][1]
                if part.untold is not None:
                    raise NoFingerprintError(f"{self._variable(need, firm)}{_reason(part.untold)}")
                firm += [other for other in part.needs if id(other) not in part.noted]

    def _variable(self, value: object, holders: list[Any]) -> str:
        """Name the variable by which a function has a value, for a message; nothing if none of them does."""
        for holder in holders:
            if type(holder) is FunctionType:
                for name, other in self.variables_of(holder).items():
                    if other is value:
                        return f"{name!r} in {holder.__name__}: "
        return ""

    def _subclasses_of(self, need: Any) -> list[type]:
        """Return the user's own classes that inherit from a class."""
        found = type.__subclasses__(need) if issubclass(type(need), type) else []
        return [cls for cls in found if self.modules.version(cls.__module__) is None]

    def _try_part_of(self, need: Any) -> Part:
        if id(need) in self._begun:
            raise _SetHoldsItselfError(need)
        self._begun.add(id(need))
        try:
            return self._part_of(need)
        except Exception as error:
            if _goes_on(error, need):
                raise
            named = need if isinstance(need, (type, FunctionType)) else type(need)
            writer = Writer(self)
            writer.write_text(f"{named.__module__} {named.__qualname__}")
            return writer.part()._replace(untold=error)
        finally:
            self._begun.discard(id(need))

    def _part_of(self, need: Any) -> Part:
        writer = Writer(self)
        try:
            writer.write_contents(need)
        except Exception as error:
            if _goes_on(error, need) or not self._tells_by_source(need):
                raise
            # Mappers of databases hang on a class what they know of all others, and connections.
            writer = Writer(self)
            writer.write_source(need)
        return writer.part()

    def _tells_by_source(self, need: Any) -> bool:
        """Tell whether it is a class that a library has made of what is written in a module of the user's."""
        metaclass = type(need)
        return (
            issubclass(metaclass, type)
            and metaclass.__module__.partition(".")[0] not in sys.stdlib_module_names
            and self.modules.version(metaclass.__module__) is not None
            and bool(self.modules.source_of_classes(need.__module__))
        )

    def large(self, memory: memoryview) -> bytes:
        """Return the digest of a large buffer, which many tasks may be given; it is kept there."""
        from ..runners.pool.mappings import address_of

        key = (address_of(memory), memory.nbytes)
        if key not in self._large:
            self._large[key] = memory, digest_of(memory)
        return self._large[key][1]

    def code(self, code: CodeType) -> Code:
        """Return what is to know of code."""
        return _known(self._codes, code, self._look_at)

    def _look_at(self, code: CodeType) -> Code:
        writer = Writer(self)
        inner = [self.code(constant) for constant in code.co_consts if type(constant) is CodeType]
        writer.write(
            (
                *(steps_and_constants(code), [one.digest for one in inner], code.co_names, code.co_varnames),
                *(code.co_freevars, code.co_cellvars, code.co_flags, code.co_argcount, code.co_name),
                *(code.co_posonlyargcount, code.co_kwonlyargcount, code.co_exceptiontable),
            )
        )
        return Code.read(code, writer.digest(), inner)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, NoFingerprintError) else brief_repr(error)


def _goes_on(error: Exception, need: object) -> bool:
    """Tell whether an error concerns more than the thing that was looked at."""
    return is_of_signal(error) or (type(error) is _SetHoldsItselfError and error.holder is not need)


def _known(known: dict[int, tuple[Any, _T]], value: Any, make: Callable[[Any], _T]) -> _T:
    """Return what is made of an object, once; the object is kept, so that no other one gets its id."""
    found = known.get(id(value))
    if found is None:
        found = known[id(value)] = value, make(value)
    return found[1]
