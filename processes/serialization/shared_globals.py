"""The globals of a script, or of another module that no worker can import, on each worker.

All that comes by value from one module shares its globals there for a run, as it does here: what one function
has put into them (a cache, an open connection) others find. Functions and classes bring those that they name;
one that is there already stays as it is.
"""

from __future__ import annotations

import dis
import re
from contextlib import suppress
from itertools import chain, pairwise
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, GenericAlias, ModuleType, UnionType
from typing import TYPE_CHECKING, Any, Final

from ..annotations import annotations_of
from .importable import stays_away
from .lazy_imports import LAZY_IMPORT
from .pickling import ATOMS, places_in_globals
from .rebuild import Rebuilt, contents_of, find_globals, first_brought, globals_of, make_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .pickling import Named, Place

_DEEPEST: Final = 100  # functions that close over functions; each of a longer chain has cells of its own

_IN_ANNOTATIONS: Final = (type, ModuleType, GenericAlias, UnionType, LAZY_IMPORT or type)

_NOT_SHARED: Final = (*ATOMS, type, ModuleType, BuiltinFunctionType, FunctionType)
"""What is the same everywhere already, or sees to that by itself."""


class SharedGlobals:
    """Stands for the globals of a module on the way to a worker."""

    __slots__ = ("module", "values")

    def __init__(self, module: str, values: Mapping[str, Any]) -> None:
        self.module = module
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        return find_globals, (self.module, self.module in stays_away)

    def empty(self, cell: CellType) -> Rebuilt:
        """Return what stands for a cell of a closure; what has closed over it brings its contents."""
        place = place_among(self.values, cell)
        empty = Rebuilt(make_cell)
        return empty if place is None else Rebuilt(first_brought, self.module, place, empty)

    def stand_in(self, value: Any) -> Any:
        """Return what stands for an object that a global is too, and else the object."""
        name = name_of_shared(self.values, value)
        return value if name is None else Rebuilt(first_brought, self.module, name, value)

    def stand_ins(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do it for the values of a dict."""
        return {name: self.stand_in(value) for name, value in values.items()}

    def stand_ins_of_state(self, state: Any) -> Any:
        """Do it for the attributes of an object: a dict, or a pair of them where it has slots."""
        if isinstance(state, tuple):
            return tuple([part and self.stand_ins(part) for part in state])
        return state and self.stand_ins(state)

    def put_stand_ins(self, parts: dict[str, Any]) -> None:
        """Do it for the defaults of a function."""
        if defaults := parts["__defaults__"]:
            parts["__defaults__"] = tuple([self.stand_in(value) for value in defaults])
        if defaults := parts["__kwdefaults__"]:
            parts["__kwdefaults__"] = self.stand_ins(defaults)


def name_of_shared(values: Mapping[str, Any], value: object) -> str | None:
    """Return the name that an object has among globals; None also if a copy of it would be as good."""
    return None if issubclass(type(value), _NOT_SHARED) else name_among(values, value)


def name_among(values: Mapping[str, Any], value: object) -> str | None:
    """Return the first name that an object has among globals; None if it has none."""
    place = place_among(values, value)
    return None if place is None else place[0]


def place_among(values: Mapping[str, Any], value: object) -> Place | None:
    """Return where an object is among globals, or a cell in what functions there have closed over."""
    place = _places_in(values).get(id(value))
    if place is None:
        return None
    name, *numbers = place
    found: Any = values.get(name)
    with suppress(AttributeError, TypeError, IndexError, ValueError):  # the program has changed since
        for number in numbers:
            holder = found.cell_contents if type(found) is CellType else found
            found = holder.__closure__[number]
    return place if found is value else None


def _places_in(values: Mapping[str, Any]) -> dict[int, Place]:
    # To look at all of them for each function would take longer than to serialize it.
    count, places = places_in_globals.get(id(values), (-1, {}))
    if count != len(values):
        items = list(values.items())  # at once, as other threads may add to them
        places = {id(value): (name,) for name, value in reversed(items)}
        for name, value in items:
            _add_cells(value, (name,), places)
        places_in_globals[id(values)] = len(items), places
    return places


def _add_cells(value: object, place: Place, places: dict[int, Place]) -> None:
    """Note the places of what a function has closed over, and of what a function therein has."""
    # Not what a proxy says of itself, which may be an error.
    if type(value) is FunctionType and len(place) <= _DEEPEST:
        for number, cell in enumerate(value.__closure__ or ()):
            if id(cell) not in places:
                places[id(cell)] = (*place, number)
                for contents in contents_of(cell):
                    _add_cells(contents, places[id(cell)], places)


def is_global(function: FunctionType) -> bool:
    """Tell whether a function is a global of its module, or of the script, which may have decorated it."""
    for module in (function.__module__, "__main__"):
        values = globals_of(module)
        if values.get(function.__name__) is function or name_among(values, function) is not None:
            return True
    return False


def module_of(named: Named) -> tuple[str, dict[str, Any]] | None:
    """Find the name and the globals of the module that a function or class is of; None if it is of none."""
    own = named.__globals__ if isinstance(named, FunctionType) else None
    name: str = named.__module__ if own is None else own.get("__name__", "")
    found = globals_of(name)
    return (name, found) if found and (own is None or own is found) else None


def looked_up_for(named: Named, among: Mapping[str, Any]) -> dict[str, Any]:
    """Return the globals that a function or class needs though its code does not name them.

    They are itself, since a pickle of it goes by its name; what annotations name as text, its own and those
    of what its code makes; and subclasses, where code asks for `__subclasses__`.
    """
    # Or what it stands in: the outermost class. What a function has made is found by no name.
    name = "" if "<locals>" in named.__qualname__ else named.__qualname__.partition(".")[0]
    found = {name: among[name]} if isinstance(among.get(name), (type, FunctionType)) else {}
    codes = _codes_of(named)
    for annotation in [*annotations_of(named).values(), *chain.from_iterable(map(_annotations_in, codes))]:
        # A typed dict or named tuple has made a reference of the text.
        annotation = getattr(annotation, "__forward_arg__", annotation)
        if type(annotation) is str:
            words = re.findall(r"[^\W\d]\w*", annotation)
            found |= {word: among[word] for word in words if _is_for_annotations(among.get(word))}
    if any("__subclasses__" in names_in(code) for code in codes):
        items = list(among.items())  # at once, as other threads may add to them
        found |= {name: value for name, value in items if _is_defined_beside(named, value)}
    return found


def _codes_of(named: Named) -> list[object]:
    """Return the code of a function, or of a class's methods."""
    if isinstance(named, FunctionType):
        return [named.__code__]
    return [getattr(getattr(item, "__func__", item), "__code__", None) for item in vars(named).values()]


def _annotations_in(code: object) -> Iterator[object]:
    """Give the annotations of functions and classes that code makes, if they are constants, as texts are.

    Those of a function stand each behind the name of its parameter.
    """
    if type(code) is not CodeType:
        return
    if code.co_name == "__annotate__":  # of a function, from Python 3.14 on
        yield from code.co_consts
    inner = [constant for constant in code.co_consts if type(constant) is CodeType]
    for one in inner:
        parameters = {*one.co_varnames, "return"}
        for constant in code.co_consts:
            if type(constant) is tuple and parameters.issuperset(constant[::2]):
                yield from constant[1::2]
        yield from _annotations_in(one)
    if "__annotations__" in code.co_names:  # the body of a class
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for step, following in pairwise(steps):
            if (following.opname, following.argval) == ("LOAD_NAME", "__annotations__"):
                yield step.argval


def names_in(code: object) -> Iterator[str]:
    """Give the global names and the attributes that code uses, and that of functions in it."""
    if type(code) is CodeType:
        yield from code.co_names
        for constant in code.co_consts:
            yield from names_in(constant)


def _is_defined_beside(named: Named, value: Any) -> bool:
    return issubclass(type(value), type) and value.__module__ == named.__module__


def _is_for_annotations(value: object) -> bool:
    return issubclass(type(value), _IN_ANNOTATIONS) or type(value).__module__ == "typing"
