"""Values travel between processes as they are, or are named for what they are."""

from __future__ import annotations

import copyreg
import ctypes
import dataclasses
import functools
import io
import linecache
import multiprocessing
import os
import pickle
import random
import re
import secrets
import signal
import socket
import sqlite3
import struct
import sys
import textwrap
import threading
import time
import types
import weakref
from array import array
from collections import deque, namedtuple
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
from programs import output_of

from processes.checkpoints.fingerprint import Fingerprints
from processes.exceptions import SerializationError
from processes.failure import describe_failure
from processes.serialization import culprit
from processes.serialization.pickling import LARGE, dump, load
from processes.serialization.rebuild import reader


def there_and_back(value: object) -> Any:
    return load(dump(value, task_name="t", what="x").data, task_name="t", what="x")


def run(*command: str, where: Path, text: str | None = None) -> str:
    """Run Python in a folder, where it finds this package; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return output_of([sys.executable, *command], cwd=where, input=text, env=environment).strip()


# Plain values

PLAIN: list[object] = [
    None, 1, 2.5, "x", b"x", (), (1, 2.5, "x"), [1, "a"], {"a": 1}, {1: None}, ((1, "a"), {"b": 2.5}),
    ((1, [1, {"a": (1,)}]), {}), tuple(range(1000)), {"a": [[1]]}, {1, 2}, range(5), 10**30,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_a_plain_value_travels_and_is_known_to_be_plain(value: object) -> None:
    pickled = dump(value, task_name="t", what="x")
    assert pickled.plain
    assert not pickled.classes
    assert load(pickled.data, task_name="t", what="x") == value


def test_small_plain_values_need_no_cloudpickle(tmp_path: Path) -> None:
    code = """
        import sys
        from processes.serialization.pickling import dump, load
        for value in (1, (1, "a"), ((1, 2.5, "x"), {"a": None}), {"a": b"b"}, [1, 2]):
            data = dump(value, task_name="t", what="x").data
            assert load(data, task_name="t", what="x") == value
        print("cloudpickle" in sys.modules, "typing" in sys.modules)
    """
    assert run("-c", textwrap.dedent(code), where=tmp_path).startswith("False")


@dataclass
class Point:
    x: int
    y: list[int] = field(default_factory=list)


def test_values_of_trusted_libraries_are_plain_and_those_of_users_are_not() -> None:
    import datetime as dt
    import decimal
    import fractions
    import uuid

    import pandas as pd
    import pyarrow as pa

    trusted = [
        pd.DataFrame({"a": [1], "b": ["x"]}, index=pd.date_range("2026-01-01", periods=1)), pd.Series([1.5]),
        pd.Categorical(["a"]), pd.Timestamp("2026-01-01", tz="UTC"), pa.table({"a": [1]}), pa.array(["x"]),
        np.arange(5), np.float64(1.5), dt.datetime.now(dt.UTC), decimal.Decimal("1.5"),
        fractions.Fraction(1, 3), uuid.uuid4(), Path("a"), deque([1]), len, ValueError("x"),
    ]  # fmt: skip
    for value in trusted:
        assert dump([value], task_name="t", what="x").plain, value
        assert not dump([value], task_name="t", what="x").modules, value
    for value in (there_and_back, lambda: 1, functools.partial(there_and_back), in_class(1)):
        assert not dump([value], task_name="t", what="x").plain, value


def test_values_of_scipy_are_plain() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    for form in ("coo", "csr", "dia", "dok", "lil"):
        pickled = dump(sparse.eye(3, format=form), task_name="t", what="x")
        assert (pickled.plain, pickled.modules) == (True, set()), form


def test_images_are_plain() -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (2, 2))
    pickled = dump(image, task_name="t", what="x")
    assert (pickled.plain, pickled.modules) == (True, set())


def test_values_of_torch_are_plain_unless_users_classes_make_them() -> None:
    torch = pytest.importorskip("torch")

    class OwnTensor(torch.Tensor):  # type: ignore[misc]
        pass

    class OwnModule(torch.nn.Module):  # type: ignore[misc]
        pass

    for value in (torch.arange(3), torch.eye(3).to_sparse(), torch.nn.Linear(2, 2).state_dict()):
        pickled = dump(value, task_name="t", what="x")
        assert (pickled.plain, pickled.modules) == (True, set()), value
    for value in (torch.arange(3).as_subclass(OwnTensor), OwnModule()):
        assert not dump(value, task_name="t", what="x").plain, value


def test_large_tensors_are_views_of_what_came_and_those_of_one_memory_have_that_in_common() -> None:
    torch = pytest.importorskip("torch")
    large, small = torch.arange(LARGE, dtype=torch.uint8), torch.arange(9.0)
    given = [large, large[5:], small, small[::3], torch.empty(0)]
    pickled = dump(given, task_name="t", what="x", in_pieces=True)
    (arrived,) = map(bytearray, pickled.buffers)
    copies = load(list(pickled.stream), task_name="t", what="x", buffers=[arrived])
    assert [*map(repr, copies)] == [*map(repr, given)]
    copies[1][0] = copies[3][1] = 200
    assert (arrived[5], copies[0][5], copies[2][3]) == (200, 200, 200.0)
    for tensor in (large, copies[2], copies[4]):
        tensor.resize_(2 * LARGE)  # raises where it may not be


def test_a_console_of_rich_prints_to_what_is_printed_to_where_it_arrives(capsys) -> None:
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=10, theme=pytest.importorskip("rich.theme").Theme({"loud": "bold"}))
    with console.status("while something moves on it"):
        pickled = dump([console], task_name="t", what="x")
    capsys.readouterr()
    (copy,) = load(pickled.data, task_name="t", what="x")
    in_thread = threading.Thread(target=copy.print, args=("[loud]there",))
    for step in (in_thread.start, in_thread.join):
        step()
    copy.print("here, in two lines")
    assert capsys.readouterr().out == "there\nhere, in \ntwo lines\n"


class Reduces(Point):
    def __reduce__(self) -> Any:
        return Reduces, (self.x,)


class SetsState(Point):
    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)


class Hashes(Point):
    def __hash__(self) -> int:
        return self.x


class LooksUp(Point):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class MakesAnew(Point):
    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls)


class Registered(Point):
    pass


@dataclass(frozen=True)
class Frozen:
    x: int


@dataclass(frozen=True)
class FrozenThatHashes:
    x: int

    def __hash__(self) -> int:
        return self.x


class OfNumbers(list[int]):
    pass


class Split(NamedTuple):
    first: Any
    second: Any


class SplitThatReduces(NamedTuple):
    first: Any

    def __reduce__(self) -> Any:
        return SplitThatReduces, (self.first,)


class SplitAnew(Split):
    def __new__(cls, first: Any) -> Any:
        return super().__new__(cls, first, first)


def test_objects_that_are_made_without_code_of_their_classes_are_plain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in (Point(1), Point, np.array([Point(1)]), {Frozen(1): 2}, {Split(1, 2)}):
        pickled = dump([value], task_name="t", what="x")
        assert (pickled.plain, pickled.modules) == (True, {__name__}), value
    monkeypatch.setitem(copyreg.dispatch_table, Registered, lambda point: (Registered, (point.x,)))
    for kind in (Reduces, SetsState, Hashes, LooksUp, MakesAnew, Registered, FrozenThatHashes):
        assert not dump([kind(1)], task_name="t", what="x").plain, kind
    for of_base in (OfNumbers([1]), SplitThatReduces(1), SplitAnew(1)):
        assert not dump([of_base], task_name="t", what="x").plain, of_base
    Pair = namedtuple("Pair", "a b")
    for local in (Pair(1, 2), Pair):
        assert not dump([local], task_name="t", what="x").plain, "it brings its class's code"


def test_large_parts_stay_what_they_are_and_are_not_copied() -> None:
    array, text, editable = np.arange(1 << 18), bytes(LARGE), bytearray(LARGE)
    value = {"a": array, "b": [text, "small", editable], "c": (text,)}
    pickled = dump(value, task_name="t", what="x", in_pieces=True)
    assert pickled.data == b""
    assert [buffer.obj is array for buffer in pickled.buffers] == [True]
    assert sum(piece is text for piece in pickled.stream) == 1
    assert sum(piece is editable for piece in pickled.stream) == 1
    assert sum(map(len, pickled.stream)) < 2 * LARGE + 1000
    copy = load(list(pickled.stream), task_name="t", what="x", buffers=pickled.buffers)
    assert (copy["a"] == array).all()
    assert copy["b"] == value["b"]
    assert type(copy["b"][2]) is bytearray
    assert copy["b"][0] is copy["c"][0]


@pytest.mark.parametrize("value", [list(range(500_000)), ["x" * 100] * 100 + ["y" * LARGE], ("é" * LARGE,)])
def test_a_large_value_without_large_parts_is_read_from_pieces_too(value: object) -> None:
    pickled = dump(value, task_name="t", what="x", in_pieces=True)
    assert pickled.data == b""
    assert load(list(pickled.stream), task_name="t", what="x") == value


def test_a_pickle_is_read_from_pieces_of_any_size() -> None:
    value = [1, "x" * 300, b"y" * 300, {"a": 2.5}]
    data = dump(value, task_name="t", what="x").data
    for size in (1, 7, len(data)):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert load(pieces, task_name="t", what="x") == value


FRAME = 1 << 16  # bytes; from there on the pickler writes what is in one piece by itself


@pytest.mark.parametrize("size", [100, FRAME - 1, FRAME, 2 * FRAME + 8, LARGE - 8, LARGE, LARGE + 8])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_data_of_every_size_travels_alone_and_beside_larger(size: int, in_pieces: bool) -> None:
    array = np.arange(size, dtype=np.uint8)
    fixed = array.copy()
    fixed.flags.writeable = False
    columns = np.asfortranarray(array[: size // 2 * 2].reshape(2, -1))
    for value in (array, fixed, columns, array[::2], array.tobytes(), bytearray(array), "x" * size):
        for whole in ([value], [value, np.zeros(LARGE)], [value] * 2, [value, bytes(LARGE), value[:50]]):
            pickled = dump(whole, task_name="t", what="x", in_pieces=in_pieces)
            data = pickled.data or list(pickled.stream)
            copy = load(data, task_name="t", what="x", buffers=map(bytearray, pickled.buffers))
            assert [type(item) for item in copy] == [type(item) for item in whole]
            assert all(np.array_equal(one, other) for one, other in zip(copy, whole, strict=True))


def test_a_small_value_is_never_in_pieces() -> None:
    for value in (1, b"x" * 1000, np.zeros(10), {"a": [np.zeros(1000)] * 3}, lambda: 1):
        pickled = dump(value, task_name="t", what="x", in_pieces=True)
        assert pickled.data
        assert not pickled.stream
        assert not pickled.buffers


# What cannot travel


class Config:
    def __init__(self, lock: object) -> None:
        self.name = "cfg"
        self.lock = lock

    def show(self) -> str:
        return self.name


class Slots:
    __slots__ = ("conn", "name")

    def __init__(self, conn: object) -> None:
        self.conn = conn
        self.name = "x"


class WithoutLock(Config):
    """Leaves its own lock behind, and still fails for another part."""

    def __init__(self, lock: object, other: object) -> None:
        super().__init__(lock)
        self.other = other

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "other": self.other}


Pair = namedtuple("Pair", "first second")
LOCK = threading.Lock()


class Rows(list):  # type: ignore[type-arg]
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


def closing_over(value: object) -> Callable[[], object]:
    return lambda: value


def with_default(value: object) -> Callable[[], object]:
    def function(first: int = 1, second: object = value) -> object:
        return second

    return function


def beside_what_is_not_bound(lock: object) -> Callable[[], object]:
    def use() -> object:
        return later, lock

    if lock is None:
        later = 1
    return use


def with_annotation(lock: object) -> Callable[[], None]:
    def use() -> None: ...

    use.__annotations__["lock"] = lock
    return use


def in_context(lock: object) -> ContextVar[object]:
    variable: ContextVar[object] = ContextVar("variable")
    variable.set(lock)
    return variable


def with_attribute(value: object) -> Callable[[], object]:
    def function() -> None:
        pass

    function.lock = value  # type: ignore[attr-defined]
    return function


def with_lock_global() -> object:
    return LOCK


with_lock_global.__module__ = "__main__"  # as if it were of a script


def in_module(lock: object) -> types.ModuleType:
    module = types.ModuleType("made_here")
    vars(module).update(__builtins__={}, cfg=Config(lock))
    return module


def generator() -> Iterator[int]:
    yield 1


@contextmanager
def using(value: object) -> Iterator[object]:
    yield value


HELD: list[Config] = []


def held(config: Config) -> Config:
    HELD.append(config)
    return config


def in_class(lock: object) -> type:
    cls = type("Late", (), {"__module__": "__main__"})  # as if it were of a script
    cls.lock = lock  # type: ignore[attr-defined] # behind what each class has of itself
    return cls


def in_annotations(lock: object) -> type:
    cls = in_class(None)
    cls.__annotations__ = {"lock": lock}
    return cls


def in_enumeration(lock: object) -> Enum:
    kind = Enum("Kind", "ONE", module="__main__")
    kind.lock = lock  # type: ignore[attr-defined]
    return kind["ONE"]


def ring(value: object) -> list[object]:
    items: list[object] = [1]
    items += [items, {"again": items}, value]
    return items


LOCKED: list[tuple[Callable[[Any], object], str]] = [
    (lambda lock: lock, ""),
    (lambda lock: [1, lock], "[1]"),
    (lambda lock: (1, {"cfg": [0, lock]}), "[1]['cfg'][1]"),
    (lambda lock: {3: {"a": lock}}, "[3]['a']"),
    (lambda lock: {(1, 2): lock}, "[<tuple>]"),
    (lambda lock: Config(lock), ".lock"),
    (lambda lock: {"cfg": Config([lock])}, "['cfg'].lock[0]"),
    (lambda lock: Slots(lock), ".conn"),
    (lambda lock: Point(1, [lock]), ".y[0]"),
    (lambda lock: Pair(1, lock), "[1]"),
    (lambda lock: {Pair(1, lock): 1}, "list(x)[0][1]"),
    (lambda lock: {lock}, "list(x)[0]"),
    (lambda lock: Rows([1, lock]), "[1]"),
    (lambda lock: Table(a=lock), "['a']"),
    (lambda lock: deque([lock]), "[0]"),
    (lambda lock: WithoutLock(lock, [lock]), ".other[0]"),
    (lambda lock: functools.partial(print, 1, lock), ".args[1]"),
    (lambda lock: functools.partial(print, end=lock), ".keywords['end']"),
    (lambda lock: Config(lock).show, ".__self__.lock"),
    (closing_over, ".__closure__['value']"),
    (lambda lock: closing_over(closing_over(lock)), ".__closure__['value'].__closure__['value']"),
    (lambda lock: functools.cache(closing_over(lock)), ".__wrapped__.__closure__['value']"),
    (beside_what_is_not_bound, ".__closure__['lock']"),
    (with_default, ".__defaults__[1]"),
    (with_annotation, ".__annotations__['lock']"),
    (in_context, ".get()"),
    (with_attribute, ".lock"),
    (lambda lock: with_lock_global, ".__globals__['LOCK']"),
    (ring, "[3]"),
    (in_module, ".cfg.lock"),
    (lambda lock: weakref.ref(held(Config(lock))), "().lock"),
    (lambda lock: weakref.ref(held(Config(0)), closing_over(lock)), ".__callback__.__closure__['value']"),
    (lambda lock: weakref.WeakValueDictionary(a=held(Config(lock))), "['a'].lock"),
    (in_class, ".lock"),
    (lambda lock: in_class(classmethod(closing_over(lock))), ".lock.__func__.__closure__['value']"),
    (lambda lock: in_class(property(closing_over(lock))), ".lock.fget.__closure__['value']"),
    (lambda lock: type("Child", (in_class(lock),), {"__module__": "__main__"}), ".__bases__[0].lock"),
    (in_annotations, ".__annotations__['lock']"),
    (in_enumeration, "type(x).lock"),
    (lambda lock: np.array([1, lock], dtype=object), ".__getstate__()[4][1]"),
    (lambda lock: types.MappingProxyType({"a": lock}), "['a']"),
    (lambda lock: {"a": lock}.values(), ".__reduce__()[1][0][0]"),
    (lambda lock: using(lock), ".args[0]"),
    (lambda lock: functools.cached_property(closing_over(lock)), ".func.__closure__['value']"),
    (lambda lock: functools.partialmethod(print, lock), ".args[0]"),
]
if sys.version_info >= (3, 15):
    LOCKED.append((lambda lock: frozendict(a=[lock]), "['a'][0]"))  # noqa: F821


def test_the_middle_of_a_long_path_is_left_out() -> None:
    value: object = LOCK
    for number in range(8):
        value = {f"key {number} of a {'long' * 12} name": value}
    with pytest.raises(SerializationError, match="is a _thread.lock") as caught:
        dump(value, task_name="load", what="x")
    path = caught.value.path
    assert path is not None
    assert len(path) < 310
    assert path.startswith("x['key 7 of a long")
    assert path.endswith("long name']")
    assert "…" in path


@pytest.mark.parametrize(("hide", "path"), LOCKED, ids=[path for _, path in LOCKED])
def test_the_culprit_is_found_wherever_it_is(hide: Callable[[object], object], path: str) -> None:
    value = hide(LOCK)
    with pytest.raises(SerializationError) as caught:
        dump(value, task_name="load", what="x")
    error = caught.value
    assert error.task_name == "load"
    assert error.type == "_thread.lock"
    assert error.path == (path if "(x)" in path else f"x{path}")
    assert f": {error.path} is a _thread.lock, which cannot be serialized. " in str(error)
    assert error.__cause__ is not None


DECORATING = """
import functools, threading

def guarded(function):
    lock = threading.Lock()

    @functools.wraps(function)
    def wrapper():
        with lock:
            return function()

    return wrapper

@guarded
def load():
    return 1

class Guarded:
    def __init__(self, function):
        self.function, self.lock = function, threading.Lock()

    def __reduce__(self):
        return self.function.__name__

@Guarded
def save():
    return 1
"""


@pytest.mark.parametrize(("name", "path"), [("load", "func.__closure__['lock']"), ("save", "func.lock")])
def test_the_culprit_is_what_a_decorator_keeps_and_not_what_it_decorates(
    name: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("decorating")  # goes by value, as a script does
    monkeypatch.setitem(sys.modules, "decorating", module)
    exec(DECORATING, vars(module))
    with pytest.raises(SerializationError) as caught:
        dump(getattr(module, name), task_name="load", what="func")
    assert (caught.value.path, caught.value.type) == (path, "_thread.lock")


def test_the_error_names_task_argument_place_and_advice() -> None:
    with pytest.raises(SerializationError) as caught:
        dump(((1,), {"cfg": Config(LOCK)}), task_name="load", what=("args", "kwargs"))
    assert str(caught.value) == (
        "Task 'load' cannot be sent to a worker process: kwargs['cfg'].lock is a _thread.lock, "
        'which cannot be serialized. Create it inside the function, or give the task runner="thread".'
    )
    with pytest.raises(SerializationError) as caught:
        dump([0, 1, 2, Slots(LOCK)], task_name="load", what="result", to_sender=True)
    assert str(caught.value) == (
        "The result of task 'load' cannot be brought back: result[3].conn is a _thread.lock, which cannot be "
        'serialized. Return what it holds instead, or give the task runner="thread".'
    )


class Compiled:
    """A function of a kind that is pickled by its name, as those are that Cython and Nuitka compile."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__ = module, name

    def __call__(self) -> None: ...

    def __reduce__(self) -> str:
        return self.__qualname__


@pytest.mark.parametrize("named", [("shop", "main.<locals>.<lambda>"), ("__main__", "load")])
def test_a_compiled_function_that_has_no_name_elsewhere_is_to_get_one(named: tuple[str, str]) -> None:
    with pytest.raises(
        SerializationError, match=r"Define it at the top of a module that can be imported, or"
    ):
        dump(Compiled(*named), task_name="load", what="func")


@pytest.mark.parametrize(
    ("make", "argument", "result"),
    [
        (
            lambda: (number for number in range(3)),
            'Make a list of it, or give the task runner="thread".',
            'Make a list of it, or give the task runner="thread".',
        ),
        (  # other threads may not use it
            lambda: sqlite3.connect(":memory:"),
            'Create it inside the function, or give the task runner="sequential".',
            'Return what it holds instead, or give the task runner="sequential".',
        ),
        (
            lambda: io.TextIOWrapper(io.BytesIO(b"text")),
            'Pass its path, and open it inside the function, or give the task runner="thread".',
            'Return what it holds instead, or give the task runner="thread".',
        ),
    ],
)
def test_the_advice_is_one_that_helps(make: Callable[[], Any], argument: str, result: str) -> None:
    for to_sender, advice in ((False, argument), (True, result)):
        with closing(make()) as value, pytest.raises(SerializationError) as caught:
            dump(value, task_name="t", what="x", to_sender=to_sender)
        assert str(caught.value).endswith(f", which cannot be serialized. {advice}")


@pytest.mark.parametrize(("module", "name"), [(__name__, "LOCK"), ("flask", "current_app"), ("mpmath", "mp")])
def test_what_a_script_has_imported_its_functions_are_to_import_themselves(module: str, name: str) -> None:
    script = {"__name__": "__main__", name: getattr(pytest.importorskip(module), name)}
    exec(f"def load():\n    return {name}", script)
    with pytest.raises(SerializationError) as caught:
        dump(script["load"], task_name="t", what="func")
    assert f"func.__globals__[{name!r}]" in caught.value.path
    assert f". Let the function do 'from {module} import {name}' itself, or give" in str(caught.value)


def test_what_a_class_has_that_goes_by_value_may_stay_where_the_class_is_put_into_a_module() -> None:
    class Store:
        lock = LOCK

    class Shop:
        store = Store

    for value, path, cls in ((Store(), "type(x).lock", Store), ([Shop], "x[0].store.lock", Shop)):
        with pytest.raises(SerializationError) as caught:
            dump(value, task_name="t", what="x")
        assert (caught.value.path, caught.value.type) == (path, "_thread.lock")
        assert f", put class {cls.__qualname__!r} into a module that can be imported, or" in str(caught.value)


@pytest.mark.parametrize("kind", ["Lock", "Event", "Queue"])
def test_what_multiprocessing_shares_is_to_come_from_a_manager(kind: str) -> None:
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork")  # starts no tracker
    shared = getattr(context, kind)()
    with pytest.raises(SerializationError) as caught:
        dump([shared], task_name="t", what="x")
    assert caught.value.type.startswith("multiprocessing.")
    assert str(caught.value).endswith(
        ' Take one that multiprocessing.Manager() makes, or give the task runner="thread".'
    )


def test_the_end_of_a_pipe_is_not_sent_as_the_number_of_its_descriptor() -> None:
    ends = multiprocessing.Pipe()
    for end in ends:
        with end, pytest.raises(SerializationError) as caught:
            dump({"end": end}, task_name="t", what="x")
        assert caught.value.path == "x['end']"
        assert caught.value.type in {
            "multiprocessing.connection.Connection",
            "multiprocessing.connection.PipeConnection",
        }


def test_resources_of_every_kind_are_named(tmp_path: Path) -> None:
    with (
        socket.socket() as sock,
        sqlite3.connect(":memory:") as connection,
        (tmp_path / "f").open("w") as file,
        io.TextIOWrapper(io.BytesIO(b"text")) as without_name,
    ):
        resources = {
            "generator": generator(),
            "socket.socket": sock,
            "sqlite3.Connection": connection,
            "_io.TextIOWrapper": file,
            "frame": sys._getframe(),
            "_thread.RLock": threading.RLock(),
            "ctypes.PyDLL": ctypes.PyDLL("python", handle=ctypes.pythonapi._handle),
        }
        for name, resource in [*resources.items(), ("_io.TextIOWrapper", without_name)]:
            with pytest.raises(SerializationError) as caught:
                dump({"deep": [resource]}, task_name="t", what="x")
            assert caught.value.type == name
            assert caught.value.path == "x['deep'][0]"
            assert "AttributeError" not in str(caught.value)
    connection.close()


def test_what_is_refused_is_named_though_its_parts_lead_back_to_it() -> None:
    library = ctypes.PyDLL("python", handle=ctypes.pythonapi._handle)
    library.users = [library]
    with pytest.raises(SerializationError) as caught:
        dump({"deep": [library]}, task_name="t", what="x")
    assert (caught.value.path, caught.value.type) == ("x['deep'][0]", "ctypes.PyDLL")


def test_a_global_that_no_function_names_may_close_over_functions_to_any_depth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrapped(inner: Callable[[], int]) -> Callable[[], int]:
        return lambda: inner()

    def innermost() -> int:
        return 1

    deep: Callable[[], int] = innermost
    for _ in range(5000):
        deep = wrapped(deep)
    module = sys.modules["__main__"]
    monkeypatch.setattr(module, "deep", deep, raising=False)
    monkeypatch.setattr(module, "alone", None, raising=False)
    exec("def alone(): return 1", vars(module))
    assert dump(module.alone, task_name="t", what="x").data


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no type aliases before Python 3.12")
def test_type_aliases_that_name_each_other_twice_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["__main__"]
    monkeypatch.setattr(module, "A0", int, raising=False)
    for number in range(1, 20):
        code = f"type A{number} = tuple[A{number - 1}, A{number - 1}]"
        monkeypatch.setattr(module, f"A{number}", None, raising=False)
        exec(code, vars(module))
    begin = time.thread_time()
    dump(module.A19, task_name="t", what="x")
    assert time.thread_time() - begin < 5  # it was 20, and twice as much with each more


class RaisingReduce:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [ValueError("text"), SystemExit(3), RecursionError("deep"), MemoryError(), GeneratorExit()],
    ids=repr,
)
def test_whatever_the_code_of_a_value_raises_is_a_serialization_error(error: BaseException) -> None:
    with pytest.raises(SerializationError) as caught:
        dump([1, {"a": RaisingReduce(error)}], task_name="t", what="x")
    assert caught.value.path == "x[1]['a']"
    assert type(error).__name__ in str(caught.value) or "Could not pickle" in str(caught.value)
    cause = caught.value.__cause__
    assert cause is error or (cause is not None and cause.__cause__ is error)


def test_the_keyboard_is_not_taken_for_a_value() -> None:
    with pytest.raises(KeyboardInterrupt):
        dump([RaisingReduce(KeyboardInterrupt())], task_name="t", what="x")
    with pytest.raises(KeyboardInterrupt):
        load(pickle.dumps(RaisesWhenRead("KeyboardInterrupt")), task_name="t", what="x")


class Struck(Exception):
    """What a program's handler of a signal raises."""


def strike(*_: object) -> None:
    raise Struck


class StrikesLater:
    """An object that a signal strikes when it is serialized, but not the first time."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __reduce__(self) -> Any:
        self.times -= 1
        if self.times < 0:
            signal.raise_signal(signal.SIGTERM)
        return str, ()


@pytest.mark.parametrize(
    "make",
    [lambda: [StrikesLater(1), threading.Lock()], lambda: ValueError(StrikesLater(0))],
    ids=["search", "exception"],
)
def test_what_the_handler_of_a_signal_raises_is_not_taken_for_a_value(make: Callable[[], object]) -> None:
    before = signal.signal(signal.SIGTERM, strike)
    try:
        with pytest.raises(Struck):
            dump(make(), task_name="t", what="x")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nesting_that_is_too_deep_is_told() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="deep recursion") as caught:
        dump({"deep": deep}, task_name="t", what="x")
    assert caught.value.path.startswith("x['deep'][0]")
    assert len(str(caught.value)) < 1000


def test_the_search_for_a_culprit_is_bounded() -> None:
    wide = [list(range(1000)) for _ in range(5000)]
    wide.append([LOCK])  # type: ignore[list-item]
    with pytest.raises(SerializationError) as caught:
        dump(wide, task_name="t", what="x")
    assert caught.value.path in {"x[5000][0]", "x"}


class StandsStill:
    def __reduce__(self) -> Any:
        time.sleep(0.6)
        return int, ()


def test_the_search_for_a_culprit_goes_on_where_the_machine_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(culprit, "SEARCH_SECONDS", 0.5)
    with pytest.raises(SerializationError) as caught:
        dump([StandsStill(), LOCK], task_name="t", what="x")
    assert caught.value.path == "x[1]"


class RaisesWhenRead:
    def __init__(self, error: str) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return (exec, (f"raise {self.error}('from a pickle')",))


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "MemoryError", "GeneratorExit"])
def test_whatever_reading_a_value_raises_is_a_serialization_error(error: str) -> None:
    data = dump(RaisesWhenRead(error), task_name="t", what="result").data
    with pytest.raises(SerializationError) as caught:
        load(data, task_name="t", what="result")
    assert f"Task 't': result arrived, but could not be deserialized: {error}: from a pickle" in str(
        caught.value
    )
    assert (caught.value.task_name, caught.value.path) == ("t", "result")
    assert type(caught.value.__cause__).__name__ == error


def test_data_that_there_is_no_memory_for_says_so() -> None:
    for to_sender in (False, True):
        with pytest.raises(
            SerializationError, match=r"\(MemoryError\)\. There was no memory left for it: pass less"
        ):
            dump([RaisingReduce(MemoryError())], task_name="t", what="x", to_sender=to_sender)
    data = dump(RaisesWhenRead("MemoryError"), task_name="t", what="result").data
    with pytest.raises(SerializationError, match="no memory left for it.*keep_result=False"):
        load(data, task_name="t", what="result")


def test_data_that_needs_a_module_which_is_not_there_says_so() -> None:
    with pytest.raises(SerializationError, match="No module named 'no_such_module'.*must be importable"):
        load(b"cno_such_module\nname\n.", task_name="t", what=("args", "kwargs"))
    with pytest.raises(SerializationError, match="no_such_name.*must be importable"):
        load(b"cjson\nno_such_name\n.", task_name="t", what="x")
    with pytest.raises(SerializationError):
        load(b"", task_name="t", what="x")


class AsksForColumns(type):
    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(name)  # as a model's class does where it is made anew, and has no columns yet


class Model(metaclass=AsksForColumns):
    def __reduce__(self) -> Any:
        return column_of, (Model, "id")


def column_of(model: type, name: str) -> Any:
    return getattr(model, name)


def test_an_attribute_that_a_class_lacks_is_no_matter_of_what_can_be_imported() -> None:
    data = dump(Model(), task_name="t", what="result").data
    with pytest.raises(
        SerializationError, match="AttributeError: id.*put the script's classes into a module"
    ):
        load(data, task_name="t", what="result")


# What programs decorate functions with


def make_cached(offset: int) -> Any:
    @functools.lru_cache(maxsize=7, typed=True)
    def add(number: int) -> int:
        return number + offset

    add.unit = "m"  # type: ignore[attr-defined]
    add(1)
    return add


def nameless(number: int) -> int:
    return 2 * number


nameless.__qualname__ = ""


@functools.cache
def cached_here(number: int) -> int:
    return -number


def test_a_cached_function_travels_without_what_is_cached() -> None:
    cached = there_and_back(make_cached(10))
    assert (cached.cache_info().currsize, cached(1), cached(1)) == (0, 11, 11)
    assert cached.cache_info()[:2] == (1, 1)  # hits, misses
    assert cached.cache_parameters() == {"maxsize": 7, "typed": True}
    assert (cached.__name__, cached.__wrapped__(2), cached.unit) == ("add", 12, "m")


def test_a_cached_function_that_can_be_imported_travels_by_its_name() -> None:
    assert there_and_back(cached_here) is cached_here
    assert there_and_back(functools.lru_cache(cached_here.__wrapped__)) is not cached_here
    assert there_and_back(functools.lru_cache(functools.partial(int, base=2)))("11") == 3


def test_a_function_whose_name_leads_nowhere_travels() -> None:
    assert there_and_back(nameless)(2) == 4


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="they are sentinels, which cloudpickle does not copy")
@pytest.mark.parametrize("name", ["MISSING", "KW_ONLY"])
def test_what_cloudpickle_has_copied_in_fields_of_data_classes_goes_on_as_what_it_is(name: str) -> None:
    # So does joblib, say, on the way to its workers; there a run has workers of its own.
    own = getattr(dataclasses, name)
    copied = pickle.loads(cloudpickle.dumps(own))
    assert copied is not own
    assert there_and_back(copied) is own


def test_what_is_weak_travels_with_what_it_holds_and_what_is_a_threads_without() -> None:
    point = Point(1)
    by_key, by_value, alive = there_and_back(
        (weakref.WeakKeyDictionary({Point: 1}), weakref.WeakValueDictionary({"a": point}), point)
    )
    assert dict(by_key) == {Point: 1}
    assert by_value["a"] is alive
    local = threading.local()
    local.connection = threading.Lock()
    assert vars(there_and_back(local)) == {}


def test_a_weak_reference_refers_to_what_comes_along_and_to_nothing_else() -> None:
    point = Point(1)
    reference, alive, again = there_and_back((weakref.ref(point), point, weakref.ref(point)))
    assert reference() is again() is alive
    assert there_and_back(weakref.ref(point))() is None
    gone = weakref.ref(Point(2))
    assert there_and_back(gone)() is None


def test_a_weak_reference_calls_back() -> None:
    point, gone = Point(1), []
    reference, alive, seen = there_and_back((weakref.ref(point, gone.append), point, gone))
    del alive
    assert seen == [reference]


class Answering(types.ModuleType):
    """A module that has more than what is written in it."""

    @property
    def answer(self) -> int:
        return 42


PLUGIN = """
class Settings:
    def __init__(self, factor):
        self.factor = factor

settings = Settings(3)

def multiply(number, given=settings):
    return number * given.factor, given is settings

def settings_too():
    return settings
"""


def test_a_worker_of_an_engine_makes_what_a_module_of_the_program_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "guest", "attempt")
    plugin = types.ModuleType("plugin_of_nobody")  # goes by value, as a script does
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    exec(PLUGIN, vars(plugin))
    multiply = there_and_back(plugin.multiply)
    assert multiply.__globals__ is not vars(plugin)
    assert multiply.__defaults__[0] is not plugin.settings
    assert multiply(2) == (6, True)
    copy = there_and_back([plugin])[0]
    assert copy is not plugin
    assert copy.multiply(2) == (6, True)
    assert copy.settings_too() is copy.settings


def test_a_method_under_another_name_or_of_an_object_that_fails_when_asked_for_it_travels() -> None:
    class Renamed:
        def run(self) -> int:
            return 1

        start = run
        start.__name__ = "run_first"

    class Failing(Renamed):
        def __getattribute__(self, name: str) -> Any:
            if name == "run_first":
                raise ValueError(name)
            return super().__getattribute__(name)

    for method in (Renamed().run, types.MethodType(Renamed.run, Failing())):
        classes: dict[str, Any] = {}
        pickled = dump(method, task_name="t", what="x", classes=classes)
        assert load(pickled.data, task_name="t", what="x")() == 1
        assert pickled.classes <= classes.keys()


def test_a_member_that_says_how_it_is_made_is_made_so() -> None:
    class Level(Enum):
        LOW = 1
        HIGH = 2

        def __reduce_ex__(self, _: object) -> Any:
            return Level, (3 - self.value,)

    assert there_and_back([Level.LOW, Level.HIGH]) == [Level.HIGH, Level.LOW]


class Terse:
    """Tells how it is made, and no more."""

    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (type(self),)  # type: ignore[attr-defined]


def test_an_object_may_tell_no_more_than_how_it_is_made() -> None:
    class Delegating(Terse):
        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    assert [type(made) for made in there_and_back([Terse(), Delegating()])] == [Terse, Delegating]
    terse = Terse()
    assert type(there_and_back(lambda: terse)()) is Terse


def test_an_object_that_goes_by_the_name_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("decorating")  # goes by value, as a script does
    monkeypatch.setitem(sys.modules, "decorating", module)
    exec(DECORATING, vars(module))
    guarded, guarded.lock, module.save = module.save, None, None
    with pytest.raises(SerializationError, match="not the same object|not found as decorating.save"):
        there_and_back(guarded)


def test_a_module_with_a_class_of_its_own_travels_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("json.answering")
    module.__class__ = Answering
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert there_and_back([module]) == [module]
    monkeypatch.setitem(sys.modules, "answering_alone", Answering("answering_alone"))
    for name in ("elsewhere", "answering_alone"):
        with pytest.raises(SerializationError, match="Answering"):
            there_and_back(sys.modules.get(name, Answering(name)))


@pytest.mark.parametrize("module", ["wrapt", "wrapt.wrappers"])  # in C, and where there is no extension
def test_what_wrapt_has_decorated_travels_by_its_name(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    wrapt = pytest.importorskip(module)
    decorated = wrapt.FunctionWrapper(
        textwrap.dedent, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)
    )
    monkeypatch.setattr(textwrap, "dedent", decorated)
    assert there_and_back(decorated) is decorated


class WithUnit(np.ndarray):
    """Numpy's own way forgets what it has beside its numbers."""

    unit: str


def test_an_array_of_a_class_of_the_users_own_keeps_its_attributes() -> None:
    array = np.arange(3).view(WithUnit)
    array.unit = "m"
    copy = there_and_back(array[:2])
    assert (type(copy), copy.tolist(), vars(copy)) == (WithUnit, [0, 1], {})
    first, copy = there_and_back([array[:2], array])
    assert (type(copy), copy.tolist(), vars(first), copy.unit) == (WithUnit, [0, 1, 2], {}, "m")


def test_a_set_that_an_extension_module_makes_is_made_by_that() -> None:
    ordered = pytest.importorskip("sqlalchemy.util").OrderedSet([3, 1, 2])
    assert list(there_and_back(ordered)) == [3, 1, 2]


class Unseeded(Random):
    """Numbers that begin nowhere but where they were."""

    def __init__(self) -> None:
        self.setstate(Random(3).getstate())

    def seed(self, *_: object) -> None:
        raise NotImplementedError


def test_a_generator_that_cannot_be_seeded_travels() -> None:
    numbers = Unseeded()
    numbers.random()
    assert there_and_back(numbers).random() == numbers.random()


def test_functions_that_draw_random_numbers_draw_from_the_generator_that_is_there() -> None:
    for function in (random.random, random.gauss, np.random.rand, np.random.normal):
        assert there_and_back(function).__self__ is function.__self__
    for own in (Random(3), np.random.RandomState(3)):
        assert there_and_back(own).uniform(0, 1) == own.uniform(0, 1)
    assert there_and_back(secrets.choice)("a") == "a"  # of the system's generator
    stats = pytest.importorskip("scipy.stats")
    assert there_and_back(stats.norm).random_state is stats.norm.random_state


def test_a_function_finds_the_environment_that_is_there() -> None:
    environment = os.environ
    assert there_and_back(lambda: environment)() is os.environ
    assert there_and_back([environment]) == [environment]
    assert there_and_back([environment])[0] is not os.environ  # as any argument or result


def test_a_function_that_nanobind_has_made_travels_and_counts_by_its_name() -> None:
    connect = pytest.importorskip("duckdb").connect
    assert type(connect).__name__ == "nb_func"
    assert there_and_back(connect) is connect
    assert Fingerprints().digest(connect) == Fingerprints().digest(connect)


class KeywordOnly:
    """An object that pickle makes neither of its class alone nor by a call of that."""

    def __new__(cls, *, size: int) -> KeywordOnly:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}


def test_an_object_that_is_made_of_keywords_travels() -> None:
    assert there_and_back(KeywordOnly(size=3)).size == 3


def test_a_template_of_jinja_travels_though_its_class_wants_the_source() -> None:
    template = pytest.importorskip("jinja2").Template(
        "{% for n in range(3) %}{{ n }} {{ word }} {% endfor %}"
    )
    assert there_and_back(template).render(word="x") == "0 x 1 x 2 x "


def test_a_layout_of_binary_data_travels() -> None:
    layout = there_and_back(struct.Struct("<Hd"))
    assert (layout.format, layout.unpack(layout.pack(3, 0.5))) == ("<Hd", (3, 0.5))


def test_a_view_of_memory_arrives_as_one_of_the_same_items() -> None:
    numbers = array("d", [0.5, 1.5, 2.5, 3.5])
    for view in (
        memoryview(b"abc"),
        memoryview(b""),
        memoryview(array("d")),
        memoryview(numbers),
        memoryview(numbers).toreadonly(),
        memoryview(numbers)[::2],
        memoryview(numbers).cast("B").cast("d", (2, 2)),
    ):
        arrived = there_and_back(view)
        assert arrived.tolist() == view.tolist()
        assert (type(arrived), arrived.format, arrived.readonly) == (memoryview, view.format, view.readonly)


def test_a_view_of_items_that_nobody_else_can_show_is_refused() -> None:
    texts = memoryview(np.zeros(2, "U3"))
    with pytest.raises(SerializationError, match="x is a memoryview, which cannot be serialized"):
        there_and_back(texts)


# Classes that travel by value

WORKER = """
import pickle, struct, sys

def serve(receive, send):
    from processes.serialization.pickling import begin_run, dump, load
    begin_run()
    while True:
        head = receive.read(8)
        if not head:
            return
        data = receive.read(struct.unpack("<Q", head)[0])
        function, args = load(data, task_name="t", what=("func", "args"))
        try:
            answer = dump(("returned", function(*args)), task_name="t", what="result", to_sender=True)
        except Exception as error:
            answer = dump(("raised", error), task_name="t", what="result", to_sender=True)
        load(answer.data, task_name="t", what="result")  # read back, as workers do
        data = pickle.dumps((answer.data, answer.plain, answer.classes))
        send.write(struct.pack("<Q", len(data)) + data)
        send.flush()
"""

CLIENT = """
import pickle, struct, subprocess, sys

class Worker:
    def __init__(self):
        code = "import sys, worker_side as side; side.serve(sys.stdin.buffer, sys.stdout.buffer)"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", code], **pipes)
    def call(self, function, *args):
        from processes.serialization.pickling import dump, load
        data = dump((function, args), task_name="t", what=("func", "args")).data
        self.process.stdin.write(struct.pack("<Q", len(data)) + data)
        self.process.stdin.flush()
        size = struct.unpack("<Q", self.process.stdout.read(8))[0]
        data, self.plain, self.classes = pickle.loads(self.process.stdout.read(size))
        how, value = load(data, task_name="t", what="result")
        if how == "raised":
            raise value
        return value
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "worker_side.py").write_text(WORKER)
    (tmp_path / "client_side.py").write_text(CLIENT)
    return tmp_path


def run_script(folder: Path, code: str, *, how: str = "script") -> None:
    """Run code as ``__main__`` beside the two modules above; it must end by printing ``fine``."""
    code = "import sys; sys.path.insert(0, '.')\nfrom client_side import Worker\n" + textwrap.dedent(code)
    code += "\nprint('fine')\n"
    if how == "script":
        (folder / "script.py").write_text(code)
        assert run("script.py", where=folder) == "fine"
    elif how == "-c":
        assert run("-c", code, where=folder) == "fine"
    else:
        assert run("-", where=folder, text=code) == "fine"


CLASSES = """
    import abc, collections, dataclasses, enum, typing

    class Foo:
        made = []
        def __init__(self, x=0): self.x = x
        def double(self): return Foo(2 * self.x)
        @classmethod
        def make(cls): return cls(5)
    class Child(Foo):
        def double(self): return super().double()
    class Color(enum.Enum):
        RED = 1
        BLUE = 2
        def other(self): return Color.BLUE
    class Flag(enum.IntFlag):
        A = 1
        B = 2
    Pair = collections.namedtuple("Pair", "a b")
    class Typed(typing.NamedTuple):
        a: int
        b: str = "x"
    @dataclasses.dataclass
    class Data:
        a: int
        b: list = dataclasses.field(default_factory=list)
    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        a: int
    class Base(abc.ABC):
        @abc.abstractmethod
        def area(self): ...
    class Square(Base):
        def area(self): return 4
    class Slotted:
        __slots__ = ("a",)
    class Generic(typing.Generic[typing.TypeVar("T")]):
        pass
    class Failed(ValueError):
        def __init__(self, code, *, why):
            super().__init__(code)
            self.why = why
    class Meta(type):
        pass
    class Metaed(metaclass=Meta):
        pass
    def local_class():
        class Local:
            def me(self): return self
        return Local
    Local = local_class()
    slotted = Slotted(); slotted.a = 3
"""

SHOULD_KEEP = (
    "Foo(1), Child(2), Foo, Color.RED, Color, Flag.A | Flag.B, Pair(1, 2), Typed(1), Data(1, [2]), "
    "Frozen(3), Square(), Base, slotted, Generic(), Generic, Metaed(), Local(), Local, "
    "Failed(3, why='x'), Failed"
)


KEEPS_CLASSES = """
    classes = [c for c in globals().values() if isinstance(c, type) and c.__module__ == "__main__"]
    before = [dict(vars(c)) for c in classes]
    with Worker() as worker:
        for value in values * 2:
            back = worker.call(lambda x: x, value)
            assert back is value if isinstance(value, type) else type(back) is type(value), value
            assert worker.classes
        assert worker.call(lambda x: x, slotted).a == 3
        assert worker.call(lambda c: c.other(), Color.RED) is Color.BLUE
        assert type(worker.call(Foo(4).double)) is Foo
        assert type(worker.call(lambda: Child.make().double())) is Foo
        assert worker.call(lambda: Pair(1, 2)) == Pair(1, 2)
        assert worker.call(lambda: Data(1)) == Data(1)
        try:
            def fail(): raise Failed(3, why="because")
            worker.call(fail)
        except Failed as error:
            assert (type(error), error.args, error.why) == (Failed, (3,), "because")
        assert worker.call(lambda: 3) == 3
        assert not worker.classes
    for cls, attributes in zip(classes, before):
        for name, value in attributes.items():
            assert vars(cls)[name] is value, (cls, name)
"""


@pytest.mark.parametrize("how", ["script", "-c", "stdin"])
def test_a_class_that_was_sent_comes_back_as_the_senders_own(folder: Path, how: str) -> None:
    code = "\n".join(map(textwrap.dedent, (CLASSES, f"values = [{SHOULD_KEEP}]", KEEPS_CLASSES)))
    run_script(folder, code, how=how)


def test_a_class_stays_one_class_in_the_worker_and_takes_over_what_changed(folder: Path) -> None:
    run_script(folder, """
        class Foo:
            limit = 1
        with Worker() as worker:
            assert worker.call(lambda: id(Foo)) == worker.call(lambda: id(Foo))
            first, second = worker.call(lambda a, b: (id(type(a)), id(type(b))), Foo(), Foo())
            assert first == second
            assert worker.call(lambda: Foo.limit) == 1
            Foo.limit = 2
            assert worker.call(lambda: Foo.limit) == 2
    """)  # fmt: skip


def test_a_class_keeps_its_full_name_in_the_worker(folder: Path) -> None:
    run_script(folder, """
        from dataclasses import dataclass
        from typing import NamedTuple
        import enum
        class Outer:
            class Inner: pass
            class Color(enum.Enum): RED = 1
            class Pair(NamedTuple):
                a: int = 1
        def local():
            @dataclass(slots=True)
            class Data:
                x: int = 1
            return Data()
        with Worker() as worker:
            for value in (Outer.Inner(), Outer.Color.RED, Outer.Pair(), local()):
                assert worker.call(lambda x: type(x).__qualname__, value) == type(value).__qualname__
            assert worker.call(repr, local()) == repr(local())
    """)  # fmt: skip


def test_a_class_that_is_defined_again_is_another(folder: Path) -> None:
    run_script(folder, """
        class Foo:
            def version(self): return 1
        old_class, old = Foo, Foo()
        class Foo:
            def version(self): return 2
        with Worker() as worker:
            back_old, back_new = worker.call(lambda a, b: (a, b), old, Foo())
            assert type(back_old) is old_class and type(back_new) is Foo
            assert worker.call(lambda a, b: (a.version(), b.version()), old, Foo()) == (1, 2)
    """)  # fmt: skip


def test_a_class_that_the_worker_makes_comes_by_value_and_keeps_its_identity_afterwards(folder: Path) -> None:
    run_script(folder, """
        class Foo:
            pass
        def make():
            class Made(Foo):
                def hello(self): return "hello"
            return Made()
        with Worker() as worker:
            made = worker.call(make)
            assert made.hello() == "hello" and isinstance(made, Foo)
            back = worker.call(lambda x: x, made)
            assert type(back) is type(made)
            with Worker() as other:
                assert type(other.call(lambda x: x, made)) is type(made)
    """)  # fmt: skip


def test_classes_keep_their_identity_through_workers_of_workers(folder: Path) -> None:
    run_script(folder, """
        class Foo:
            pass
        def through(value):
            from client_side import Worker
            def make():
                class Inner: pass
                return Inner()
            with Worker() as inner:
                back = inner.call(lambda x: x, value)
                assert type(back) is type(value)
                return back, inner.call(make)
        with Worker() as worker:
            foo, inner = worker.call(through, Foo())
            assert type(foo) is Foo
            assert type(inner).__name__ == "Inner"
            assert type(worker.call(lambda x: x, inner)) is type(inner)
    """)  # fmt: skip


def test_a_value_may_leave_its_classes_out_and_is_read_where_their_definitions_are(folder: Path) -> None:
    run_script(folder, """
        from dataclasses import dataclass
        from processes.serialization.pickling import dump, load
        @dataclass
        class Foo:
            x: int
            def double(self): return self.x * 2
        def read(data, definitions):
            from processes.serialization import pickling
            pickling.definitions.update(definitions)
            return pickling.load(data, task_name="t", what="x")
        values = [Foo(1), [Foo(2), Foo], Foo(3).double]
        with Worker() as worker:
            for fresh in (True, False):
                for value in values:
                    classes = {}
                    data = dump(value, task_name="t", what="x", classes=classes).data
                    assert list(classes.values()) == [Foo] and len(data) < 250
                    definitions = {}
                    if fresh:
                        definitions = {key: dump(Foo, task_name="t", what="x").data for key in classes}
                    back = worker.call(read, data, definitions)
                    assert back == value or back() == value()
        assert dump(Foo(1), task_name="t", what="x").data.count(b"double")
    """)  # fmt: skip


def test_a_class_that_is_gone_is_named(folder: Path) -> None:
    run_script(folder, """
        import gc
        from processes.exceptions import SerializationError
        from processes.serialization.pickling import dump, load
        def make():
            class Short: pass
            return Short
        cls = make()
        with Worker() as worker:
            worker.call(lambda c: None, cls)
            kept = []
            data = worker.call(lambda c: __import__(dump.__module__, fromlist=["dump"]).dump(
                c(), task_name="t", what="x", to_sender=True).data, cls)
        assert type(load(data, task_name="t", what="x")) is cls
        del cls
        gc.collect()
        try:
            load(data, task_name="t", what="x")
        except SerializationError as error:
            assert "Short" in str(error), error
        else:
            raise AssertionError
    """)  # fmt: skip


# Source lines


def test_a_function_of_a_notebook_cell_takes_its_source_along(folder: Path) -> None:
    cell = """
        import linecache
        source = '''def divide(a, b):
            class Inner:
                def run(self):
                    return a / b
            return Inner().run()
        '''
        name = "/no/such/folder/ipykernel_1/cell_1.py"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"))
        from processes.failure import describe_failure, drop_leading_frames
        def describe(function):
            from processes.failure import describe_failure, drop_leading_frames
            try:
                function(1, 0)
            except ZeroDivisionError as error:
                while error.__traceback__.tb_frame.f_code.co_name == "describe":
                    error.__traceback__ = error.__traceback__.tb_next
                return describe_failure(error).traceback_str
        here = describe(divide)
        with Worker() as worker:
            there = worker.call(describe, divide)
        assert "return a / b" in here and here == there, there
    """
    run_script(folder, cell)


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_tracebacks_of_code_without_file_look_alike_in_worker_and_parent(folder: Path, how: str) -> None:
    code = """
        def divide(a, b):
            return a / b
        def describe(function):
            from processes.failure import describe_failure
            try:
                function(1, 0)
            except ZeroDivisionError as error:
                return describe_failure(error.with_traceback(error.__traceback__.tb_next)).traceback_str
        with Worker() as worker:
            assert worker.call(describe, divide) == describe(divide)
        if "-c" == HOW and sys.version_info >= (3, 13):
            assert "return a / b" in describe(divide)
    """
    run_script(folder, code.replace("HOW", repr(how)), how=how)


def test_source_lines_travel_once_for_all_functions_of_a_cell() -> None:
    name = "<cell>"
    source = "def first(): return 1\ndef second(): return 2\n" + "# much more\n" * 1000
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    try:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(source, name, "exec"), namespace)
        functions = [namespace["first"], namespace["second"]]
        both = dump(functions, task_name="t", what="x").data
        one = dump(functions[:1], task_name="t", what="x").data
        assert len(both) < len(one) + 1000
        del linecache.cache[name]
        assert load(both, task_name="t", what="x")[1]() == 2
        assert linecache.getline(name, 2) == "def second(): return 2\n"
    finally:
        linecache.cache.pop(name, None)


def test_an_error_from_a_value_shows_the_users_frames_and_none_of_ours() -> None:
    class Raising:
        def __reduce__(self) -> Any:
            raise ValueError("text")

    class Member(Enum):
        ONE = 1

        def __reduce_ex__(self, _: object) -> Any:
            raise ValueError("text")

    for value in Raising(), Member.ONE, weakref.WeakValueDictionary(held=held(Config(Raising()))):
        with pytest.raises(SerializationError) as caught:
            dump([value], task_name="t", what="x")
        assert caught.value.__cause__ is not None
        text = describe_failure(caught.value.__cause__).traceback_str
        first, *_ = re.findall(r'File "(.*)", line', text)
        assert first == __file__
