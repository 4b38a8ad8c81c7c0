"""What the tasks of random graphs do, for workers that import this, and neither pytest nor hypothesis."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from failing import Recipe, raise_by, tidy


def digest(value: object) -> int:
    return zlib.crc32(tidy(repr(value)).encode())


def give(value: object, *args: object, **kwargs: object) -> list[object]:
    """Return the value, and whether what came from dependencies came whole and in order."""
    return [value, digest(args), sorted(kwargs), digest(sorted(kwargs.items()))]


def fail_first(path: str, times: int, recipe: Recipe, *args: object, **kwargs: object) -> list[object]:
    """Fail as often as told, counted in a file, then return."""
    with Path(path).open("a") as file:
        file.write("x")
    made = Path(path).stat().st_size
    if made <= times:
        raise_by(replace(recipe, args=(*recipe.args, made)))
    return give(made, *args, **kwargs)


def linger(run: int, number: int, seconds: float = 0.0) -> tuple[int, int]:
    time.sleep(seconds)
    return run, number


def work(folder: str, name: str, version: int, *needed: object, **keywords: object) -> object:
    """Note that the task runs, fail if the folder says so, or give what tells all that it was made of."""
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    if (Path(folder) / f"{name}-fails").exists():
        raise ConnectionError(name)
    return [name, version, needed, sorted(keywords.items())]


@dataclass
class Pair:
    one: Any
    other: Any = None


def give_back(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def spoil(value: Any) -> None:
    """Write over all arrays in a value: nobody else may see it."""
    import numpy as np  # here, since the workers of other tests need none

    if isinstance(value, np.ndarray):
        value[...] = 0
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    ):
        spoil(inner)
