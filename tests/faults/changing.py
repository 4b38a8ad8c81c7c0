"""Functions that change their worker, or look at it, for workers that are many: they import no pytest."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HAS_MASKS = hasattr(signal, "pthread_sigmask")  # not on Windows


def look() -> dict[str, object]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "umask": umask,
        "environment": dict(os.environ),
        "zone": time.tzname,
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": HAS_MASKS and signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timer": HAS_MASKS and signal.getitimer(signal.ITIMER_REAL),
    }


def change_everything() -> None:
    os.chdir("/")
    os.umask(0o177)
    os.environ["CHANGED"] = "yes"
    os.environ.pop("PATH", None)
    os.environ["TZ"] = "AAA-1"
    if hasattr(time, "tzset"):  # not on Windows
        time.tzset()
    sys.path.insert(0, "/nowhere")
    sys.setrecursionlimit(5000)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if HAS_MASKS:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.alarm(100)


def zone() -> str:
    return time.tzname[0]


def leave_process(file: str) -> tuple[int, int]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(file).write_text(str(child.pid))
    return os.getpid(), child.pid


def fork_and_return(how: str) -> str:
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return f"parent of one that ended with {status}"
    logging.getLogger("forked").warning("a record of the child")
    if how == "exits":
        sys.exit(7)
    return "child"
