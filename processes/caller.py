"""Warnings at the line of the user's that led to them."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def warn_caller(message: str) -> None:
    """Emit a `UserWarning` at the line that called the package, by however many functions of ours."""
    level = 1
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - warnings know no skip_file_prefixes before 3.12
    while frame is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == __package__
