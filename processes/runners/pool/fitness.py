"""Whether a worker is as good for the next task as a new one would be."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from _thread import _count as count_threads

from ...memory import fill_reserve, mapped_memory, own_memory
from .descriptors import fill_spare
from .surroundings import Surroundings

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..stacks import Place

GARBAGE_BYTES = 1 << 24  # that a worker may have grown by from run to run without looking for garbage

OPENING_SECONDS = 1e-5
"""In so long a time a task opens few descriptors; to look whether any are left takes a tenth of it."""


class Fitness:
    """Puts this process back into the state in which each task is to find it, as far as that can be.

    Attributes
    ----------
    seconds : float
        Of calls, since somebody has looked at the descriptors.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._pid = os.getpid()
        self._attempts = 0
        self._surroundings: Surroundings | None = None  # until a run has begun
        self._left_threads = _LeftThreads()
        self._memory_at_start = own_memory(self._pid)
        self._memory_before_import = 0  # of the modules that a function needs; 0 until there is one
        self._memory_lately = mapped_memory(self._pid)
        # Until the parent has told:
        self._may_keep = sys.maxsize  # of memory beyond that at the start, in bytes
        self._most_attempts: int | None = None
        fill_reserve()
        fill_spare()

    def begin_run(self, may_keep: int, most_attempts: int | None) -> None:
        """Note what holds for a run, and let go of what earlier ones have brought.

        Their functions and globals name each other. To look for that takes long where much is loaded, so it
        is done where memory has grown.
        """
        self._may_keep, self._most_attempts = may_keep, most_attempts
        if mapped_memory(self._pid) > self._memory_lately + GARBAGE_BYTES:
            gc.collect()
            self._memory_lately = mapped_memory(self._pid)

    def note_surroundings(self) -> None:
        """Note the surroundings in which each task is to find this process."""
        if self._surroundings is not None:
            self._surroundings.close()
        self._surroundings = Surroundings()

    def keep_changes(self) -> None:
        """Let what was changed since stay after each task."""
        self.note_surroundings()
        self._left_threads = _LeftThreads()
        self._memory_at_start = own_memory(self._pid)

    def begin_loading(self) -> None:
        """Note that a function is loaded from now on."""
        self._memory_before_import = 0

    def note_import(self) -> None:
        """Note that a module is about to be imported for what is loaded."""
        if not self._memory_before_import:
            self._memory_before_import = own_memory(self._pid)

    def end_loading(self) -> None:
        """Let modules stay that were imported meanwhile: another worker would have them as soon."""
        if self._memory_before_import:
            self._memory_at_start += own_memory(self._pid) - self._memory_before_import

    def restore(self, peak_rss: int, kept_bytes: int) -> bool:
        """Put back what an attempt has changed; False if the next one needs a new process.

        Parameters
        ----------
        peak_rss : int
            The most resident memory that this process has had, in bytes.
        kept_bytes : int
            How much of what it has now is a result that it keeps.
        """
        self._attempts += 1
        most = self._memory_at_start + self._may_keep + kept_bytes
        return (
            self._attempts != self._most_attempts
            and (self._surroundings is None or self._surroundings.restore())
            and fill_reserve()
            and (self.seconds < OPENING_SECONDS or self._has_descriptors())
            and not self._left_threads.exist()
            # What it has now cannot be more than the peak, which is known already.
            and (peak_rss <= most or own_memory(self._pid) <= most)
        )

    def _has_descriptors(self) -> bool:
        self.seconds = 0.0
        return fill_spare()


class _LeftThreads:
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
