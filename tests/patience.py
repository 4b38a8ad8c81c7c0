"""Tests whose time limits are to strike one place, on machines that may be too busy to get there in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature


def patient(test: Callable[..., None]) -> Callable[..., None]:
    """Give a test the argument `times`, by which it multiplies its seconds.

    It is 1; and where the test fails so, 4 and then 16. What is wrong fails however much time there is.
    """
    whole = signature(test)

    @wraps(test)
    def try_it(**fixtures: object) -> None:
        for times in (1, 4):
            try:
                return test(times=times, **fixtures)
            except Exception:  # noqa: S112 - with more time it is told, if there is anything to tell
                continue
        return test(times=16, **fixtures)

    rest = [parameter for name, parameter in whole.parameters.items() if name != "times"]
    try_it.__signature__ = whole.replace(parameters=rest)  # type: ignore[attr-defined]  # pytest looks there
    return try_it
