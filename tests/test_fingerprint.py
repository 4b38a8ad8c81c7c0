"""Fingerprints: the same in each run of a program, and different as soon as anything that counts is."""

from __future__ import annotations

import copyreg
import ctypes
import json
import math
import os
import pickle
import re
import socket
import ssl
import sys
import threading
import uuid
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import field
from decimal import Decimal
from enum import Enum, IntEnum
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from pickle import PickleBuffer
from random import Random, SystemRandom
from signal import Signals
from struct import Struct
from types import CellType, FunctionType, MappingProxyType, ModuleType
from typing import Annotated, Any, NewType, ParamSpec, TypeVar
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

import programs
import pytest

from processes.checkpoints.fingerprint import Fingerprints, NoFingerprintError
from processes.serialization.pickling import LARGE

PRINT = """
import contextlib, copy, inspect, pickle
import cloudpickle
from processes.checkpoints.fingerprint import Fingerprints

def fingerprints():
    made = Fingerprints()
    for name, value in sorted(VALUES.items()):
        if callable(value):
            yield name, made.of_call(value, (), {}).hex()
        else:
            yield name, made.of_call(print, (value,), {"key": value}).hex()

found = [*fingerprints()]
for name, digest in found:
    print(name, digest)
"""

# What has been used has caches in it, or what Python has noted.
USE = """
for value in VALUES.values():
    uses = [pickle.dumps, cloudpickle.dumps, copy.deepcopy, repr, hash, dir, inspect.signature, vars]
    for use in (*uses, lambda frame: frame.iloc[0]):
        with contextlib.suppress(Exception):
            use(value)
    for _ in range(20):
        with contextlib.suppress(Exception):
            result = value("x")
            getattr(result, "close", int)()
changed = {name for (name, digest), after in zip(found, fingerprints()) if after != (name, digest)}
assert changed <= MAY_CHANGE, changed
"""

MANY = """
import abc, collections, contextlib, dataclasses, datetime, decimal, enum, functools, logging, pathlib
import random, re, secrets, struct, threading, types, typing
import hashed
from os import environ
from sys import stdout
import numpy as np
import pandas as pd

TABLE = {"one": 1, "names": {"x", "y", "z"}, "words": frozenset("hello world".split())}
lock = threading.Lock()
log = logging.getLogger("shop")
T = typing.TypeVar("T")

@dataclasses.dataclass
class Point:
    x: int
    y: float = 2.0
    z: list = dataclasses.field(default_factory=list)
    o: object = object()

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen(typing.Generic[T]):
    x: T
    names: frozenset = frozenset({"a", "b", "c", "d"})

class NameSet(set):
    pass

class ClassProperty(property):
    def __get__(self, instance, owner=None):
        return self.fget(owner)

class TellsItself:
    __slots__ = ("a", "b", "c", "d", "e", "f")
    def __init__(self):
        for number, name in enumerate(self.__slots__):
            setattr(self, name, number)
    def __getstate__(self):
        return {name: getattr(self, name) for name in {*self.__slots__}}
    def __setstate__(self, state):
        for name, value in state.items():
            setattr(self, name, value)

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"
    def who(self):
        return self.name

class Flags(enum.Flag):
    A = 1
    B = 2

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    @abc.abstractmethod
    def name(self): ...

class Square(Shape):
    __slots__ = ("side", "names")
    kinds = {"a", "b", "c"}
    def __init__(self, side):
        self.side, self.names = side, {"q", "w", "e", "r"}
    def area(self):
        return self.side ** 2 if super().area() else self
    def name(self):
        return __class__.__name__
    @property
    def twice(self):
        return 2 * self.side
    @staticmethod
    def static():
        return 1
    @classmethod
    def make(cls):
        return cls(1)
    @functools.cached_property
    def cached(self):
        return 3

@typing.runtime_checkable
class Sized(typing.Protocol):
    size: int
    def grow(self) -> None: ...

isinstance(3, Shape)

class Step:
    known = set()
    def __init_subclass__(cls):
        Step.known.add(cls)

class Load(Step): pass
class Clean(Step): pass
class Store(Step): pass

class Holder:
    def __init__(self):
        self.array, self.me, self.lock = np.arange(100_000), self, threading.RLock()
    def look(self):
        return self.array

def helper(value):
    return other(value) + np.mean([value]) if value in {"x", "y", "zz"} else TABLE

def other(value):
    return helper(value) if value else Point(1)

@functools.lru_cache
def cached(value):
    return value

@functools.wraps(helper)
def decorated(*args):
    with lock:
        log.info("there")
    return cached(*args), helper(*args)

@functools.singledispatch
def dispatched(value):
    return value

@dispatched.register
def _(value: int):
    return Colour.RED

@dispatched.register
def _(value: collections.abc.Sized):
    return Colour.BLUE

@contextlib.contextmanager
def managed():
    yield lock

HEADER = struct.Struct("<IQ")

@managed()
def around(value, file=stdout):
    return HEADER.pack(1, 2), environ["PYTHONHASHSEED"], value

def closure(number):
    def add(value):
        return value + number
    return add

async def slow(value):
    return await value

def local_class():
    class Local:
        limit = 3
        def __init__(self):
            self.a = self.b = self.limit
    return Local

def imports():
    import json
    from os import path
    return json, path

MAY_CHANGE = set()
VALUES = dict(
    helper=helper, decorated=decorated, dispatched=dispatched, managed=managed, closure=closure(3),
    slow=slow, around=around,
    imports=imports, local_class=local_class, builtin=len, bound_builtin="x".join,
    a_lambda=lambda x: x * 2, a_class=Square,
    partial=functools.partial(helper, value=3), method=Square(2).area, class_method=Square.make,
    holder=Holder().look, numpy_function=np.mean, ufunc=np.add, pandas_function=pd.read_csv,
    point=Point(1), frozen=Frozen(2), colour=Colour.BLUE, flags=Flags.A | Flags.B, a_type=list[int],
    union=int | None, optional=typing.Optional[str], shape=Shape,
    array=np.arange(10), large=np.ones((500, 500)), strided=np.arange(100)[::3],
    fortran=np.ones((3, 4), order="F"),
    objects=np.array([1, "a", None], object), frame=pd.DataFrame({"a": [1, 2], "b": list("xy")}),
    categories=pd.Series(list("abca"), dtype="category"), dates=pd.date_range("2020", periods=3, tz="UTC"),
    dated=pd.DataFrame({"d": pd.date_range("2020", periods=3), "t": pd.timedelta_range(0, periods=3)}),
    scalar=np.float64(1), data_type=np.dtype("i4,f8"), generator=np.random.default_rng(3),
    rng=random.Random(3),
    choice=random.choice, draw=random.random, rand=np.random.rand, secret=secrets.choice,
    names={"a", "b", "c", "d"}, nested=[{"k": ({"x", "y"}, [None, 1.5, -0.0, float("nan"), 10**5000])}],
    class_property=ClassProperty(helper), name_set=NameSet({"a", "b", "c", "d"}),
    raw=b"x" * 300_000, mutable=bytearray(b"abc"), numbers=range(3), when=datetime.datetime(2020, 1, 1),
    exact=decimal.Decimal("1.10"), path=pathlib.Path("/tmp/x"), pattern=re.compile("a+"),
    counter=collections.Counter("hello"),
    space=types.SimpleNamespace(a={"p", "q"}), protocol=Sized, log=log,
    lock=lock, ellipsis=(..., NotImplemented), tells_itself=TellsItself(), a_registry=Load,
    hashed_map=hashed.Map(dict.fromkeys("abcdef", [1])), hashed_set=hashed.Set("abcdef"),
    hashed_info=hashed.Info("m"), other_info=hashed.Info("km"),
)
"""

# As pyrsistent's and those of immutables: for a pickle they give their items as they stand in them.
HASHED = """
from collections import abc

class Map(abc.Mapping):
    def __init__(self, items):
        self._items = frozenset(items), dict(items)
    def __reduce__(self):
        return Map, ({key: self[key] for key in self},)
    def __iter__(self):
        return iter(self._items[0])
    def __len__(self):
        return len(self._items[0])
    def __getitem__(self, key):
        return self._items[1][key]

class Set(abc.Set):
    def __init__(self, items):
        self._items = frozenset(items)
    def __reduce__(self):
        return Set, ([*self],)
    def __iter__(self):
        return iter(self._items)
    def __len__(self):
        return len(self._items)
    def __contains__(self, item):
        return item in self._items

class Info:
    "Tells for its state what a set says."
    names = {"unit", "name", "format", "description"}
    def __init__(self, unit):
        self._told = {"unit": unit, "name": "a"}
    def __getstate__(self):
        return {name: self._told.get(name) for name in self.names}
"""


def output_of(program: str, folder: Path, seed: int = 0, **environment: str) -> str:
    path = folder / "program.py"
    path.write_text(program)
    environment = os.environ | {"PYTHONHASHSEED": str(seed)} | environment
    return programs.output_of([sys.executable, path], env=environment)


def test_fingerprints_are_the_same_in_each_process_and_wherever_the_code_stands(tmp_path):
    library = tmp_path / "site-packages"
    write_all(library, {"hashed.py": HASHED})
    first = output_of(MANY + PRINT + USE, tmp_path, 1, PYTHONPATH=str(library))
    assert len(first.splitlines()) > 50
    moved = "# moved\n" * 20 + MANY.replace("):\n", "):  # a comment\n\n")
    (tmp_path / "elsewhere").mkdir()
    assert output_of(moved + PRINT + USE, tmp_path / "elsewhere", 2, PYTHONPATH=str(library)) == first


HELPERS = {
    "shop.py": """
import prices
RATE = 2
def total(n):
    return prices.price(n) * RATE
def unused():
    pass
class Shelf:
    size = 21
""",
    "prices.py": "def price(n):\n    return n + 1\n",
    "late.py": """
from prices import price
from tools import lists
def by_text():
    from importlib import import_module
    return [import_module(name).TEXT for name in ("texts",)]
""",
    "texts.py": "TEXT = 'a'\n",
    "tools/__init__.py": "",
    "tools/lists.py": "from . import pairs\n",
    "tools/pairs.py": "PAIR = 2\n",
    "named/constant.py": "SPEED = 1\n",
    "named/backend.py": "HOST = 'a'\n",
    "named/literal.py": "MODE = 'x'\n",
    "named/given.py": "PATH = '/'\n",
    "steps/__init__.py": "",
    "steps/inner/__init__.py": "",
    "steps/inner/clean.py": "def run():\n    return 7\n",
    "lazy/__init__.py": """
FLAG = 1
def __getattr__(name):
    from . import late
    return getattr(late, name)
""",
    "lazy/late.py": "MODE = 'r'\n",
    "plugins/first.py": "UNIT = 'm'\n",
    "plugins/second.py": "def size():\n    return 8\n",
}

SCRIPT = """
import abc
import contextlib
import dataclasses
import enum
import functools
import importlib.util
import os
import sys
import types
import typing
import lazy
import shop
from shop import total

LIMIT = 10
NAMES = {"a": [1, 2]}

class Base:
    factor = 2

class Cart(Base):
    def __init__(self, n):
        self.n = n
    def sum(self):
        return self.n * self.factor

def inner(n):
    return n + LIMIT

def outer(n, step=1, *, key=2):
    return inner(n)

def late():
    from late import price
    return price

def closed(a):
    return lambda: a

def uses_names():
    return [name for name in NAMES if name]

def nested():
    def within():
        return LIMIT
    return within

def noted(n: int, mode: "Mode" = "fast"):
    return n

def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@wrapped
def decorated():
    return 1

@dataclasses.dataclass
class Weight:
    'What something weighs.'
    grams: int = dataclasses.field(default=1, metadata={"unit": "g"})

@dataclasses.dataclass
class Limits:
    least: int = 8

Mode = typing.Literal["fast", "safe"]
Modes = typing.List["Mode"]

@dataclasses.dataclass
class Settings:
    limits: "list[Limits] | None"
    modes: "Modes"
    text: typing.Annotated[str, wrapped]

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

class Length(enum.Enum):
    def __new__(cls, value, unit):
        member = object.__new__(cls)
        member._value_, member.unit = value, unit
        return member
    SHORT = 1, "mm"

class Named:
    def __init__(self, function):
        self.function = function
    def __call__(self):
        return self.function()
    def __reduce__(self):
        return "by_name"

@Named
def by_name():
    return 5

@functools.singledispatch
def dispatched(n):
    return n

@dispatched.register
def _(n: str):
    return n + "!"

@contextlib.contextmanager
def manager(size):
    yield size

@manager(3)
def managed():
    return 4

class Plugin(abc.ABC):
    pass

@Plugin.register
class OfAnother:
    pass

def by_text():
    return importlib.import_module("late").price(1)

class Tool:
    pass

class Hammer(Tool):
    weight = 900

def all_below(cls):
    return [cls, *(one for below in cls.__subclasses__() for one in all_below(below))]

def tools():
    return all_below(Tool)

class Database:
    port = 5432

def given(function):
    @functools.wraps(function)
    def wrapper():
        return function(**{name: kind() for name, kind in typing.get_type_hints(function).items()})
    return wrapper

@given
def injected(database: Database):
    return database.port

@given
def injected_by_text(shelf: "shop.Shelf"):
    return shelf.size

class Depends:
    def __init__(self, function):
        self.function = function

def connect():
    return "primary"

def depending(database: typing.Annotated[str, Depends(connect)]):
    return database

def documented():
    return 13

documented.__doc__ = "A tool."

class ByPlace:
    def __init__(self, function):
        functools.update_wrapper(self, function)
    def __set_name__(self, owner, name):
        self.owner, self.name = owner, name
    def __reduce__(self):
        return getattr, (self.owner, self.name)

class Placed:
    @ByPlace
    def load(self):
        return "loaded"

def beside(name):
    return getattr(shop, name)(1) + shop.RATE

def in_dict(name):
    return shop.__dict__[name](1) + shop.RATE

def by_part_of_a_text(name):
    return importlib.import_module(f"steps.{name}").run()

OF_CONSTANTS = "named.constant"

class Config:
    __slots__ = ("backend",)
    def __init__(self):
        self.backend = "named.backend:run"

def by_name_of_module(name=OF_CONSTANTS, *, configs={"of tests": [Config()]}):
    return [importlib.import_module(one) for one in (name, "named.literal")]

def load(name, config):
    return importlib.import_module(name)

def loaded(name):
    path = os.path.join(os.path.dirname(__file__), "plugins", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

first = sys.modules["first"] = loaded("first")
PLUGINS = {"first": first, "second": loaded("second")}

def of_plugins():
    return PLUGINS["second"].size()

def late_plugin():
    import first
    return first.UNIT

made = types.ModuleType("made")
made.number = 11

MAY_CHANGE = set()
VALUES = dict(
    by_part_of_a_text=by_part_of_a_text, by_name_of_module=by_name_of_module,
    load=functools.partial(load, "named.given", config=Config()),
    lazy=lambda: lazy.FLAG and lazy.MODE, of_plugins=of_plugins,
    late_plugin=late_plugin, made=lambda name: vars(made)[name],
    depending=depending, documented=documented,
    tools=tools, injected=injected, injected_by_text=injected_by_text, placed=Placed,
    beside=beside, in_dict=in_dict,
    by_text=by_text, plugin=lambda: isinstance(OfAnother(), Plugin),
    inner=inner, outer=outer, late=late, closed=closed(1), uses_names=uses_names, nested=nested, total=total,
    by_module=lambda: shop.total(1), cart=Cart, method=Cart(3).sum, partial=functools.partial(outer, 1),
    noted=noted, decorated=decorated, ordered=[1, 2], keyed={"a": 1}, number=1, text="x", weight=Weight,
    colour=Colour.RED, length=Length.SHORT, by_name=by_name, module=[shop], settings=Settings,
    dispatched=dispatched, managed=managed, by_made_name=lambda: getattr(shop, "to" + "tal")(1),
)
"""

WHOLE = {"module", "by_made_name", "beside", "in_dict"}  # of a module these may mean anything

EDITS: dict[str, tuple[str, str, str, set[str]]] = {
    "a function": ("program.py", "return n + LIMIT", "return n - LIMIT", {"inner", "outer", "partial"}),
    "a global": ("program.py", "LIMIT = 10", "LIMIT = 11", {"inner", "outer", "partial", "nested"}),
    "a global's contents": ("program.py", "[1, 2]}", "[1, 3]}", {"uses_names"}),
    "a default": ("program.py", "step=1", "step=2", {"outer", "partial"}),
    "a keyword's default": ("program.py", "key=2", "key=3", {"outer", "partial"}),
    "what is closed over": ("program.py", "closed(1)", "closed(2)", {"closed"}),
    "a type": ("program.py", "closed(1)", "closed(True)", {"closed"}),
    "a base class": ("program.py", "factor = 2", "factor = 3", {"cart", "method"}),
    "an object": ("program.py", "Cart(3)", "Cart(4)", {"method"}),
    "an annotation": ("program.py", "n: int", "n: float", {"noted"}),
    "a decorator": ("program.py", "return function(*args)", "return function()", {"decorated", "settings"}),
    "what is decorated": ("program.py", "    return 1\n", "    return 2\n", {"decorated"}),
    "what has a name": ("program.py", "return 5", "return 6", {"by_name"}),
    "a field's default": ("program.py", "default=1", "default=2", {"weight"}),
    "what only an annotation of a field names": (
        "program.py",
        "least: int = 8",
        "least: int = 9",
        {"settings"},
    ),
    "an alias that annotations name": ("program.py", '"safe"', '"slow"', {"noted", "settings"}),
    "a field's metadata": ("program.py", '"unit": "g"', '"unit": "kg"', {"weight"}),
    "the description of a data class": ("program.py", "weighs", "weighed", {"weight"}),
    "one of several functions for different classes": ("program.py", 'n + "!"', 'n + "?"', {"dispatched"}),
    "the class that it is for": ("program.py", "n: str", "n: bytes", {"dispatched"}),
    "what a function is run within": ("program.py", "yield size", "yield", {"managed"}),
    "what that is given": ("program.py", "manager(3)", "manager(5)", {"managed"}),
    "a list": ("program.py", "ordered=[1, 2]", "ordered=[2, 1]", {"ordered"}),
    "a number's type": ("program.py", "number=1", "number=1.0", {"number"}),
    "a member of an enumeration": ("program.py", "colour=Colour.RED", "colour=Colour.BLUE", {"colour"}),
    "what a member has beside its value": ("program.py", '"mm"', '"cm"', {"length"}),
    "a comment": ("program.py", "LIMIT = 10", "LIMIT = 10  # the most", set()),
    "another module": ("shop.py", "* RATE", "+ RATE", {"total", "by_module", *WHOLE}),
    "another module's global": ("shop.py", "RATE = 2", "RATE = 3", {"total", "by_module", *WHOLE}),
    "what another module calls": (
        "prices.py",
        "n + 1",
        "n + 2",
        {"total", "by_module", "late", "by_text", *WHOLE},
    ),
    "what nobody calls": ("shop.py", "    pass", "    return 1", WHOLE),
    "what such a module imports by a text": ("texts.py", "'a'", "'b'", {"late", "by_text"}),
    "what is found among subclasses": ("program.py", "weight = 900", "weight = 901", {"tools"}),
    "a new subclass": ("program.py", "def tools()", "class Saw(Hammer): pass\ndef tools()", {"tools"}),
    "what only an annotation names": ("program.py", "port = 5432", "port = 5433", {"injected"}),
    "what a text in an annotation names in another module": (
        "shop.py",
        "size = 21",
        "size = 22",
        {"injected_by_text", *WHOLE},
    ),
    "a module of a package that a text begins with": (
        "steps/inner/clean.py",
        "return 7",
        "return 6",
        {"by_part_of_a_text"},
    ),
    "a module that a default names": ("named/constant.py", "1", "2", {"by_name_of_module"}),
    "a module that an object names": ("named/backend.py", "'a'", "'b'", {"by_name_of_module", "load"}),
    "one of several that a loop names": ("named/literal.py", "'x'", "'y'", {"by_name_of_module"}),
    "a module that an argument names": ("named/given.py", "'/'", "'//'", {"load"}),
    "what a module finds when it is asked for it": ("lazy/late.py", "'r'", "'w'", {"lazy"}),
    "a module that a path has told": ("plugins/second.py", "return 8", "return 9", {"of_plugins"}),
    "another that is imported": ("plugins/first.py", "'m'", "'km'", {"of_plugins", "late_plugin"}),
    "a module without a file": ("program.py", "number = 11", "number = 12", {"made"}),
    "what an annotation adds": ("program.py", '"primary"', '"replica"', {"depending"}),
    "a text that documents a function": ("program.py", "A tool.", "A tool!", {"documented"}),
    "what is reduced to where it is": ("program.py", '"loaded"', '"saved"', {"placed"}),
    "a module that a function imports": (
        "late.py",
        "import price",
        "import price as price",
        {"late", "by_text"},
    ),
    "what such a module imports": ("tools/pairs.py", "PAIR = 2", "PAIR = 3", {"late", "by_text"}),
    "what is registered with an abstract class": ("program.py", "@Plugin.register\n", "", {"plugin"}),
}


def fingerprints_in(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """Write a program and its modules into a folder; give the fingerprints of its functions, by name."""
    write_all(folder, files)
    lines = output_of(files["program.py"] + PRINT + USE, folder, PYTHONDONTWRITEBYTECODE="1").splitlines()
    return dict(line.split() for line in lines)


def write_all(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


# What one program has imported from beside it, another one imports again; large libraries are imported once.
RUN_EACH = """
import os, runpy, sys

for program in sys.argv[1:]:
    sys.path[0] = os.path.dirname(program)
    runpy.run_path(program, run_name="__main__")
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "").startswith(sys.path[0]):
            del sys.modules[name]
    print()
"""


def fingerprints_after_each(
    edits: Sequence[tuple[str, str, str]], files: dict[str, str], folder: Path
) -> list[dict[str, str]]:
    """Give the fingerprints in a program as it is, and after each edit: of which file, what, and by what.

    The programs run one after the other in one Python, each in a folder with its modules.
    """
    versions = [files]
    for file, before, after in edits:
        assert before in files[file], before
        versions.append(files | {file: files[file].replace(before, after)})
    paths = [folder / str(number) / "program.py" for number in range(len(versions))]
    for path, version in zip(paths, versions, strict=True):
        use = USE if version is files else ""
        write_all(path.parent, version | {"program.py": version["program.py"] + PRINT + use})
    printed = programs.output_of([sys.executable, "-B", "-c", RUN_EACH, *paths]).split("\n\n")[:-1]
    return [dict(line.split() for line in lines.splitlines()) for lines in printed]


def test_an_edit_changes_the_fingerprints_of_what_needs_it_and_no_others(tmp_path):
    files = {"program.py": SCRIPT, **HELPERS}
    edits = [(file, before, after) for file, before, after, _ in EDITS.values()]
    unedited, *edited = fingerprints_after_each(edits, files, tmp_path)
    for (what, (*_, expected)), now in zip(EDITS.items(), edited, strict=True):
        assert {name for name in unedited if unedited[name] != now[name]} == expected, what


class Worn:
    """Two methods, and a state."""

    size = 1

    def __init__(self, age: int) -> None:
        self.age = age

    def wash(self) -> int:
        return self.age

    def mend(self) -> int:
        return self.age + 1


class Money(Decimal):
    """A number with an attribute, of which decimals tell nothing."""

    unit: str

    def __new__(cls, amount: int, unit: str) -> Money:
        money = super().__new__(cls, amount)
        money.unit = unit
        return money


class Kind(type):
    """A metaclass."""


class Reduced:
    """What is made of something else than its attributes."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made_of


def variants() -> list[Any]:
    """Make values of which no two are the same, but for one thing."""

    def function(code: Callable[..., object], **attributes: Any) -> Any:
        code.__name__ = code.__qualname__ = "function"
        for name, value in attributes.items():
            setattr(code, name, value)
        return code

    def cls(*bases: type, kind: Any = type, name: str = "Class", **attributes: Any) -> type:
        made: type = kind(name, bases, {"__qualname__": name, "__module__": __name__} | attributes)
        return made

    def holding(number: int) -> Any:
        return function(lambda: number)

    def holding_nothing() -> Any:
        if not variants:
            held = 1
        return function(lambda: held)

    def given(x: Any = 1, *, y: Any = 1) -> Any:
        return x, y

    annotated = [function(lambda x: x, __annotations__={"x": kind}) for kind in (int, float, "int")]
    nothing, large, marked = print, bytes(LARGE), partial(print)
    marked.mark = 1  # type: ignore[attr-defined]
    same_memory = memoryview(bytes(LARGE + 2))
    return [
        *(None, True, False, 0, 1, 2, 10, -1, 10**400, 0.0, -0.0, 1.0, 1j, ..., NotImplemented),
        *("", "1", "None", "\ud800", b"", b"1", bytearray(b"1"), PickleBuffer(b"1"), memoryview),
        *(large, bytearray(large), PickleBuffer(large), large + b"1", b"1" + large, b"2" + large),
        *(PickleBuffer(same_memory), PickleBuffer(same_memory[:-1])),
        *((), (1,), (1, 2), (2, 1), ((1,), 2), (1, (2,)), [], [1], [1, 2], [[1], 2], [1, [2]]),
        *({}, {1: 2}, {2: 1}, {1: 1, 2: 2}, {2: 2, 1: 1}, MappingProxyType({1: 3}), {1: {2: 3}}),
        *(set(), {1}, {1, 2}, {(1, 2)}, frozenset(), frozenset({1})),
        *(range(2), range(3), slice(2), list[int], list[str], int | str, int | bytes, uuid.UUID(int=1)),
        *(uuid.UUID(int=2), deque([1]), deque([2]), deque([1], 5), Counter("a"), OrderedDict({1: 2})),
        *(array("i", [1]), array("i", [2]), array("l", [1]), Exception(1), Exception(2), ValueError(1)),
        *(re.RegexFlag(1 << 20), re.RegexFlag(1 << 21), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        *(Signals.SIGINT, Signals.SIGTERM, re.compile("a"), re.compile("a", re.IGNORECASE)),
        *(Struct("<I"), Struct("<Q")),
        *(len, abs, math.sin, math.cos, "x".join, "y".join, "x".split, [1].append, [2].append, [1].pop),
        *(str.join, str.split, bytes.join, (1).__add__, (2).__add__, (1).__sub__, int.from_bytes),
        *(
            str.maketrans,
            bytes.maketrans,
            bool.from_bytes,
            vars(int)["from_bytes"],
            vars(int)["real"],
            vars(int)["imag"],
            json,
            pickle,
        ),
        *(int, float, OrderedDict, Worn, Worn(1), Worn(2), Worn(1).wash, Worn(2).wash, Worn(1).mend),
        *(Reduced(len, ()), Reduced(abs, ()), Reduced(len, (1,)), Reduced(len, (), 1), Reduced(len, (), 2)),
        *(Reduced(len, (), None, [1]), Reduced(len, (), None, [2]), Reduced(len, (), None, None, [(1, 2)])),
        *(Reduced(len, (), None, None, [(2, 1)]), Reduced(len, (), 1, None, None, setattr)),
        *(staticmethod(len), staticmethod(abs), classmethod(len), property(len), property(abs)),
        *(property(len, abs), property(len, None, abs), property(len, doc="text"), vars(Worn)["wash"]),
        *(
            marked,
            partial(print),
            partial(print, 1),
            partial(print, 2),
            partial(print, sep=""),
            partial(len, 1),
            partial(print, [1]),
            partial(print, [2]),
            partial(print, sep=[1]),
        ),
        *(lru_cache(len), lru_cache(abs), lru_cache(1)(len), lru_cache(typed=True)(len)),
        *(function(lambda: 1), function(lambda: 2), function(lambda: 1.0), function(lambda: nothing)),
        *(function(lambda: len), function(lambda: abs), function(lambda: json.dumps), holding_nothing()),
        *(function(lambda: json.loads), function(lambda x: x), function(lambda *x: x)),
        *(function(lambda **x: x), function(lambda x, y: x), function(lambda x, y: y)),
        *(function(lambda x, *, y: x), function(lambda x, /, y: x), function(lambda: (yield))),
        *(function(lambda: lambda: 1), function(lambda: lambda: 2), *annotated, given),
        *(holding(1), holding(2), holding([1]), holding([2]), [1, 2].append, Worn([1]).wash, Worn([2]).wash),
        *(
            FunctionType(given.__code__, {}, argdefs=([1],)),
            FunctionType(given.__code__, {}, argdefs=(2,)),
            FunctionType(given.__code__, {}),
        ),
        *(function(lambda: 1, __defaults__=(1,)), function(lambda: 1, __kwdefaults__={"x": 1})),
        *(function(lambda: 1, mark=1), function(lambda: 1, mark=2), function(lambda: 1, __module__="x")),
        *(given.__code__, holding.__code__, CellType(), CellType(1), CellType(2)),
        *(cls(), cls(int), cls(Worn), cls(name="Other"), cls(kind=Kind), cls(x=1), cls(x=2), cls(y=1)),
        *(cls(__doc__="text"), cls(__annotations__={"x": int}), cls(__annotations__={"x": str})),
        *(cls(ctypes.Structure, _fields_=[("x", one)]) for one in (ctypes.c_short, ctypes.c_long)),
        *(cls(__slots__=("x",)), cls(__slots__=("y",)), cls(x=function(lambda: 1)), cls(x=len)),
        *(Enum("Class", {"A": 1}), Enum("Class", {"A": 2}), Enum("Class", {"B": 1}), IntEnum("Class", "A")),
        *(ContextVar("x"), ContextVar("y"), WeakKeyDictionary({Worn: 1}), WeakKeyDictionary({Worn: 2})),
        *(WeakValueDictionary({1: Worn}), WeakValueDictionary({2: Worn}), threading.Lock()),
        *(ref(Worn), ref(Enum)),
        *(threading.RLock(), threading.local(), Random(1), Random(2), SystemRandom()),
        *(field(metadata={"a": 1}), field(metadata={"a": 2}), TypeVar("A"), TypeVar("B")),
        *(TypeVar("A", bound=int), TypeVar("A", bound=list[str]), TypeVar("A", int, str)),
        *(NewType("A", int), NewType("A", str), ParamSpec("A")),
        *(Path("a"), Path("b"), PurePosixPath("a"), Money(1, "EUR"), Money(1, "USD"), Money(2, "USD")),
    ]


def test_whatever_differs_in_one_thing_has_another_fingerprint():
    values = variants()
    calls = [
        *((len, (value,), {}) for value in values),
        *((value, (), {}) for value in values if callable(value)),
        *((len, (10**5000, 1), {}), (len, (10**5000, 2), {}), (len, (), {"a": 10**5000})),
        *((len, (1, 2), {}), (len, (), {"a": 1}), (len, (), {"b": 1}), (len, (1,), {"a": 1})),
        *((len, ([1], [2]), {}), (len, (), {"a": [1]}), (len, (), {"b": [1]}), (len, ([1],), {"a": [1]})),
    ]
    made = Fingerprints()
    found: dict[bytes, object] = {}
    for call in calls:
        assert found.setdefault(made.of_call(*call), call) is call
    made = Fingerprints()
    assert [made.of_call(*call) for call in calls] == [*found]


COMPILED = """
import sys
sys.path.append("{folder}")
import {package}._json
from {package}._json import encode_basestring

class Stand:
    pass

Stand.__module__ = encode_basestring.__module__  # as one has that is compiled there

class Kind(type):
    __module__ = property(str)

class Function(metaclass=Kind):  # as functions of Cython are
    __module__ = encode_basestring.__module__

    def __reduce__(self):
        return "function"

MAY_CHANGE = set()
VALUES = dict(
    by_name=lambda x: encode_basestring(x), by_module=lambda x: {package}._json.encode_basestring(x),
    itself=encode_basestring, a_class=Stand, an_object=[Stand()], function=Function(), none=lambda x: x,
)
"""


def test_what_a_compiled_module_holds_counts_with_its_file_or_its_librarys_version(tmp_path):
    file = Path(getattr(sys.modules["_json"], "__file__", ""))
    if file.suffix != ".so":
        pytest.skip("Python's own module is no file here")
    code, installed = file.read_bytes(), tmp_path / "site-packages"

    def fingerprints(package: str, folder: Path, *, version: str = "", end: bytes = b"") -> dict[str, str]:
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / "__init__.py").write_text(f"__version__ = {version!r}")
        (folder / package / file.name).write_bytes(code + end)
        return fingerprints_in(tmp_path, {"program.py": COMPILED.format(package=package, folder=folder)})

    before, after = fingerprints("shop", tmp_path), fingerprints("shop", tmp_path, end=b"edited")
    assert {name for name in before if before[name] == after[name]} == {"none"}
    before, after = fingerprints("lib", installed), fingerprints("lib", installed, end=b"edited")
    assert before == after
    after = fingerprints("lib", installed, version="2")
    assert {name for name in before if before[name] == after[name]} == {"none"}


def test_an_object_that_an_installed_package_has_made_counts_with_its_contents(tmp_path):
    files = {
        "program.py": (
            "import os, sys\nsys.path.insert(1, os.path.join(sys.path[0], 'site-packages'))\n"
            "from lib import settings\nMAY_CHANGE = set()\n"
            "VALUES = dict(call=lambda x: settings.limit, value=settings, none=len)\n"
        ),
        "site-packages/lib/__init__.py": (
            "__version__ = '1'\nclass Settings: pass\nsettings = Settings()\nsettings.limit = 1\n"
        ),
    }
    edits = [("site-packages/lib/__init__.py", "limit = 1", "limit = 2")]
    before, after = fingerprints_after_each(edits, files, tmp_path)
    assert {name for name in before if before[name] == after[name]} == {"none"}


EDITED = """
import importlib, pathlib, sys
from processes.checkpoints.fingerprint import Fingerprints

def late():
    import steps
    return steps.count()

def tell():
    print(Fingerprints().of_call(late, (), {}).hex())

if sys.argv[1:] == ["edits"]:
    tell()
    late()
    tell()
    pathlib.Path(sys.path[0], "steps.py").write_text("def count():\\n    return 22\\n")
    tell()
    importlib.reload(sys.modules["steps"])
tell()
"""


def test_a_module_that_was_edited_since_it_was_loaded_is_another_one_than_the_one_in_the_file(tmp_path):
    write_all(tmp_path, {"program.py": EDITED, "steps.py": "def count():\n    return 1\n"})
    command = [sys.executable, tmp_path / "program.py"]
    unloaded, before, edited, loaded = programs.output_of([*command, "edits"]).split()
    assert unloaded == before
    assert len({before, edited, loaded}) == 3
    assert programs.output_of(command).split() == [loaded]


INSTALLED = """
import os, sys
sys.path.insert(1, os.path.join(os.path.dirname(__file__), "site-packages"))
import acme.core, acme.jobs, dispatching, local, plain, renamed, sched
from dispatching import show

class Shape:
    pass

@show.register
def _(shape: Shape):
    return 1

def late(x):
    import plain, sched

MAY_CHANGE = set()
VALUES = dict(
    dispatched=lambda x: show(x), dispatched_there=lambda x: dispatching.show(x),
    same_name=lambda x: plain.PLAIN, other_name=lambda x: renamed.RENAMED, late=late, none=lambda x: x,
    local=lambda x: local.LOCAL,
    part=lambda x: acme.core.CORE, own_part=lambda x: acme.jobs.JOBS, own=lambda x: sched.OWN,
)
"""


def test_an_installed_package_counts_with_its_version_and_the_users_own_beside_it_with_its_code(tmp_path):
    files = {
        "program.py": INSTALLED,
        "sched.py": "OWN = 1\n",  # in the place of Python's own
        "acme/jobs.py": "JOBS = 1\n",
        "site-packages/acme/core.py": "CORE = 1\n",
        "site-packages/plain/__init__.py": "PLAIN = 1\n",
        "site-packages/renamed.py": "RENAMED = 1\n",
        "site-packages/dispatching.py": "import functools\n@functools.singledispatch\ndef show(x): pass\n",
        "site-packages/local.py": "__version__ = '1'\nLOCAL = 1\n",
        "site-packages/homemade-1.dist-info/direct_url.json": "{}",
        "site-packages/homemade-1.dist-info/RECORD": "local.py,sha256=1\n",
        "site-packages/plain-1.dist-info/RECORD": "plain/__init__.py,sha256=1\n",
        "site-packages/other-1.dist-info/RECORD": "renamed.py,sha256=1\n",
    }
    for name in ("acme_core", "homemade", "plain", "other"):
        files[f"site-packages/{name}-1.dist-info/METADATA"] = f"Name: {name}\nVersion: 1\n"
    edits = (
        ("sched.py", {"own", "late"}),
        ("program.py", {"dispatched", "dispatched_there"}),
        ("acme/jobs.py", {"own_part"}),
        ("site-packages/acme/core.py", set()),
        ("site-packages/acme_core-1.dist-info/METADATA", {"part"}),
        ("site-packages/plain-1.dist-info/METADATA", {"same_name", "late"}),
        ("site-packages/other-1.dist-info/METADATA", {"other_name"}),
        ("site-packages/plain-1.dist-info/RECORD", set()),
        ("site-packages/homemade-1.dist-info/RECORD", {"local"}),  # installed from a folder once more
    )
    unedited, *edited = fingerprints_after_each([(file, "1\n", "2\n") for file, _ in edits], files, tmp_path)
    for (file, expected), now in zip(edits, edited, strict=True):
        assert {name for name in unedited if unedited[name] != now[name]} == expected, file


MAPPER = """
from weakref import ref

ALL = set()

class Mapper(type):
    def __init__(cls, name, bases, namespace):
        ALL.add(ref(cls))
        cls.all = ALL  # a set that leads back to the class
        cls.connection = (one for one in "abc")  # of which nobody can tell the contents

class Model(metaclass=Mapper):
    pass
"""
MAPPED = """
import os, sys
sys.path.append(os.path.join(os.path.dirname(__file__), "site-packages"))
from mapper import Model
from models import Base, User
from processes.checkpoints.fingerprint import Fingerprints, NoFingerprintError

class Here(Model):
    size = 1

class OfNoFile(Model):
    pass

OfNoFile.__module__ = "of_no_file"

try:
    Fingerprints().of_call(lambda x: OfNoFile, (), {})
except NoFingerprintError as error:
    assert "a set" in str(error), error
else:
    raise AssertionError("nothing tells what is in it")

MAY_CHANGE = set()
VALUES = dict(
    a_class=lambda x: User, a_base=lambda x: Base, an_object=[User()], of_script=lambda x: Here,
    none=lambda x: x,
)
"""


def test_a_class_of_which_only_a_librarys_metaclass_knows_the_contents_counts_with_its_modules_file(tmp_path):
    files = {
        "site-packages/mapper.py": MAPPER,
        "program.py": MAPPED,
        "base.py": "from mapper import Model\nclass Base(Model): pass\n",
        "models.py": "from base import Base\nfrom sizes import SIZE\nclass User(Base):\n    size = SIZE\n",
        "sizes.py": "SIZE = 1\n",
    }
    users = {"a_class", "an_object", "of_script"}  # that of the script, which imports models, too
    edits = (
        ("program.py", "size = 1", "size = 2", {"of_script"}),
        ("program.py", "lambda", "lambda ", {"of_script"}),
        ("sizes.py", "1", "2", users),
        ("models.py", "size =", "length =", users),
        ("base.py", "pass", "is_base = True", {"a_base", *users}),
    )
    unedited, *edited = fingerprints_after_each([edit[:3] for edit in edits], files, tmp_path)
    assert unedited
    for (*_, after, expected), now in zip(edits, edited, strict=True):
        assert {name for name in unedited if unedited[name] != now[name]} == expected, after


ALIASES = """
import typing

type Number = int
type Numbers[T] = list[T]
type Nested = dict[str, Nested | Number]
type Unknown = list[missing.Name]

def noted(x: Number, *others: "Unknown"):
    return x

class Row:
    width = 80

type Rows = list[Row]

def of_rows(rows: Rows):
    return rows

MAY_CHANGE = set()
VALUES = dict(
    of_rows=of_rows,
    alias=lambda x: typing.get_args(Number), generic=lambda x: Numbers[int], nested=lambda x: Nested,
    unknown=lambda x: Unknown, none=lambda x: x, number=1, noted=noted,
)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no type aliases before Python 3.12")
def test_what_a_type_alias_stands_for_counts(tmp_path):
    edits = (
        ("Number = int", "Number = float", {"alias", "nested", "noted"}),
        ("list[T]", "set[T]", {"generic"}),
        ("Nested = dict", "Nested = list", {"nested"}),
        ("width = 80", "width = 81", {"of_rows"}),
    )
    unedited, *edited = fingerprints_after_each(
        [("program.py", before, after) for before, after, _ in edits], {"program.py": ALIASES}, tmp_path
    )
    for (_, after, expected), now in zip(edits, edited, strict=True):
        assert {name for name in unedited if unedited[name] != now[name]} == expected, after


MODELS = """
import pydantic

class Line(pydantic.BaseModel):
    count: int = 1

class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    price: int = pydantic.Field(default=3, gt=0)
    lines: list[Line] = []

    @pydantic.field_validator("price", mode="after")
    @classmethod
    def check(cls, price):
        return price

    @pydantic.computed_field
    @property
    def total(self) -> int:
        return self.price * len(self.lines)

ADAPTER = pydantic.TypeAdapter(list[Order])
NUMBERS = pydantic.TypeAdapter(list[int], config={"strict": False})

@pydantic.validate_call(config={"strict": True})
def checked(lines: list[Line]):
    return lines[0]

MAY_CHANGE = set()
VALUES = dict(
    line=lambda x: Line(), order=lambda x: Order(), none=lambda x: x,
    a_line=Line(), an_order=Order(lines=[Line()]),
    adapter=lambda x: ADAPTER.validate_python(x), numbers=lambda x: NUMBERS.validate_python(x),
    checked=checked,
)
"""


def test_models_of_pydantic_count_with_all_that_is_written_in_them(tmp_path):
    pytest.importorskip("pydantic")
    orders = {"order", "an_order", "adapter"}
    edits = (
        ("", "", set()),
        ("count: int = 1", "count: int = 2", {"line", "a_line", "checked", *orders}),
        ("Adapter(list[Order])", "Adapter(set[Order])", {"adapter"}),
        ('{"strict": False}', "None", {"numbers"}),
        ("lines[0]", "lines[1]", {"checked"}),
        ('{"strict": True}', '{"strict": False}', {"checked"}),
        ("forbid", "allow", orders),
        ("gt=0", "gt=1", orders),
        ("list[Line] =", "tuple[Line, ...] =", orders),
        ('mode="after"', 'mode="before"', orders),
        ("return price", "return price + 1", orders),
        ("computed_field", 'computed_field(alias="sum")', orders),
        ("price * len", "price + len", orders),
    )
    unedited, *edited = fingerprints_after_each(
        [("program.py", before, after) for before, after, _ in edits], {"program.py": MODELS}, tmp_path
    )
    assert unedited
    for (_, after, expected), now in zip(edits, edited, strict=True):
        assert {name for name in unedited if unedited[name] != now[name]} == expected, after


FROZEN = """
import attrs

@attrs.frozen
class Point:
    x: int = 1
    y: int = attrs.field(default=2, validator=attrs.validators.lt(5))

    def total(self):
        return self.x + self.y

MAY_CHANGE = set()
VALUES = dict(point=Point(), made=lambda x: Point(x))
"""


def test_frozen_classes_of_attrs_count_with_all_that_is_written_in_them(tmp_path):
    pytest.importorskip("attrs")
    unedited = output_of(FROZEN + PRINT + USE, tmp_path, 1)
    edits = (
        ("int = 1", "int = 3"),
        ("lt(5)", "lt(6)"),
        (".x +", ".x -"),
        ("default=2", "default=2, eq=False"),
    )
    first, *edited = fingerprints_after_each(
        [("program.py", before, after) for before, after in edits], {"program.py": FROZEN}, tmp_path
    )
    assert first == dict(line.split() for line in unedited.splitlines())
    for (_, after), now in zip(edits, edited, strict=True):
        assert not {*first.values()} & {*now.values()}, after


CHECKED = """
from beartype import BeartypeConf, beartype

class Point:
    pass

@beartype(conf=BeartypeConf(is_color=True))
def double(number: int | None, point: "Point | None" = None) -> int:
    return number * 2

MAY_CHANGE = set()
VALUES = dict(double=double, calls=lambda x: double(x), other=len)
"""


def test_functions_that_beartype_checks_count_as_they_are_written(tmp_path):
    pytest.importorskip("beartype")
    unedited = output_of(CHECKED + PRINT + USE, tmp_path, 1)
    edits = (
        ("number * 2", "number * 3"),
        ("int | None", "int | str"),
        ("=True", "=False"),
        ("= None", "= 1"),
    )
    first, *edited = fingerprints_after_each(
        [("program.py", before, after) for before, after in edits], {"program.py": CHECKED}, tmp_path
    )
    assert first == dict(line.split() for line in unedited.splitlines())
    for (_, after), now in zip(edits, edited, strict=True):
        assert {name for name in first if first[name] != now[name]} == {"double", "calls"}, after


def test_tensors_count_with_what_is_in_them_and_not_with_where_they_stand():
    torch = pytest.importorskip("torch")

    def made_of(start: float, size: int) -> tuple[object, ...]:
        tensor = torch.arange(start, start + size)
        return tensor, tensor[2:4], tensor.to_sparse(), tensor.to(torch.bfloat16), torch.nn.Parameter(tensor)

    for size in (7, 100_000):
        tensors = made_of(1.0, size), made_of(1.0, size), made_of(2.0, size)  # none takes another's place
        first, second, other = ([*map(Fingerprints().digest, values)] for values in tensors)
        assert first == second
        assert len({*first, *other}) == 10
        tensors[0][0].resize_(size + 1)  # which they would refuse if numpy had looked at them


WAITING = """
lazy import json, missing, pack.far, shop
lazy from prices import price

MAY_CHANGE = set()
VALUES = dict(
    library=lambda x: json.dumps(x), by_module=lambda x: shop.total(1), by_name=lambda x: price(1),
    submodule=lambda x: pack.far.gain(1), never=lambda x: x or missing.gain(1), number=1,
)
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports cannot wait before Python 3.15")
def test_what_an_import_that_waits_will_bring_counts(tmp_path):
    packed = {"pack/__init__.py": "", "pack/far.py": "def gain(n):\n    return n + 1\n"}
    files = {"program.py": WAITING, **HELPERS, **packed}

    def changed(name: str) -> set[str]:
        edited = files[name].replace("+ 1", "+ 2").replace("* RATE", "+ RATE")
        after = fingerprints_in(tmp_path, files | {name: edited})
        return {name for name, digest in after.items() if digest != before[name]}

    before = fingerprints_in(tmp_path, files)
    assert fingerprints_in(tmp_path, files) == before
    assert changed("shop.py") == {"by_module"}
    assert changed("prices.py") == {"by_module", "by_name"}
    assert changed("pack/far.py") == {"submodule"}


def test_modules_that_name_each_other_count_with_what_code_names_in_them():
    left, right = ModuleType("left"), ModuleType("right")
    vars(left).update(right=right, number=1, other=1)
    vars(right).update(left=left)
    function = eval("lambda: left.right.left.number", {"left": left})
    before = Fingerprints().of_call(function, (), {})
    vars(left).update(other=2)
    assert Fingerprints().of_call(function, (), {}) == before
    vars(left).update(number=2)
    assert Fingerprints().of_call(function, (), {}) != before


def test_a_weak_dict_that_holds_itself_counts_with_what_else_it_holds():
    weak: WeakValueDictionary[str, Any] = WeakValueDictionary()
    weak["self"] = weak
    before = Fingerprints().of_call(len, (weak,), {})
    weak["other"] = weak
    assert Fingerprints().of_call(len, (weak,), {}) != before


def test_a_context_variable_counts_with_what_it_holds():
    variable: ContextVar[int] = ContextVar("variable")

    def digest() -> bytes:
        return Fingerprints().of_call(lambda: variable, (), {})

    empty = digest()
    token = variable.set(1)
    one = digest()
    variable.set(2)
    assert len({empty, one, digest()}) == 3
    variable.reset(token)
    assert digest() == empty


@pytest.mark.parametrize("library", ["wrapt", "wrapt.wrappers", "tenacity", "toolz"])
def test_what_a_library_has_decorated_counts_with_that_and_not_with_its_calls(library):
    module = pytest.importorskip(library)
    if library == "wrapt":
        decorate = module.decorator(lambda function, _, args, kwargs: function(*args, **kwargs))
    elif library == "wrapt.wrappers":  # what stands in for its extension, where that is not built
        decorate = partial(
            module.FunctionWrapper, wrapper=lambda function, _, args, kwargs: function(*args, **kwargs)
        )
    elif library == "toolz":

        def decorate(function: Callable[..., object]) -> Any:
            function.__qualname__ = "curried"  # by which a pickle would name it
            globals()["curried"] = module.curry(function)
            return globals()["curried"]

    else:
        decorate = module.retry(stop=module.stop_after_attempt(2))
    made = []
    for function in (lambda: 2, lambda: 1, lambda: 1):
        decorated = decorate(function)
        made.append(Fingerprints().of_call(decorated, (), {}))
    assert made[0] != made[1] == made[2]
    assert decorated() == 1
    assert Fingerprints().of_call(decorated, (), {}) == made[2]


@pytest.mark.parametrize(("module", "name"), [("loguru", "logger"), ("rich.console", "Console")])
def test_what_a_task_logs_and_prints_through_counts_by_its_class_alone(module, name):
    found = getattr(pytest.importorskip(module), name)
    first, second = (found(), found(width=40)) if isinstance(found, type) else (found, found.bind(task="x"))
    made = Fingerprints()
    assert made.of_call(lambda: first.print(""), (), {})
    assert made.of_call(print, (first,), {}) == made.of_call(print, (second,), {})


def test_structs_of_msgspec_count_with_what_the_library_keeps_of_them():
    msgspec = pytest.importorskip("msgspec")

    def digest(default: object, **config: object) -> bytes:
        struct = msgspec.defstruct("Struct", [("x", int, default)], module=__name__, **config)
        return Fingerprints().of_call(lambda: struct, (), {})

    factories = (msgspec.field(default_factory=factory) for factory in (list, dict))
    digests = [
        *map(digest, (1, 2, *factories)),
        digest(1, forbid_unknown_fields=True),
        digest(1, rename="upper"),
    ]
    assert len({*digests}) == len(digests)
    assert digest(1) == digests[0]


def test_tables_of_sqlalchemy_count_with_their_columns():
    sql = pytest.importorskip("sqlalchemy")

    def digests(**column: object) -> list[bytes]:
        metadata = sql.MetaData()
        goods = sql.Table("goods", metadata, sql.Column("name", sql.Text, primary_key=True))
        key = sql.ForeignKey("goods.name")
        sold = sql.Table("sold", metadata, sql.Column("what", sql.Text, key, **column))
        return [Fingerprints().digest(value) for value in (sold.c.what, sold, metadata, goods)]

    first = digests()
    assert digests() == first
    for column in ({"index": True}, {"default": 1}, {"default": lambda: 2}):
        assert {*digests(**column)} & {*first} == {first[-1]}


def test_statements_of_sqlalchemy_count_with_what_they_say_and_with_their_tables():
    sql = pytest.importorskip("sqlalchemy")

    def digests(number: int = 1, kind: type = sql.Integer) -> list[bytes]:
        goods = sql.Table("goods", sql.MetaData(), sql.Column("price", kind))
        dear = goods.c.price > number
        found = sql.select(goods).where(dear, goods.c.price != 9)
        statements = (
            *(found, found.union(sql.select(goods)), sql.insert(goods).values(price=number)),
            *(sql.update(goods).where(dear).values(price=3), sql.delete(goods).where(dear)),
        )
        return [Fingerprints().digest(one) for one in (dear, sql.or_(dear, goods.c.price == 2), *statements)]

    first = digests()
    assert digests() == first
    assert len({*first, *digests(2), *digests(1, sql.Float)[2:]}) == 19


@pytest.mark.parametrize("library", ["boto3", "pymongo", "redis", "sqlalchemy"])
def test_a_client_of_a_service_counts_by_which_it_is(library, tmp_path, request):
    module = pytest.importorskip(library)

    def client(port: int) -> object:
        if library == "boto3":
            session = module.Session("id", "key", region_name="us-east-1")
            client = session.client("s3", endpoint_url=f"http://localhost:{port}")
            return session, client, client.get_paginator("list_objects_v2")
        if library == "redis":
            return module.Redis(port=port)
        if library == "sqlalchemy":
            engine = module.create_engine(f"sqlite:///{tmp_path / str(port)}")
            engine.connect().close()  # its pool keeps the connection
            request.addfinalizer(engine.dispose)
            return engine
        return module.MongoClient(f"mongodb://localhost:{port}", connect=False)

    made = Fingerprints()
    one, alike, other = (made.of_call(print, (client(port),), {}) for port in (1, 1, 2))
    assert one == alike != other


def test_exceptions_count_alike_whether_or_not_dask_is_imported(monkeypatch):
    support = pytest.importorskip("tblib.pickling_support")  # which Dask has reduce them
    for kind in (ValueError, NoFingerprintError):
        monkeypatch.delitem(copyreg.dispatch_table, kind, raising=False)
        before = Fingerprints().of_call(print, (kind("x"),), {})
        monkeypatch.setitem(copyreg.dispatch_table, kind, support.pickle_exception)
        assert Fingerprints().of_call(print, (kind("x"),), {}) == before


def test_how_a_connection_is_encrypted_does_not_count():
    made = Fingerprints()
    one, other = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert made.of_call(print, (one,), {}) == made.of_call(print, (other,), {})


class Node:
    def __init__(self):
        self.beside = set()


def test_a_set_that_leads_back_to_what_holds_it_is_told_and_one_that_does_not_counts(monkeypatch):
    made = Fingerprints()
    nodes = [Node() for _ in range(4)]
    for node, other in zip(nodes, nodes[1:], strict=False):
        node.beside.add(other)
    assert made.of_call(print, (nodes,), {})
    nodes[-1].beside.add(nodes[0])
    monkeypatch.setattr(Node, "known", WeakSet({Node}), raising=False)
    for call, said in (
        ((print, (nodes,), {}), "its arguments: a set leads back to <.*Node object"),
        ((lambda: Node, (), {}), "its function: 'Node' in <lambda>: a set leads back to <class '.*Node'>"),
    ):
        with pytest.raises(NoFingerprintError, match=said):
            Fingerprints().of_call(*call)


def test_what_has_no_fingerprint_has_none_and_costs_nothing_else():
    class Hostile:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def __reduce__(self) -> Any:
            raise self.error

    made = Fingerprints()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with socket.socket() as connection, open(os.devnull) as file:
        functions: dict[str, Callable[..., object]] = {
            "": connection.send,
            "'connection' in <lambda>: ": lambda: (unbound, connection),
        }
        values = [
            connection,
            file,
            (n for n in "abc"),
            Hostile(ValueError()),
            Hostile(SystemExit(1)),
            deep,
        ]
        for where, function in [*functions.items()] * 2:
            with pytest.raises(NoFingerprintError, match=rf"its function: {where}TypeError\(.*socket"):
                made.of_call(function, (), {})
        for value in values:
            with pytest.raises(NoFingerprintError, match=r"its arguments: \w+\("):
                made.of_call(print, ([value],), {})
    assert made.of_call(print, (1,), {})
    unbound = None
    while deep:  # to drop it at once would take the stack
        deep = deep[0]


def test_a_class_of_the_users_own_that_holds_what_cannot_be_told_has_no_fingerprint():
    class Held:
        steps = (step for step in "abc")

    with pytest.raises(NoFingerprintError, match=r"its function: 'Held' in <lambda>: TypeError\(.*generator"):
        Fingerprints().of_call(lambda: Held, (), {})


def test_what_only_annotations_of_a_function_name_need_not_be_told():
    class Base:
        pass

    class Held(Base):
        steps = (step for step in "abc")

    class Holder:
        held = Held

    def noted(x: object, y: int) -> list[object]:
        return []

    def uses(x: object) -> object:
        return Held

    def below(x: object) -> object:
        return Base.__subclasses__()

    noted.__annotations__ = {"x": Held, "y": Annotated[int, Holder()], "return": list[Holder]}
    uses.__annotations__ = {"x": Holder}
    made = Fingerprints()
    assert made.of_call(noted, (), {}) == made.of_call(noted, (), {}) == Fingerprints().of_call(noted, (), {})
    for fingerprints in (made, Fingerprints()):
        for function in (uses, below, lambda: Holder):
            with pytest.raises(NoFingerprintError, match=r"its function: .*TypeError\(.*generator"):
                fingerprints.of_call(function, (), {})
    assert made.of_call(noted, (), {}) == Fingerprints().of_call(noted, (), {})


def test_what_a_module_without_a_file_defines_counts_with_its_code(monkeypatch):
    module = ModuleType("made_on_the_way")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def digest(body: str) -> bytes:
        exec(f"def function():\n    return {body}", vars(module))
        return Fingerprints().of_call(vars(module)["function"], (), {})

    first = digest("1")
    assert digest("2") != first
    assert digest("1") == first


def test_what_numpy_makes_of_a_function_counts_with_that_function():
    numpy = pytest.importorskip("numpy")
    made = Fingerprints()
    assert made.of_call(numpy.vectorize(abs), (), {}) != made.of_call(numpy.vectorize(len), (), {})
    first, other, third, with_identity = (
        made.of_call(numpy.frompyfunc(function, 2, 1, **identity), (), {})
        for function, identity in (
            (lambda a, b: a + b, {}),
            (lambda a, b: a - b, {}),
            (lambda a, b: a + b, {}),
            (lambda a, b: a + b, {"identity": 0}),
        )
    )
    assert third == first
    assert len({first, other, with_identity}) == 3
    assert made.of_call(numpy.add, (1, 2), {}) != made.of_call(numpy.subtract, (1, 2), {})


def test_an_attribute_of_a_number_of_numpys_counts():
    numpy = pytest.importorskip("numpy")

    class Length(numpy.float64):
        pass

    def digest(unit: str) -> bytes:
        length = Length(2)
        length.unit = unit
        return Fingerprints().of_call(print, (length,), {})

    assert digest("m") != digest("km")
    assert digest("m") == digest("m")


def test_a_large_array_that_many_calls_get_is_read_once():
    numpy = pytest.importorskip("numpy")
    array = numpy.ones(1 << 20)
    made = Fingerprints()
    first = made.of_call(print, (array, 1), {})
    array[0] = 2  # as nobody does meanwhile: the digest that is known is not made again
    assert made.of_call(print, (array, 1), {}) == first
    assert Fingerprints().of_call(print, (array, 1), {}) != first


class Station:
    """What stands in the sets of others."""

    asked = 0

    def __init__(self, below: set[Station]) -> None:
        self.below = below

    def __getstate__(self) -> object:
        Station.asked += 1
        return self.__dict__

    def stop(self, number: int) -> int:
        return number


@pytest.fixture
def asked(monkeypatch):
    """Count how often one is looked at."""
    monkeypatch.setattr(Station, "asked", 0)
    return lambda: Station.asked


def closure(table, number):
    return lambda: (table, number)


@pytest.mark.parametrize(
    "call_of",
    [
        pytest.param(lambda table, number: (print, (table, number), {}), id="argument"),
        pytest.param(lambda table, number: (print, (number,), {"table": table}), id="keyword"),
        pytest.param(lambda table, number: (partial(print, table, number), (), {}), id="partial"),
        pytest.param(lambda table, number: (partial(print, number, end=table), (), {}), id="its keyword"),
        pytest.param(lambda table, number: (table[0].stop, (number,), {}), id="method"),
        pytest.param(lambda table, number: (closure(table, number), (), {}), id="closure"),
        pytest.param(lambda table, number: (lambda table=table, n=number: n, (), {}), id="default"),
        pytest.param(
            lambda table, number: (eval("lambda n=n: table", {"table": table, "n": number}), (), {}),
            id="global",
        ),
    ],
)
def test_what_many_calls_have_is_looked_at_once(call_of, asked):
    """Thousands of tasks may be given one table, and it has not changed before the last is looked at."""
    made = Fingerprints()
    tables = [[Station({1})], [Station({2})]]
    digests = {made.of_call(*call_of(table, number)) for table in tables for number in range(3)}
    assert len(digests) == 6
    assert asked() == 2


def test_what_is_given_twice_is_not_two_of_the_same():
    one, two, made = [[[1]]], [[[1]]], Fingerprints()
    assert made.of_call(print, (one, one), {}) == made.of_call(print, (two, two), {})
    assert made.of_call(print, (one, one), {}) != made.of_call(print, (one, two), {})


def test_what_is_in_several_sets_is_looked_at_once(asked) -> None:
    layer = {Station(set()), Station(set())}
    for _ in range(11):  # from the last to the first there are 2,048 ways
        layer = {Station({*layer}), Station({*layer})}
    Fingerprints().digest(layer)
    assert asked() == 24
