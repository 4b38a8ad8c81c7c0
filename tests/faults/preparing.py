"""What prepares workers, and what they find then, for workers that are many: they import no pytest."""

from __future__ import annotations

import os
import sys
import threading
import warnings

prepared = None


def prepare() -> None:
    global prepared
    prepared = os.getpid()
    os.environ["PREPARED"] = "yes"
    os.chdir("/")
    warnings.filterwarnings("ignore", "of no interest")  # which are errors in tests
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def look() -> tuple[int | None, str | None, str]:
    warnings.warn("of no interest", stacklevel=1)
    return prepared, os.environ.get("PREPARED"), os.getcwd()


async def prepare_slowly() -> None:
    prepare()


def hang() -> None:
    threading.Event().wait()


def loaded(name: str) -> tuple[bool, int]:
    return name in sys.modules, os.getpid()
