"""Who called the package: at which line, for warnings, and whether that imports a module."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_IN_BETWEEN: Final = {__package__, "contextlib", "threading"}


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Emit a warning at the line that called the package, by however many functions of ours.

    On a thread of ours there is none, and the warning names no line.
    """
    level = 1
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - warnings know no skip_file_prefixes before 3.12
    while frame is not None and _is_in_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn(message: str) -> None:
    """Tell of what costs a run nothing; nor does it if the program makes an error of the warning."""
    with suppress(Exception):  # also of what `logging.captureWarnings` has its handlers do
        warn_caller(message, RuntimeWarning)


def is_importing() -> bool:
    """Tell whether this thread is importing a module.

    Until that is done, another thread would wait where it pickles a class or a function of the module.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - as above
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _is_in_between(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _IN_BETWEEN
