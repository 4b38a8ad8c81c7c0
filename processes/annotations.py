"""Annotations that may name what nobody knows.

From Python 3.14 on they are evaluated when somebody asks for them (PEP 649), as are, from 3.12 on, type
aliases and what type parameters may stand for. What a program imports for type checkers alone is unknown
then, and that is no error until somebody asks.
"""

from __future__ import annotations

import sys

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature
    from typing import Any

    from .serialization.pickling import Named

ARE_DEFERRED = sys.version_info >= (3, 14)

OF_CLASSES = frozenset({"__annotations__", "__annotations_cache__", "__annotate_func__"})
"""Under which names a class has annotations of its own."""

# Those of `annotationlib.Format`, whose import takes longer than all else that a function needs to be read.
_VALUE, _FORWARD_REFERENCE, _STRING = 1, 3, 4


class Evaluated:
    """Gives annotations that have been evaluated where they come from (Python 3.14 and later).

    It is the ``__annotate__`` of functions and classes that are made anew: `functools.wraps`, for one, looks
    for annotations there.
    """

    __slots__ = ("values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __call__(self, form: int, /) -> dict[str, Any]:
        if form in (_VALUE, _FORWARD_REFERENCE):
            return dict(self.values)
        if form == _STRING:
            return _texts_of(self.values)
        raise NotImplementedError(form)  # as annotationlib expects of those that it need not know


def as_attribute(named: Named) -> dict[str, Any]:
    """Return what a function or class itself is annotated with, if it is, as the attribute of another."""
    annotations = annotations_of(named)
    if not annotations:
        return {}
    if getattr(named, "__annotate__", None) is not None:
        return {"__annotate__": Evaluated(annotations)}
    return {"__annotations__": dict(annotations)}


def annotations_of(named: Named) -> dict[str, Any]:
    """Return what a function or class itself is annotated with; all as text if they are not known."""
    if isinstance(named, type) and OF_CLASSES.isdisjoint(vars(named)):
        return {}
    return named.__annotations__ if _are_known(named) else _as_text(named)


def _are_known(named: Named) -> bool:
    """Tell whether annotations can be evaluated; proxies of extension modules tell those of others."""
    try:
        return isinstance(named.__annotations__, dict)
    except Exception:  # the program's own code
        return False


def part_of(named: Any, part: str, otherwise: Any = None) -> Any:
    """Return what a type alias (its `value`) or a type parameter (its `bound`, say) stands for.

    If that is not known, a reference with its text stands for it; `otherwise` before Python 3.14.
    """
    try:
        return getattr(named, f"__{part}__")
    except Exception:  # the program's own code
        return _as_reference(named, part, otherwise)


def signature_of(function: Callable[..., object]) -> Signature:
    """Return what `inspect.signature` tells of a callable's parameters; raises what that raises."""
    import inspect

    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=_text())
    return inspect.signature(function)


if sys.version_info >= (3, 14):

    def _as_text(named: Named) -> dict[str, Any]:
        from annotationlib import get_annotations

        try:
            return get_annotations(named, format=_text())
        except Exception:  # the program's own code stands for them
            return {}

    def _as_reference(named: Any, part: str, otherwise: Any) -> Any:
        from annotationlib import Format, call_evaluate_function

        evaluate = getattr(named, f"evaluate_{part}")
        try:
            return call_evaluate_function(evaluate, Format.FORWARDREF)
        except Exception:  # the program's own code
            return otherwise

    def _texts_of(annotations: dict[str, Any]) -> dict[str, Any]:
        from annotationlib import annotations_to_string

        return annotations_to_string(annotations)

    def _text() -> Any:
        from annotationlib import Format

        return Format.STRING

else:

    def _as_text(_: Named) -> dict[str, Any]:
        return {}

    def _as_reference(_: Any, __: str, otherwise: Any) -> Any:
        return otherwise

    def _texts_of(annotations: dict[str, Any]) -> dict[str, Any]:
        return annotations
