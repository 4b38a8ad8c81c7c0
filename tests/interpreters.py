"""What the interpreter that runs the tests is like."""

from __future__ import annotations

import platform
import sys

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
HAS_GLIBC = platform.libc_ver()[0] == "glibc"
