"""Threads that tasks leave behind in their worker."""

from __future__ import annotations

import functools
import os
import sys
import threading
from _thread import _count as count_threads

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..stacks import Place


class LeftThreads:
    """Looks for threads that tasks have left behind in this process, and that may disturb the next.

    Those of libraries do not count, such as the idle threads of a pool or the monitor of a progress bar: a
    new process would have them as soon. A thread is a library's if it stands in code of the standard library
    or of installed packages alone. The module `threading` says nothing, since every thread begins there.
    """

    def __init__(self) -> None:
        self._count_at_start = count_threads()
        self._at_start = frozenset(sys._current_frames())  # noqa: SLF001

    def exist(self) -> bool:
        """Tell whether there are any."""
        if count_threads() <= self._count_at_start:  # takes a hundredth of a look at the frames
            return False
        from ..stacks import stacks

        return any(
            thread not in self._at_start and not _is_of_library(places) for thread, places in stacks().items()
        )


def _is_of_library(places: Iterable[Place]) -> bool:
    is_of_library = False
    for file, _, _ in places:
        if not file.startswith(_library_folders()):
            return False
        is_of_library |= file != threading.__file__
    return is_of_library


@functools.cache
def _library_folders() -> tuple[str, ...]:
    """Return how the file names of code begin that is not the user's own."""
    import site
    import sysconfig
    from pathlib import Path

    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parents[2])}
    return ("<frozen ", *(os.path.join(folder, "") for folder in folders))
