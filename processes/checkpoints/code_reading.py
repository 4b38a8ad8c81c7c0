"""What code and annotations say: what code does, and what both name and import."""

from __future__ import annotations

import re
import typing
from itertools import accumulate, pairwise
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..annotations import annotations_of, part_of
from ..serialization.rebuild import globals_of
from .library_contents import repr_without_addresses
from .provenance import imports_by_text, texts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from dis import Instruction

_READS_GLOBAL: Final = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_READS_ATTRIBUTE: Final = {"LOAD_ATTR", "LOAD_METHOD"}  # for a method's call, before Python 3.12
_READS_NAME: Final = _READS_GLOBAL | _READS_ATTRIBUTE
_OF_ATTRIBUTE: Final = _READS_ATTRIBUTE | {"STORE_ATTR", "DELETE_ATTR"}

TYPE_ALIAS: Final = [kind] if (kind := getattr(typing, "TypeAliasType", None)) else []  # from 3.12 on


class Code(NamedTuple):
    """What is to know of code, with the code in it.

    Attributes
    ----------
    digest : bytes
        What it does.
    globals : tuple of str
        The globals that it reads.
    names : frozenset of str
        All that it names: these, and attributes.
    whole : frozenset of str
        Those of which it wants more than attributes that it names: if they are modules, anything in them.
    imports : tuple of tuple
        What it imports: from how many levels up, the module, and what of it.
    texts : tuple of str
        Those in it, if it imports modules that texts name.
    """

    digest: bytes
    globals: tuple[str, ...]
    names: frozenset[str]
    whole: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    texts: tuple[str, ...]

    @classmethod
    def read(cls, code: CodeType, digest: bytes, inner: Sequence[Code]) -> Code:
        """Read code, with what is known of the code in it."""
        found: dict[str, None] = {}
        whole: set[str] = set()
        imports: list[tuple[int, str, tuple[str, ...]]] = []
        constants: list[Any] = []
        for step, following in pairwise(_steps_that_name(code)):
            is_whole = following.opname not in _OF_ATTRIBUTE or following.argval == "__dict__"
            if is_whole and step.opname in _READS_NAME:
                whole.add(step.argval)
            if step.opname in _READS_GLOBAL:
                found[step.argval] = None
            elif step.opname == "IMPORT_NAME":
                level, items = constants[-2:]
                imports.append((level, step.argval, items or ()))
            elif step.opname.startswith("LOAD_"):  # the level and the names are the two before
                constants.append(step.argval)
        names = frozenset(code.co_names).union(*(one.names for one in inner))
        texts = texts_in(code.co_consts) if imports_by_text(names) else []
        for one in inner:
            found |= dict.fromkeys(one.globals)
            whole |= one.whole
            imports += one.imports
            texts += one.texts
        return cls(digest, tuple(found), names, frozenset(whole), tuple(imports), tuple(texts))


def _steps_that_name(code: CodeType) -> list[Instruction]:
    if not code.co_names:
        return []
    from dis import get_instructions

    return [step for step in get_instructions(code) if step.opname != "EXTENDED_ARG"]


def steps_and_constants(code: CodeType) -> object:
    """Return what code does, but for the line number that a class's body in a function has in it."""
    if code.co_name == "__hash__" and code.co_filename.startswith("<attrs generated "):
        return code.co_names  # its one constant is a hash of text, which differs from run to run, as its sign
    if "__firstlineno__" not in code.co_names:  # as from Python 3.13 on
        return code.co_code, [constant for constant in code.co_consts if type(constant) is not CodeType]
    import dis

    steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    return [
        (name, None if type(value) is CodeType else value)
        for (name, value), (_, stored_as) in zip(steps, steps[1:] + steps[:1], strict=True)
        if stored_as != "__firstlineno__"
    ]


def annotation_texts(named: Any) -> list[tuple[str, str]]:
    """Return annotations as text, and the aliases that they name: what reads them may do its work by them."""
    there = _globals_of(named)
    texts = [(name, _as_text(value)) for name, value in annotations_of(named).items()]
    aliases = set()
    for _, text in texts:  # which grows meanwhile
        for name, alias in _named_in(text, there):
            if name not in aliases and _is_alias(alias):
                aliases.add(name)
                is_named = type(alias) in TYPE_ALIAS
                texts.append((name, _as_text(part_of(alias, "value") if is_named else alias)))
    return texts


def _named_in(text: str, there: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give what an annotation names, as in ``prices``, ``prices.Table`` and ``prices.Table.Row``."""
    for dotted in re.findall(r"\w+(?:\.\w+)*", text):
        names = there
        for part in accumulate(dotted.split("."), "{}.{}".format):
            value = names.get(part.rpartition(".")[2])
            yield part, value
            names = vars(value) if isinstance(value, (type, ModuleType)) else {}


def _globals_of(named: Any) -> Mapping[str, Any]:
    if isinstance(named, FunctionType):
        return named.__globals__
    return globals_of(named.__module__)


def _as_text(value: object) -> str:
    return value if type(value) is str else repr_without_addresses(value)


def _is_alias(value: object) -> bool:
    """Tell whether a value is what annotations use under a name, and no class."""
    kind = type(value)
    return kind in TYPE_ALIAS or (kind.__module__ in {"typing", "types"} and hasattr(value, "__args__"))


def named_in_annotations(named: Any) -> tuple[list[object], list[object]]:
    """Return the classes that annotations name, and what `Annotated` adds to them."""
    there = _globals_of(named)
    found: list[object] = []
    added: list[object] = []
    pending: list[Any] = list(annotations_of(named).values())
    seen: dict[int, Any] = {}  # by id, and kept, as what some stand for is made when it is asked for
    while pending:
        one = pending.pop()
        text = getattr(one, "__forward_arg__", one)
        if type(text) is str:
            pending += [value for _, value in _named_in(text, there) if isinstance(value, type)]
        elif isinstance(one, (type, FunctionType)):
            found.append(one)
        elif id(one) not in seen:
            seen[id(one)] = one
            pending += getattr(one, "__args__", ())
            added += getattr(one, "__metadata__", ())
            if type(one) in TYPE_ALIAS:
                pending.append(part_of(one, "value"))
    return found, added
