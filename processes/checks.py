"""What several parts refuse in the same words, and what may have been meant.

Wrong types are refused by TypeError, wrong values by ValueError. A bool is no number.
"""

from __future__ import annotations

import sys
from bisect import bisect
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING

from .reprs import brief_repr, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeGuard

COMPARED = 200  # names, at most, that an unknown one is compared with, at some 20 µs each


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number, whole or not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_host_name(name: str) -> bool:
    """Tell whether sockets can look a name up: none of its parts is empty or longer than 63 characters."""
    try:
        name.encode("idna")  # as they do
    except UnicodeError:
        return False
    return True


def check_bool(name: str, value: object) -> None:
    """Refuse what is no bool; one of NumPy's is none, though it looks like one."""
    if not isinstance(value, bool):
        raise no_bool(name, value)


def no_bool(name: str, value: object) -> TypeError:
    """Make the error of :func:`check_bool`, for what is made so often that a call would count."""
    return TypeError(f"{name} must be bool, not {type_name(value)}")


def check_count(name: str, count: object) -> None:
    """Refuse what is no positive whole number; None means the default."""
    if count is None:
        return
    if not is_int(count):
        raise TypeError(f"{name} must be int or None, not {brief_repr(count)}")
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {brief_repr(count)}")


def check_interpreter(runner: str) -> None:
    """Refuse a runner that sends functions elsewhere, where cloudpickle and we cannot take them apart."""
    if sys.implementation.name != "cpython":
        raise ValueError(
            f"{runner} needs CPython: on {sys.implementation.name}, functions and failures cannot travel to "
            'other processes and back; use runner="thread" or runner="sequential"'
        )


def check_plain(name: str, function: object) -> None:
    """Refuse a function of which nothing runs when it is called, where nobody does more than that."""
    if any(map(iscoroutinefunction, (function, type(function).__call__))):
        raise TypeError(
            f"{name} is a coroutine function, which nobody awaits: make it a plain one, which may call "
            "asyncio.run"
        )
    check_yields_nothing(name, function)


def check_yields_nothing(name: str, function: object) -> None:
    """Refuse a function of which nothing runs when it is called, though one that is awaited may do."""
    if any(map(isgeneratorfunction, (function, type(function).__call__))):
        raise TypeError(
            f"{name} is a generator function, of which nothing runs: make it a plain one, without yield"
        )


def check_retries(retries: object) -> None:
    """Refuse what is no number of retries."""
    if not is_int(retries):
        raise TypeError(f"retries must be a non-negative int, not {type_name(retries)}")
    if retries < 0:
        raise ValueError(f"retries must be a non-negative int, not {brief_repr(retries)}")


def check_timeout(timeout: object) -> None:
    """Refuse what is no positive number of seconds for a server to answer in."""
    if not is_number(timeout):
        raise TypeError(f"timeout must be a positive number of seconds, not {brief_repr(timeout)}")
    if not 0 < timeout < 1e6:
        raise ValueError(
            f"timeout must be a positive number of seconds, less than a million, not {brief_repr(timeout)}"
        )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Give the nearest of some names as the end of a message; empty if none is near."""
    from difflib import get_close_matches

    name, names = name.lower(), list(names)
    if len(names) > COMPARED:  # those that begin or end like it
        ends_alike = _beside(name[::-1], [other[::-1] for other in names])
        names = [*_beside(name, names), *(other[::-1] for other in ends_alike)]
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _beside(name: str, names: list[str]) -> list[str]:
    """Return the names that stand next to one in alphabetical order."""
    ordered = sorted(names)
    place, each_side = bisect(ordered, name), COMPARED // 4
    return ordered[max(0, place - each_side) : place + each_side]
