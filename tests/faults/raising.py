"""Functions that raise, and odd exceptions, for workers that are many: they import this, and no pytest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from misbehaving import Bomb


def throw(make: Callable[[], BaseException]) -> NoReturn:
    raise make()


def recurse_for_ever(n: int) -> int:
    return recurse_for_ever(n + 1) + 1


def build_a_wrong_syntax() -> NoReturn:
    compile("good = 1\nbad = = 2\n", "some file.py", "exec")


def cancellation() -> BaseException:
    import asyncio  # here, because most workers import this module

    return asyncio.CancelledError("cancelled")


NO_EXCEPTIONS = {
    "exit": lambda: SystemExit({"code": 3}),
    "interrupt": lambda: KeyboardInterrupt("by itself"),
    "generator": lambda: GeneratorExit("left"),
    "cancelled": cancellation,
    "bare": lambda: BaseException("bare"),
    "stop": lambda: StopIteration({"value": 1}),
    "stop_async": lambda: StopAsyncIteration("over"),
}


async def throw_later(make: Callable[[], BaseException]) -> NoReturn:
    import asyncio

    await asyncio.sleep(0)
    raise make()


def go_down(frames: int) -> NoReturn:
    if frames:
        go_down(frames - 1)
    raise ValueError("at the bottom")


def count_frames(error: BaseException, function: str) -> int:
    count, entry = 0, error.__traceback__
    while entry is not None:
        count += entry.tb_frame.f_code.co_name == function
        entry = entry.tb_next
    return count


def raise_a_ring() -> NoReturn:
    first, second, third = ValueError("first"), TypeError("second"), KeyError("third")
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    raise first


def raise_a_self_caused() -> NoReturn:
    error = ValueError("its own cause")
    error.__cause__ = error
    raise error


def raise_groups() -> NoReturn:
    inner = BaseExceptionGroup("inner", [SystemExit(3), ValueError("leaf")])
    middle = BaseExceptionGroup("middle", [inner, KeyError("other")])
    try:
        raise TypeError("while handling")
    except TypeError as error:
        raise BaseExceptionGroup("outer", [middle, OSError(5, "no device")]) from error


class WithOwnInit(Exception):
    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} in {where}")
        self.code = code
        self.where = where


class WithSlots(Exception):
    __slots__ = ("_hidden", "size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._hidden = size * 2


class WithLock(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock", threading.Lock())
        self.lock = threading.Lock()
        self.kept = [1, 2]


class RaisingText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class RaisingRepr(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(4)


class RaisingReduce(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no reduce")


class RaisingState(Exception):
    def __setstate__(self, state: object) -> None:
        raise RuntimeError("no state")


class RaisingNew(Exception):
    def __new__(cls, *args: object) -> RaisingNew:
        if not args:
            raise RuntimeError("needs an argument")
        return super().__new__(cls, *args)


class ExitingReduce(Exception):
    """Reduces to a call that would end whoever reads it."""

    def __reduce__(self) -> Any:
        return os._exit, (11,)


class HangingReduce(Exception):
    """Reduces to a call that would keep whoever reads it for ever."""

    def __reduce__(self) -> Any:
        return time.sleep, (3600,)


class RaisingAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


class Codes(type):
    def __getattr__(cls, name: str) -> int:  # as `Coded.late`
        return {"late": 3}[name]


class Coded(Exception, metaclass=Codes):
    pass


OWN = {
    "own __init__": lambda: WithOwnInit(7, where="here"),
    "slots": lambda: WithSlots(21),
    "lock": WithLock,
    "__str__ raises": lambda: RaisingText("x"),
    "__str__ exits": lambda: ExitingText("x"),
    "__repr__ raises": lambda: RaisingRepr("x"),
    "__reduce__ raises": lambda: RaisingReduce("x"),
    "__setstate__ raises": lambda: RaisingState("x"),
    "__new__ raises": lambda: RaisingNew("x"),
    "__reduce__ exits": lambda: ExitingReduce("x"),
    "__reduce__ hangs": lambda: HangingReduce("x"),
    "__getattribute__ raises": lambda: RaisingAttributes("x"),
    "__getattr__ of the metaclass raises": lambda: Coded("x"),
}


def throw_with(call: Callable[..., object], *args: object) -> NoReturn:
    error = ValueError("holds a bomb")
    error.bomb = Bomb(call, *args)  # type: ignore[attr-defined]
    raise error


def throw_with_named() -> NoReturn:
    class Field(str):  # as a StrEnum's
        __slots__ = ()

    error = ValueError("has a field")
    setattr(error, Field("code"), 3)
    raise error


def throw_with_odd_name() -> NoReturn:
    error = KeyError("has an odd field")
    vars(error)[threading.Lock()] = 3  # type: ignore[index]
    raise error


def throw_class_of_its_own() -> NoReturn:
    class LocalError(OSError):
        def __init__(self, text: str, extra: object) -> None:
            super().__init__(text)
            self.extra = extra

    raise LocalError("defined in here", {"a": 1})
