"""A mapping that is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

Value = TypeVar("Value")


class LazyMapping(Mapping[str, Value]):
    """Something by name, made all at once when any of it is first asked for, and kept.

    Parameters
    ----------
    make : callable
        Makes it.
    """

    def __init__(self, make: Callable[[], dict[str, Value]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> dict[str, Value]:
        return self._make()

    def __getitem__(self, name: str) -> Value:
        return self._made[name]

    # `Mapping` has these two by a KeyError, which may tell the nearest name: of thousands that takes a while.

    def __contains__(self, name: object) -> bool:
        return name in self._made

    def get(self, name: str, default: Any = None) -> Any:
        return self._made.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def __repr__(self) -> str:
        return repr(self._made)
