"""Values that cannot travel, or do harm on the way, for workers that are many: they import no pytest."""

from __future__ import annotations

import ctypes
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

from misbehaving import Bomb

from processes import SerializationError, WorkerDiedError

GIB = 1 << 30


class Hostile:
    """Does what it is told when it is pickled, or when it is read again."""

    def __init__(self, when: str, error: type[BaseException]) -> None:
        self.when = when
        self.error = error

    def __reduce__(self) -> Any:
        if self.when == "written":
            raise self.error("hostile")
        return make_hostile, (self.when, self.error)


def make_hostile(when: str, error: type[BaseException]) -> Hostile:
    if "UNREADABLE" in os.environ:
        raise error("hostile")
    return Hostile(when, error)


def count_up() -> Iterator[int]:
    yield 1


def make_lock() -> Any:
    return threading.Lock()


def make_socket() -> Any:
    return socket.socket()


def make_generator() -> Any:
    return count_up()


def open_file() -> Any:
    return open(os.devnull, "rb")


def connect() -> Any:
    return sqlite3.connect(":memory:")


def nest(make: Callable[[], object]) -> Any:
    return {"settings": [1, SimpleNamespace(inner=(0, {"deep": make()}))]}


def close(value: object) -> None:
    with suppress(AttributeError):
        value.close()  # type: ignore[attr-defined]


UNSENDABLE = {
    "_thread.lock": make_lock,
    "socket.socket": make_socket,
    "generator": make_generator,
    "_io.BufferedReader": open_file,
    "sqlite3.Connection": connect,
}


def make_and_leave(make: Callable[[], object], nested: bool) -> object:
    return nest(make) if nested else make()


def raise_system_exit(code: int) -> NoReturn:
    raise SystemExit(code)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt("by itself")


def read_null() -> None:
    ctypes.string_at(0)


def ignore(value: object) -> None:
    """Take anything."""


HARMFUL = {
    "raises": (Bomb(int, "no number"), SerializationError, "invalid literal"),
    "raises-system-exit": (Bomb(raise_system_exit, 4), SerializationError, "SystemExit: 4"),
    "interrupts": (Bomb(interrupt), SerializationError, "KeyboardInterrupt: by itself"),
    "exits": (Bomb(os._exit, 8), WorkerDiedError, "exited with code 8"),
    "segfaults": (Bomb(read_null), WorkerDiedError, "SIGSEGV"),
}


def make_bomb(call: Callable[..., object], *args: object) -> object:
    return [1, {"bomb": Bomb(call, *args)}]


class Reducing:
    """A value that does something to whoever writes it."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self.call = (call, args)

    def __reduce__(self) -> Any:
        call, args = self.call
        return call(*args)


def make_reducing(call: Callable[..., object], *args: object) -> object:
    return [Reducing(call, *args)]


def list_within_lists(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def turn_around(value: bytes) -> bytes:
    return value[-1:] + value[:-1]


LARGE = 30_000_000


def fail_with_large_variables(argument: object) -> NoReturn:
    text = "t" * LARGE
    numbers = list(range(1_000_000))
    raise ValueError(text + str(numbers[0]))


class SlowRepr:
    def __repr__(self) -> str:
        time.sleep(5)
        return "late"


class RaisingRepr:
    def __repr__(self) -> str:
        raise SystemExit("no repr")


class HangingRepr:
    def __repr__(self) -> str:
        threading.Event().wait()
        return "never"


class LongRepr:
    def __repr__(self) -> str:
        return "long" * 10_000_000


def fail_with(first: object, raising: object, long: object, slow: object, hanging: object) -> NoReturn:
    raise ValueError("with odd variables")


def fail_with_odd_variables() -> NoReturn:
    fail_with(1, RaisingRepr(), LongRepr(), SlowRepr(), HangingRepr())


class Unloadable:
    """A function whose loading fails."""

    def __call__(self) -> int:
        return 1

    def __reduce__(self) -> Any:
        return int, ("no number",)


class ReadElsewhere:
    """A large value that one process cannot read."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.data = bytearray(200_000)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if os.getpid() == state["pid"]:
            raise RuntimeError("not here")
        vars(self).update(state)
