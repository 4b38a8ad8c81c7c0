"""What a pool refuses, before anything runs.

Wrong types are a TypeError, wrong values a ValueError, what cannot be here and now is a RuntimeError.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...memory import can_look_at_others
from ...reprs import brief_repr

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_not_importing() -> None:
    """Refuse a pool to a module that another process imports for a function that it is to call.

    Each worker of that pool would import the module too, and start workers in its turn, without end.
    """
    worker = sys.modules.get(f"{__package__}.worker")  # only in a worker process
    multiprocessing = sys.modules.get("multiprocessing.process")
    if worker is not None and worker.is_loading:
        who = "A worker process"
    # As multiprocessing does it in its own processes.
    elif multiprocessing is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
        who = "A process of multiprocessing"
    else:
        return
    raise RuntimeError(
        f"{who} imports this module to call one of its functions, and the module starts a run on worker "
        'processes itself; put what shall run once below `if __name__ == "__main__":`, or into a function'
    )


def check_memory_is_visible() -> None:
    """Refuse a limit where the memory of others cannot be looked at: who asks for one relies on it."""
    if not can_look_at_others():
        raise RuntimeError(
            "memory_limit cannot be kept here: /proc is missing or belongs to another PID namespace, so the "
            "memory of worker processes cannot be looked at; mount one that belongs to this namespace (as "
            "`unshare --mount-proc` and `bwrap --proc /proc` do), or leave memory_limit out"
        )


def check_preload(preload: object) -> None:
    """Refuse what does not name modules."""
    if isinstance(preload, str) or not isinstance(preload, Sequence):
        hint = f": write preload=({preload!r},)" if isinstance(preload, str) else ""
        raise TypeError(f"preload must be a sequence of module names, not {brief_repr(preload)}{hint}")
    for name in preload:
        if not isinstance(name, str):
            raise TypeError(f"preload must hold names of modules, not {brief_repr(name)}")
        if not all(map(str.isidentifier, name.split("."))):
            raise ValueError(f"preload must hold names of modules, not {brief_repr(name)}")


def check_modules(names: Iterable[str]) -> None:
    """Refuse names that no module has, by a ModuleNotFoundError."""
    from ...serialization.importable import find_specs

    for name in names:
        if not find_specs(name):
            raise ModuleNotFoundError(
                f"preload has {name!r}, and no module of this name is found: install it, or correct the name",
                name=name,
            )
