"""What is one object in a script is one object in a worker too, whatever ways it comes."""

from __future__ import annotations

import json
import sys

import pytest
from programs import output_of

RUN = """
import json
from processes import Process, Task, TaskDependency

def outcome(runner, tasks):
    report = Process(tasks).run(runner=runner, max_workers=None if runner == "sequential" else 1)
    return {name: report.results.get(name, str(report.exceptions.get(name))) for name in report.entries}

if __name__ == "__main__":
    print(json.dumps([outcome(runner, tasks()) for runner in ("sequential", "process")]))
"""


Outcomes = tuple[dict[str, object], dict[str, object]]


def outcomes_of(script: str, tmp_path) -> Outcomes:
    """Run a script's tasks in order and on a worker; return what came of both."""
    (tmp_path / "script.py").write_text(script + RUN)
    (tmp_path / "library.py").write_text(LIBRARY)
    return tuple(json.loads(output_of([sys.executable, "script.py"], cwd=tmp_path)))


def outcomes_of_each(scripts: list[str], tmp_path) -> list[Outcomes]:
    """Do the same with several scripts, one after the other in one Python."""
    (tmp_path / "library.py").write_text(LIBRARY)
    names = [f"script{number}.py" for number in range(len(scripts))]
    for name, script in zip(names, scripts, strict=True):
        (tmp_path / name).write_text(script + RUN)
    run_each = "import runpy, sys\nfor name in sys.argv[1:]: runpy.run_path(name, run_name='__main__')"
    output = output_of([sys.executable, "-c", run_each, *names], cwd=tmp_path)
    return [tuple(json.loads(line)) for line in output.splitlines()]


def same_outcomes_of(script: str, tmp_path) -> dict[str, object]:
    """Run a script's tasks in order and on a worker; return what came of both, which must be the same."""
    in_order, on_a_worker = outcomes_of(script, tmp_path)
    assert on_a_worker == in_order
    return in_order


SENTINELS = """
MISSING = object()

def first(x, default=MISSING):
    return default is MISSING

def second(x, *, default=MISSING):
    return default is MISSING

class Option:
    def __init__(self, value=MISSING):
        self.value = value

    def is_set(self):
        return self.value is not MISSING

BY_NAME = {"none": MISSING}

def made_there():
    return Option().value is MISSING, BY_NAME["none"] is MISSING

def given(value):
    return value is MISSING

def give():
    return MISSING

def tasks():
    return [
        Task("first", first, args=(1,)),
        Task("second", second, args=(1,)),
        Task("made", made_there),
        Task("method", Option().is_set),
        Task("set", Option(1).is_set),
        Task("in-object", Option.is_set, args=(Option(),)),
        Task("given", given, args=(MISSING,)),
        Task("other", given, args=(object(),)),
        Task("give", lambda: 1),
    ]
"""
OF_A_CLASS = """
class Unset:
    def __repr__(self):
        return "UNSET"

UNSET = Unset()

class Option:
    def __init__(self, value=UNSET):
        self.value = value

    def is_set(self):
        return self.value is not UNSET

def are_unset(*values):
    return [value is UNSET for value in values]

def give():
    return UNSET, [UNSET], Unset()

def given(values):
    return values[0] is UNSET, values[1][0] is UNSET, values[2] is UNSET

def tasks():
    report = Process([Task("give", give)]).run(runner="process")
    return [
        Task("are-unset", are_unset, args=(UNSET, Unset(), 1)),
        Task("is-set", Option().is_set),
        Task("give", give, keep_result=False),
        Task("given", given, dependencies=[TaskDependency("give", use_result_as_additional_args=True)]),
        Task("result", list, args=(given(report.results["give"]),)),
    ]
"""

GO_BY_NAME = """
class Missing:
    def __reduce__(self):
        return "MISSING"

MISSING = Missing()

class Logged:
    def __init__(self, function):
        self.function, self.calls = function, []

    def __reduce__(self):
        return self.function.__name__

    def __call__(self, number):
        self.calls.append(number)
        return self.function(number)

@Logged
def factorial(number):
    return number * factorial(number - 1) if number else 1

def is_missing(value, default=MISSING):
    return value is MISSING, value is default

def give(value):
    return value

def tasks():
    report = Process([Task("give", give, args=(MISSING,))]).run(runner="process")
    return [
        Task("missing", is_missing, args=(MISSING,)),
        Task("give", give, args=(MISSING,), keep_result=False),
        Task("given", is_missing, dependencies=[TaskDependency("give", use_result_as_additional_args=True)]),
        Task("result", is_missing, args=(report.results["give"],)),
        Task("factorial", factorial, args=(4,)),
        Task("calls", lambda named: (named is factorial, factorial.calls[-5:]), args=(factorial,)),
    ]
"""

PASSED_ON = """
MISSING = object()

def give():
    return MISSING, {"deep": [MISSING]}

def hand_on(value):
    return value, {"deep": [value]}

def take(given):
    return given[0] is MISSING, given[1]["deep"][0] is MISSING

def tasks():
    return [Task("take", take, dependencies=[TaskDependency("give", use_result_as_additional_args=True)]),
            Task("give", give, keep_result=False),
            Task("hand-on", hand_on, args=(MISSING,), keep_result=False),
            Task("taken", take, dependencies=[TaskDependency("hand-on", use_result_as_additional_args=True)])]
"""

STORES = """
CACHE = {}
LOG = []

def remember(store):
    def decorate(function):
        def wrapper(x):
            store[x] = function(x)
            return len(store), len(CACHE)
        return wrapper
    return decorate

@remember(CACHE)
def square(x):
    return x * x

@remember(CACHE)
def cube(x):
    return x ** 3

@remember({})
def alone(x):
    return x

class Tally:
    def __getstate__(self):
        return [self.counts]

    def __setstate__(self, state):
        [self.counts] = state

TALLY = Tally()

def tally(x):
    TALLY.counts[x] = 1
    return len(TALLY.counts)

def tallied():
    return sorted(TALLY.counts)

class Stats:
    seen = CACHE

    def note(self, x, log=LOG):
        self.seen[x] = log
        log.append(x)
        return len(CACHE), len(LOG)

def count(x, *, log=LOG):
    log.append(x)
    return len(log), len(LOG)

def stock():
    left = 3
    def take():
        nonlocal left
        left -= 1
    def tell():
        return left
    return lambda: take(), lambda: tell()

def stop_early():
    def look():
        return later
    return look
    later = 1

stopped_early = stop_early()  # it has closed over nothing yet

def tasks():
    global take_one, tell_left
    take_one, tell_left = stock()
    CACHE.clear()
    LOG.clear()
    TALLY.counts = {0: 1}
    return [
        Task("square", square, args=(1,)),
        Task("cube", cube, args=(2,)),
        Task("alone", alone, args=(2,)),
        Task("tally", tally, args=(1,)),
        Task("tally-more", tally, args=(2,)),
        Task("tallied", tallied),
        Task("note", Stats().note, args=(5,)),
        Task("count", count, args=(6,)),
        Task("take", take_one),
        Task("left", tell_left),
        *[Task(f"made-{x}", remember(CACHE)(square), args=(x,)) for x in (10, 11, 12)],
    ]
"""

REBOUND = """
from typing import NewType

STATE = {"a": 1}

def bind_anew():
    global STATE
    STATE = {}

def default(state=STATE):
    return state, STATE

class Holder:
    first = STATE

def of_class():
    return Holder.first

class User:
    Id = NewType("Id", str)

class Order:
    Id = NewType("Id", int)

Id = 7

def kinds():
    return User.Id(1) , Order.Id.__supertype__ is int, User.Id.__supertype__ is str, Id

def tasks():
    global STATE
    STATE = Holder.first
    return [
        Task("anew", bind_anew),
        Task("default", default, dependencies=[TaskDependency("anew")]),
        Task("class", of_class, dependencies=[TaskDependency("anew")]),
        Task("kinds", kinds),
    ]
"""

LIBRARY = """
import functools
from typing import ParamSpec

PARAMETERS = ParamSpec("PARAMETERS")
UNSET = object()

def is_unset(value):
    return value is UNSET

def counted(function):
    @functools.wraps(function)
    def wrapper(*args):
        wrapper.calls += 1
        return function(*args)
    wrapper.calls = 0
    return wrapper

class Plugin:
    def __init_subclass__(cls, /, *, key):
        cls.key = key
"""

IMPORTED = """
import dataclasses, functools, library
from library import UNSET, counted
from enum import Enum, IntEnum

@counted
def mean(xs):
    return sum(xs) / len(xs)

LABELS = {mean: "mean"}

def label(function):
    function([1])
    return LABELS.get(function), function.calls, mean.calls

class Planet(Enum):
    EARTH = (5.976e24, 6.37814e6)

    def __init__(self, mass, radius):
        self.mass = mass

class Level(IntEnum):
    LOW = (1, "low")

    def __new__(cls, value, label):
        member = int.__new__(cls, value)
        member._value_ = value
        member.label = label
        return member

def about(*members):
    return Planet.EARTH.mass, members[0].mass, members[1].label, Level(1).label

@dataclasses.dataclass
class Point:
    x: int
    y: list = dataclasses.field(default_factory=list)

def required():
    @dataclasses.dataclass
    class Spot(Point):
        z: int = 0

    try:
        Spot()
    except TypeError:
        fields = dataclasses.fields(Point)
        return [field.name for field in fields if field.default is dataclasses.MISSING], Spot(1).y

MADE = []

@functools.cache
def model():
    MADE.append(1)
    return len(MADE)

def predict(made=model):
    return made(), model(), len(MADE)

class Keyed(library.Plugin, key="keyed"):
    pass

def key():
    return Keyed.key

def unset(value=UNSET, *values):
    return library.is_unset(UNSET), library.is_unset(value), *map(library.is_unset, values)

def tasks():
    mean.calls = 0
    MADE.clear()
    model.cache_clear()
    return [
        Task("label", label, args=(mean,)),
        Task("about", about, args=(Planet.EARTH, Level.LOW)),
        Task("required", required),
        Task("model", model),
        Task("predict", predict, dependencies=[TaskDependency("model")]),
        Task("given", predict, args=(model,), dependencies=[TaskDependency("model")]),
        Task("key", key),
        Task("unset", unset),
        Task("given-unset", unset, args=(UNSET, UNSET, object())),
    ]
"""

FUNCTIONS = """
import functools

def mean(xs):
    return sum(xs) / len(xs)

def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        wrapper.calls += 1
        return function(*args)
    wrapper.calls = 0
    return wrapper

def unnamed(function):
    return lambda *args: function(*args)

@logged
def largest(xs):
    return max(xs)

@unnamed
def least(xs):
    return min(xs)

LABELS = {mean: "mean", largest: "largest", least: "least"}

def apply(function, xs):
    return LABELS.get(function), function(xs)

def is_mean(function):
    return function is mean

def best(xs):
    return largest

def label(*functions):
    return [LABELS.get(function) for function in functions]

def calls(function):
    return largest.calls, function.calls, function is largest

class Step:
    def __init__(self, function):
        self.function = function

    def label(self):
        return LABELS.get(self.function)

def tasks():
    largest.calls = 0
    return [
        Task("mean", apply, args=(mean, [1, 3])),
        Task("largest", apply, args=(largest, [1, 3])),
        Task("least", apply, kwargs={"function": least, "xs": [1, 3]}),
        Task("is-mean", is_mean, args=(mean,)),
        Task("itself", largest, args=([1, 5],)),
        Task("best", best, args=([1],), keep_result=False),
        Task("label", label, dependencies=[TaskDependency("best", use_result_as_additional_args=True)]),
        Task("step", Step(least).label),
        Task("many", label, args=tuple([mean, largest, least] * 3)),
        Task("calls", calls, args=(largest,), dependencies=[TaskDependency("label")]),
    ]
"""

HOOKS = """
import threading

class Plugin:
    names = []

    def __init_subclass__(cls, /, *, key, **options):
        super().__init_subclass__(**options)
        if key in Plugin.names:
            raise ValueError(f"{key!r} is there already")
        Plugin.names.append(key)

class Json(Plugin, key="json"):
    def read(self):
        return list(Plugin.names)

class Lines(Json, key="lines"):
    pass

class Shape:
    @classmethod
    def of_kind(cls, name):
        return next(kind for kind in cls.__subclasses__() if kind.__name__ == name)

class Proxy:
    __module__ = "elsewhere"  # as of a library

    @property
    def __class__(self):
        raise RuntimeError("there is nothing that it stands for")

proxy = Proxy()  # which no task names

class Round(Shape):
    pass

class Disc(Round):
    pass

class Guarded(Shape):
    lock = threading.Lock()

class Square(Shape):
    pass

def descendants(cls):
    names = [name for below in cls.__subclasses__() for name in descendants(below)]
    return sorted({cls.__name__, *names} - {"Guarded"})  # which cannot travel

def round_shape():
    return Shape.of_kind("Round").__name__

class Registry(type):
    known = []

    def __new__(mcs, name, bases, body, *, label):
        return super().__new__(mcs, name, bases, body)

    def __init__(cls, name, bases, body, *, label):
        super().__init__(name, bases, body)
        Registry.known.append(label)

class Known(metaclass=Registry, label="known"):
    def read(self):
        return list(Registry.known)

def read(plugin):
    return plugin.read()

def make_another():
    class Another(Plugin, key="another"):
        pass
    return list(Plugin.names)

def tasks():
    Plugin.names[:] = ["json", "lines"]
    return [
        Task("json", read, args=(Json(),)),
        Task("method", Lines().read),
        Task("known", read, args=(Known(),)),
        Task("another", make_another),
        Task("descendants", descendants, args=(Shape,)),
        Task("round", round_shape),
    ]
"""

ATTRIBUTES = """
class Table:
    rows = 10
    strict = False

    def save(self):
        return "in general"

class Orders(Table):
    pass

class Archive:
    def save(self):
        return "in the archive"

class OldOrders(Orders, Archive):
    save = Archive.save  # else that of the table comes first
    price, name, count = object(), object(), object()
    strict = False

def tell():
    return OldOrders().save(), [name for name in vars(OldOrders) if not name.startswith("_")]

def tasks():
    return [Task("tell", tell)]
"""

OF_ITSELF = """
from dataclasses import dataclass
from typing import NamedTuple

class Point(NamedTuple):
    x: int
    y: int = 0

    def is_origin(self):
        return self == ORIGIN

ORIGIN = Point(0)
Point.corners = {ORIGIN, Point(1, 1)}

@dataclass(frozen=True, slots=True)
class Unit:
    name: str

    def in_metres(self):
        return FACTORS[self]

FACTORS = {Unit("m"): 1, Unit("km"): 1000}
Unit.base = Unit("m")

class Weight:
    factor = 2

    def __init__(self, pounds):
        self.pounds = pounds
        self.grams = self.rounded(pounds)

    def __reduce__(self):
        return Weight, (self.pounds,)

    def rounded(self, pounds):
        return pounds * self.factor

Weight.least = Weight(1)

class Missing:
    only = None

    def __new__(cls):
        if cls.only is None:
            cls.only = super().__new__(cls)
        return cls.only

    def __reduce__(self):
        return Missing, ()

MISSING = Missing()

def tell(point, unit, weight, missing):
    return (
        [point.is_origin(), point in Point.corners, unit.in_metres(), unit == Unit.base],
        [weight.grams, Weight.least.grams, missing is MISSING, Missing() is MISSING],
    )

def own():
    return tell(ORIGIN, Unit("km"), Weight(5), MISSING)

def tasks():
    return [Task("own", own), Task("given", tell, args=(Point(1, 1), Unit("km"), Weight(5), MISSING))]
"""

ERRORS = """
class ApiError(Exception):
    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code

    @classmethod
    def of(cls, code):
        return BY_CODE[code]

    def is_known(self):
        return [type(error) for error in BY_CODE.values()].count(type(self))

BY_CODE = {code: ApiError(code) for code in range(402, 406)}

def tell(code):
    error = ApiError.of(code)
    return error.code, error.is_known(), str(error), ApiError.of(code) is error

def tasks():
    return [Task("named", tell, args=(404,)), Task("given", ApiError.is_known, args=(BY_CODE[403],))]
"""

ANNOTATED = """
import contextlib, pickle
from decimal import Decimal
from typing import Any, Callable, Generic, NewType, ParamSpec, TypedDict, TypeVar, TypeVarTuple
from typing import get_type_hints

class Row(TypedDict):
    price: "Decimal"

class Outer:
    class Inner:
        pass

def hints():
    return [kind.__name__ for kind in get_type_hints(Row).values()]

def pickled(value):
    return type(pickle.loads(pickle.dumps(value))) is type(value)

UserId = NewType("UserId", int)
P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

def load(number: int) -> UserId:
    return UserId(number)

def wrap(function: Callable[P, T], *more: *Ts) -> Callable[P, T]:
    return function

class Box(Generic[P, T]):
    def get(self, user: UserId = UserId(3)) -> list[UserId]:
        return [user]

def is_the_same(kind: Any) -> bool:
    return kind is UserId and kind.__module__ == "__main__"

@contextlib.contextmanager
def tagged(name):
    TAGS.append(name)
    yield
    TAGS.append("/" + name)

TAGS = []

@tagged("a")
def within():
    return list(TAGS)

def tasks():
    TAGS.clear()
    return [
        Task("load", load, args=(4,)),
        Task("wrap", lambda: wrap(load)(5)),
        Task("box", Box().get),
        Task("same", is_the_same, args=(UserId,)),
        Task("within", within),
        Task("once-more", within, dependencies=[TaskDependency("within")]),
        Task("hints", hints),
        Task("pickled", pickled, args=(Outer.Inner(),)),
    ]
"""


CELLS = """
import functools

def counter():
    count = 0

    def add():
        nonlocal count
        count += 1

    return add, lambda: count

def logged(function):
    @functools.wraps(function)
    def wrapper():
        return function()

    return wrapper

add, get = counter()
more, total = map(logged, counter())

class Counter:
    add, get = map(staticmethod, counter())

def grown(get, *adds):
    before = get()
    for add in adds:
        add()
    return get() - before

def both():
    return grown(get, add), grown(total, more, more)

def of_class():
    return grown(Counter.get, Counter.add)

def noting(notes):
    def note(word):
        notes[word] = len(notes)

    return note

NOTES = {}
note = noting(NOTES)

def noted(first, second):
    NOTES.clear()
    first("a")
    second("b")
    return dict(NOTES)

def is_odd():
    odd = lambda n: n > 0 and even(n - 1)
    even = lambda n: n == 0 or odd(n - 1)
    return lambda n: odd(n)

def tasks():
    step, steps = counter()

    def local():
        return grown(steps, step)

    return [
        Task("both", both),
        Task("class", of_class),
        Task("given", grown, args=(get, add)),
        Task("local", local),
        Task("local-given", grown, args=(steps, step, step)),
        Task("noted", noted, args=(note, noting(NOTES))),
        Task("noted-later", noting(NOTES), args=("c",), dependencies=[TaskDependency("noted")]),
        Task("notes", lambda: NOTES, dependencies=[TaskDependency("noted-later")]),
        Task("odd", is_odd(), args=(7,)),
    ]
"""

WITHIN_OTHERS = """
class Singleton(type):
    made = {}

    def __call__(cls):
        if cls not in cls.made:
            cls.made[cls] = super().__call__()
        return cls.made[cls]

class Settings(metaclass=Singleton):
    debug = False

settings = Settings()

def read_settings():
    settings.debug = True
    return Settings() is settings, Settings().debug

class Users:
    __slots__ = ("rows", "settings", "friends")

    def __init__(self, rows):
        self.rows = rows
        self.settings = settings

class Missing:
    pass

MISSING = Missing()
ROWS = {}
users = Users(ROWS)
others = Users(ROWS)
users.friends, others.friends = others, users
TABLES = {"users": [users, others], "none": MISSING}

class Tables:
    all = {"tables": TABLES}

    def users(self):
        return self.all["tables"]["users"]

def add():
    users.rows["a"] = 1

def count():
    users.rows["b"] = 2
    return sorted(ROWS), users.rows is ROWS, others.rows is ROWS

def look_up():
    return (
        Tables().users()[0] is users,
        TABLES["users"][1].friends is users,
        users.friends.friends is users,
        TABLES["none"] is MISSING,
        users.settings is Settings(),
    )

def tasks():
    ROWS.clear()
    return [
        Task("settings", read_settings),
        Task("add", add),
        Task("count", count, dependencies=[TaskDependency("add")]),
        Task("look-up", look_up, dependencies=[TaskDependency("count")]),
        Task("method", Tables().users, keep_result=False),
    ]
"""


ENUMERATIONS = """
from dataclasses import dataclass
from datetime import date
from enum import Enum, Flag, IntFlag, StrEnum, auto, member
from functools import partial
from operator import add

class Color(Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2

class Access(Flag):
    READ = auto()
    WRITE = auto()
    BOTH = READ | WRITE

class Bits(IntFlag):
    LOW = 1
    HIGH = 8

class Coordinate(bytes, Enum):
    def __new__(cls, number, label):
        member = bytes.__new__(cls, [number])
        member._value_ = number
        member.label = label
        return member

    X = 5, "x"
    Y = 6, "y"

class Status(int, Enum):
    def __new__(cls, code, phrase):
        member = int.__new__(cls, code)
        member._value_ = code
        member.phrase = phrase
        return member

    OK = 200, "fine"
    ABSENT = 404, "not found"

@dataclass(slots=True)
class Body:
    mass: float
    radius: float

class Planet(Body, Enum):
    EARTH = 5.9, 6.3
    MARS = 0.6, 3.3

class Day(date, Enum):
    FIRST = 2020, 1, 2

class Pair(tuple, Enum):
    ONE = 1, 2

class Word(StrEnum):
    YES = auto()

class Operation(Enum):
    ADD = member(partial(add))
    NOTHING = object()

    def __call__(self, *args):
        return self.value(*args)

class Registered(Enum):
    def __init_subclass__(cls):
        REGISTERED.append(cls.__name__)

REGISTERED = []

class Plugin(Registered):
    ONE = 1

KINDS = (Color, Access, Bits, Coordinate, Status, Planet, Day, Pair, Word, Operation, Plugin)

def members(kind):
    return [[name, member.name] for name, member in kind.__members__.items()]

def found(kind):
    return all(kind(member.value) is member is kind[name] for name, member in kind.__members__.items())

def parts():
    return [
        Color["CRIMSON"] is Color.RED,
        str(Access.READ | Access.WRITE),
        Access(3) is Access.BOTH,
        (Bits.LOW | 8) == 9,
        list(Coordinate.Y),
        Coordinate(6).label,
        Status.OK + 1,
        Status.ABSENT.phrase,
        Planet.MARS.radius,
        Planet.MARS == Planet.MARS.value,
        Day.FIRST.isoformat(),
        Pair.ONE[1],
        Word.YES.upper(),
        REGISTERED,
    ]

def call(operation, *args):
    return operation(*args), Operation.NOTHING is not Operation.ADD

def tasks():
    return [
        *(Task(f"members-{kind.__name__}", members, args=(kind,)) for kind in KINDS),
        *(Task(f"found-{kind.__name__}", found, args=(kind,)) for kind in KINDS),
        Task("parts", parts),
        Task("call", call, args=(Operation.ADD, 1, 2)),
    ]
"""


def test_enumerations_of_a_script_are_alike_in_a_worker(tmp_path):
    outcomes = same_outcomes_of(ENUMERATIONS, tmp_path)
    assert outcomes["members-color"] == [["RED", "RED"], ["CRIMSON", "RED"], ["BLUE", "BLUE"]]
    assert all(found for name, found in outcomes.items() if name.startswith("found-"))
    assert outcomes["call"] == [3, True]


SCRIPTS = {
    "sentinels": (
        SENTINELS,
        {
            "first": True,
            "second": True,
            "made": [True, True],
            "method": False,
            "set": True,
            "in-object": False,
            "given": True,
            "other": False,
            "give": 1,
        },
    ),
    "of a class": (
        OF_A_CLASS,
        {
            "are-unset": [True, False, False],
            "is-set": False,
            "give": None,
            "given": [True, True, False],
            "result": [True, True, False],
        },
    ),
    "go by name": (
        GO_BY_NAME,
        {
            "missing": [True, True],
            "give": None,
            "given": [True, True],
            "result": [True, True],
            "factorial": 24,
            "calls": [True, [4, 3, 2, 1, 0]],
        },
    ),
    "passed on": (
        PASSED_ON,
        {"give": None, "take": [True, True], "hand-on": None, "taken": [True, True]},
    ),
    "stores": (
        STORES,
        {
            "square": [1, 1],
            "cube": [2, 2],
            "alone": [1, 2],
            "tally": 2,
            "tally-more": 3,
            "tallied": [0, 1, 2],
            "note": [3, 1],
            "count": [2, 2],
            "take": None,
            "left": 2,
            "made-10": [4, 4],
            "made-11": [5, 5],
            "made-12": [6, 6],
        },
    ),
    "functions": (
        FUNCTIONS,
        {
            "mean": ["mean", 2.0],
            "largest": ["largest", 3],
            "least": ["least", 1],
            "is-mean": True,
            "itself": 5,
            "best": None,
            "label": ["largest"],
            "step": "least",
            "many": ["mean", "largest", "least"] * 3,
            "calls": [2, 2, True],
        },
    ),
    "rebound": (
        REBOUND,
        {
            "anew": None,
            "default": [{"a": 1}, {}],
            "class": {"a": 1},
            "kinds": [1, True, True, 7],
        },
    ),
    "imported": (
        IMPORTED,
        {
            "label": ["mean", 1, 1],
            "about": [5.976e24, 5.976e24, "low", "low"],
            "required": [["x", "y"], []],
            "model": 1,
            "predict": [1, 1, 1],
            "given": [1, 1, 1],
            "key": "keyed",
            "unset": [True, True],
            "given-unset": [True, True, True, False],
        },
    ),
    "hooks": (
        HOOKS,
        {
            "json": ["json", "lines"],
            "method": ["json", "lines"],
            "known": ["known"],
            "another": ["json", "lines", "another"],
            "descendants": ["Disc", "Round", "Shape", "Square"],
            "round": "Round",
        },
    ),
    "annotations": (
        ANNOTATED,
        {
            "load": 4,
            "wrap": 5,
            "box": [3],
            "same": True,
            "within": ["a"],
            "once-more": ["a", "/a", "a"],
            "hints": ["Decimal"],
            "pickled": True,
        },
    ),
    "cells": (
        CELLS,
        {
            "both": [1, 2],
            "class": 1,
            "given": 1,
            "local": 1,
            "local-given": 2,
            "noted": {"a": 0, "b": 1},
            "noted-later": None,
            "notes": {"a": 0, "b": 1, "c": 2},
            "odd": True,
        },
    ),
    "attributes": (
        ATTRIBUTES,
        {"tell": ["in the archive", ["save", "price", "name", "count", "strict"]]},
    ),
    "of itself": (
        OF_ITSELF,
        {
            "own": [[True, True, 1000, False], [10, 2, True, True]],
            "given": [[False, True, 1000, False], [10, 2, True, True]],
        },
    ),
    "errors": (ERRORS, {"named": [404, 4, "error 404", True], "given": 4}),
    "within others": (
        WITHIN_OTHERS,
        {
            "settings": [True, True],
            "add": None,
            "count": [["a", "b"], True, True],
            "look-up": [True, True, True, True, True],
            "method": None,
        },
    ),
}


def test_a_script_finds_its_own_objects_in_a_worker(tmp_path):
    outcomes = outcomes_of_each([script for script, _ in SCRIPTS.values()], tmp_path)
    for (name, (_, expected)), (in_order, on_a_worker) in zip(SCRIPTS.items(), outcomes, strict=True):
        assert in_order == expected, name
        assert on_a_worker == expected, name


def test_a_script_that_multiprocessing_has_given_a_second_name_finds_its_own_objects(tmp_path):
    same_outcomes_of("import multiprocessing\n" + SENTINELS, tmp_path)


LOCALS = """
import threading

LOCK = threading.Lock()

def tasks():
    class Number:
        def __init__(self, value):
            self.value = value

    def square(number):
        return number.value**2

    with LOCK:  # which cannot travel
        return [Task("lambda", lambda: 3), Task("square", square, args=(Number(3),))]
"""


def test_what_a_function_has_made_does_not_bring_along_what_that_function_names(tmp_path):
    assert same_outcomes_of(LOCALS, tmp_path) == {"lambda": 3, "square": 9}


CLASS_BODIES = """
import threading
import wsgiref.headers
import xml.dom.minidom
import xmlrpc.client
from typing import Annotated

RATE = 3
UNIT = "kg"
LOCK = threading.Lock()  # which cannot travel
LIMIT: Annotated[int, LOCK] = 5

def scaled(number):
    return RATE * number

def body():
    class Scale:
        UNIT = UNIT
        LOCK = 1
        lock: int = LOCK  # its own
        rate = scaled(2)
        rates = [RATE for _ in range(2)]
        def default(self, rate=RATE):
            return rate
    return Scale.UNIT, Scale.lock, Scale.rate, Scale.rates, Scale().default()

class Shop:
    def open(self):
        class Counter:
            unit = [UNIT]
        return Counter.unit

def submodule_in_a_body():
    class Page:
        kind = xml.dom.minidom.Document.__name__
    return Page.kind

def submodule_in_a_lambda():
    return [*map(lambda _: wsgiref.headers.Headers.__name__, [1])]

def closing_over(package):
    def submodule_of_a_variable():
        return package.client.Fault.__name__
    return submodule_of_a_variable

def tasks():
    functions = [body, Shop().open, submodule_in_a_body, submodule_in_a_lambda, closing_over(xmlrpc)]
    return [Task(function.__name__, function) for function in functions]
"""


def test_functions_and_classes_in_a_function_find_the_globals_of_a_script(tmp_path):
    assert same_outcomes_of(CLASS_BODIES, tmp_path) == {
        "body": ["kg", 1, 6, [3, 3], 3],
        "open": ["kg"],
        "submodule_in_a_body": "Document",
        "submodule_in_a_lambda": ["Headers"],
        "submodule_of_a_variable": "Fault",
    }


SUBMODULES = """
import sys
import xmlrpc.client, xmlrpc.server

def imported():
    return xmlrpc.client.__name__, "xmlrpc.server" in sys.modules

def tasks():
    return [Task("imported", imported)]
"""


def test_a_worker_imports_no_submodules_but_those_that_a_function_names(tmp_path):
    _, on_a_worker = outcomes_of(SUBMODULES, tmp_path)
    assert on_a_worker == {"imported": ["xmlrpc.client", False]}


OF_A_LIBRARY = """
from library import PARAMETERS

def is_the_librarys(parameters):
    import library
    return parameters is library.PARAMETERS

def tasks():
    return [Task("same", is_the_librarys, args=(PARAMETERS,))]
"""


def test_type_parameters_of_a_library_are_its_own_in_a_worker_that_has_not_imported_it_yet(tmp_path):
    assert same_outcomes_of(OF_A_LIBRARY, tmp_path) == {"same": True}


ALIASES = """
type Ids = list[int]
type Tree[T] = dict[str, Tree[T]] | T
type Unclear[T] = list[T] | Unknown  # nobody but type checkers knows what that is
type Forest = list[Tree[int]]
type Number = int | float
type Unclearer = dict[str, Unclearer | Unknown]
type Json = dict[str, Json] | list[Json] | Nothing
type Nothing = None

def shortest(ids: Ids) -> Tree[int]:
    return min(ids)

def same(value: Unclear[int], other: Unclearer | None = None) -> Unclear[int]:
    return value

def tell(alias):
    return alias is Ids, str(alias.__value__), [one.__name__ for one in Tree.__type_params__]

def list_in(alias):
    return alias.__value__.__args__[1]

def tasks():
    return [
        Task("shortest", shortest, args=([3, 1],)),
        Task("tell", tell, args=(Ids,)),
        Task("forest", lambda alias: alias.__value__.__args__[0].__name__, args=(Forest,)),
        Task("number", lambda alias: str(alias.__value__), args=(Number,)),
        Task("same", same, args=(4,)),
        Task("name", lambda alias: alias.__name__, args=(Unclear,)),
        Task("itself", lambda alias: alias.__name__, args=(Unclearer,)),
        Task("json", lambda: [tell(Json)[1].replace("__main__.", ""), list_in(Json).__args__[0] is Json]),
        Task("nothing", lambda alias: [alias is Nothing, alias.__value__, alias.__module__], args=(Nothing,)),
    ]
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no type aliases before Python 3.12")
def test_type_aliases_of_a_script_travel(tmp_path):
    assert same_outcomes_of(ALIASES, tmp_path) == {
        "shortest": 1,
        "tell": [True, "list[int]", ["T"]],
        "forest": "Tree",
        "number": "int | float",
        "same": 4,
        "name": "Unclear",
        "itself": "Unclearer",
        "json": ["dict[str, Json] | list[Json] | Nothing", True],
        "nothing": [True, None, "__main__"],
    }


TYPE_PARAMETERS = """
from __future__ import annotations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nowhere import Unknown

class Node:
    def beside[T: Node, *Ts, **P](self, other: T) -> T:
        return other

def same[T: Unknown](value: T) -> T:
    return value

class Box[T: Unknown, U: (Unknown, int)]:
    content: T

    def put(self, value: U) -> U:
        self.content = value
        return value

def largest[T: int](*values: T) -> T:
    return max(values)

def tell(function):
    return [parameter.__name__ for parameter in function.__type_params__]

def bounds():
    (one,), (node, *_) = largest.__type_params__, Node.beside.__type_params__
    return one.__bound__ is int, node.__bound__ is Node

def tasks():
    return [
        Task("largest", largest, args=(1, 2)),
        Task("tell", tell, args=(largest,)),
        Task("method", tell, args=(Node.beside,)),
        Task("bounds", bounds),
        Task("same", same, args=(1,)),
        Task("put", Box[int, int]().put, args=(2,)),
        Task("box", lambda: repr(Box[str, int])),
    ]
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions have no type parameters before Python 3.12")
def test_type_parameters_of_functions_travel(tmp_path):
    expected = {
        "largest": 2,
        "tell": ["T"],
        "method": ["T", "Ts", "P"],
        "bounds": [True, True],
        "same": 1,
        "put": 2,
        "box": "__main__.Box[str, int]",
    }
    assert same_outcomes_of(TYPE_PARAMETERS, tmp_path) == expected


DEFAULTS = """
from typing import Generic, TypeVar

S = TypeVar("S", default="Later")

class Pair[T, U = int, **P = [int, str]]:
    def swap(self, one: T, other: U) -> tuple[U, T]:
        return other, one

class Old(Generic[S]):
    pass

class Later:
    pass

def tell():
    return str(Pair[str]), [str(one.__default__) for one in Pair.__type_params__]

def tasks():
    return [
        Task("swap", Pair().swap, args=(1, 2)),
        Task("tell", tell),
        Task("old", lambda: [one.__default__ for one in Old.__parameters__]),
    ]
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="no defaults of type parameters before Python 3.13")
def test_defaults_of_type_parameters_travel(tmp_path):
    parameters = ["typing.NoDefault", "<class 'int'>", "[<class 'int'>, <class 'str'>]"]
    told = ["__main__.Pair[str, int, [int, str]]", parameters]
    assert same_outcomes_of(DEFAULTS, tmp_path) == {"swap": [2, 1], "tell": told, "old": ["Later"]}


BACKPORTED = """
from typing import Generic
from typing_extensions import ParamSpec, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T", default=int)
P = ParamSpec("P", default=[int, str])
Ts = TypeVarTuple("Ts", default=Unpack[tuple[int, str]])

class Box(Generic[T]):
    value: T

def same(box: Box[T], *args: P.args, **kwargs: P.kwargs) -> T:
    return box.value

def tell(*others):
    return [(one.has_default(), str(one.__default__)) for one in (*Box.__parameters__, T, P, Ts, *others)]

def tasks():
    return [
        Task("tell", tell, args=(T, P, Ts)),
        Task("same", lambda *others: [*map(id, others)] == [id(T), id(P), id(Ts)], args=(T, P, Ts)),
        Task("hints", lambda: str(sorted(same.__annotations__))),
    ]
"""


def test_defaults_that_an_older_python_knows_by_typing_extensions_travel(tmp_path):
    pytest.importorskip("typing_extensions")
    found = same_outcomes_of(BACKPORTED, tmp_path)
    assert [has_default for has_default, _ in found["tell"]] == [True] * 7
    assert found["same"] is True


ANNOTATED_WITHIN = """
from __future__ import annotations
import dataclasses, decimal
from typing import get_type_hints

class Node: pass
class Leaf: pass
class Tree: pass

def names(named):
    return sorted(kind.__name__ for kind in get_type_hints(named).values())

def function():
    def visit(*nodes: Node, depth: int = 1) -> decimal.Decimal: ...
    return names(visit)

def data_class():
    @dataclasses.dataclass
    class Row:
        leaf: Leaf
        number: int = 1
    return names(Row)

def method():
    class Visitor:
        def visit(self, tree: Tree) -> None: ...
    return names(Visitor.visit)

def tasks():
    return [Task("function", function), Task("class", data_class), Task("method", method)]
"""


def test_annotations_of_what_functions_make_bring_what_they_name(tmp_path):
    assert same_outcomes_of(ANNOTATED_WITHIN, tmp_path) == {
        "function": ["Decimal", "Node", "int"],
        "class": ["Leaf", "int"],
        "method": ["NoneType", "Tree"],
    }


DEFERRED = """
import dataclasses, functools, threading
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict, get_type_hints

if TYPE_CHECKING:
    from nowhere import Unknown

LOCK = threading.Lock()  # no global but those that are named has to travel

def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args: Unknown.args) -> Unknown:
        return function(*args)
    return wrapper

def same(value: Unknown, others: list[Unknown] | None = None) -> Unknown:
    return value

@wrapped
def again(value: Unknown, node: Later) -> Unknown:
    return value

@dataclasses.dataclass(order=True)
class Node:
    value: int
    left: Node | None = None
    right: Unknown | None = None

    def total(self: Node) -> Unknown:
        return self.value + (self.left.total() if self.left else 0)

@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    later: Later
    unknown: Unknown = 3

class Pair(NamedTuple):
    node: Node
    unknown: Unknown

class Row(TypedDict):
    price: float
    later: Later

class Reads(Protocol):
    def read(self: Unknown) -> Nothing: ...

class Later:
    kind: Later

    def tell(self, loud: bool) -> str: ...

def adder(number: int):
    class Local:
        pass
    def add(other: Unknown, local: Local = None) -> list[Local]:
        return number + other
    return add

def hints(named):
    return sorted((key, getattr(hint, "__name__", str(hint))) for key, hint in get_type_hints(named).items())

def fields():
    return [field.name for field in dataclasses.fields(Node)]

def extended():
    @dataclasses.dataclass
    class More(Node):
        more: Unknown = 7
    return dataclasses.astuple(More(1))

def decorated():
    class Longer(Row):
        name: str
    annotated = wrapped(adder), wrapped(Later.tell), wrapped(Later), Longer
    return [sorted(named.__annotations__) for named in annotated]

def tasks():
    return [
        Task("same", same, args=(1,)),
        Task("again", again, args=(1, None)),
        Task("method", Node(1, Node(2)).total),
        Task("node", lambda node: repr(node) + str(node < node), args=(Node(1, Node(2)),)),
        Task("slotted", lambda one: dataclasses.replace(one, unknown=4).unknown, args=(Slotted(Later()),)),
        Task("pair", lambda pair: [pair.node.value, pair.unknown], args=(Pair(Node(1), 2),)),
        Task("protocol", lambda: Reads.__name__),
        Task("row", lambda: Row(price=1.5)),
        Task("hints", hints, args=(Row,)),
        Task("own-hints", hints, args=(Later,)),
        Task("fields", fields),
        Task("extended", extended),
        Task("decorated", decorated),
        *[Task(f"add-{number}", adder(number), args=(1,)) for number in range(3)],
    ]
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 annotations are evaluated at once")
def test_annotations_may_name_what_only_type_checkers_know(tmp_path):
    assert same_outcomes_of(DEFERRED, tmp_path) == {
        "same": 1,
        "again": 1,
        "method": 3,
        "node": "Node(value=1, left=Node(value=2, left=None, right=None), right=None)False",
        "slotted": 4,
        "pair": [1, 2],
        "protocol": "Reads",
        "row": {"price": 1.5},
        "hints": [["later", "Later"], ["price", "float"]],
        "own-hints": [["kind", "Later"]],
        "fields": ["value", "left", "right"],
        "extended": [1, None, None, 7],
        "decorated": [["number"], ["loud", "return"], ["kind"], ["later", "name", "price"]],
        "add-0": 1,
        "add-1": 2,
        "add-2": 3,
    }


NEW_SENTINELS = """
MISSING = sentinel("MISSING")
OTHER = sentinel("of another name", repr="<other>")

class Query:
    ALL = sentinel("Query.ALL")

    def is_all(self, which=ALL):
        return which is Query.ALL

def get(values, key, default=MISSING):
    return "missing" if values.get(key, default) is MISSING else "found"

def tell(value):
    return value is MISSING, value is OTHER, repr(value)

def give(value):
    return value

def tasks():
    return [
        Task("get", get, args=({}, "a")),
        Task("missing", tell, args=(MISSING,)),
        Task("other", tell, args=(OTHER,)),
        Task("method", Query().is_all),
        Task("attribute", Query.is_all, args=(Query(), Query.ALL)),
        Task("all", give, args=(Query.ALL,), keep_result=False),
        Task("still-all", Query().is_all, dependencies=[TaskDependency("all", True)]),
        Task("given", give, args=(MISSING,), keep_result=False),
        Task("told", tell, dependencies=[TaskDependency("given", True)]),
        Task("local", lambda value: repr(value), args=(sentinel("local"),)),
        Task("typed", lambda value: [value, type(value).__name__], args=(frozendict(a=1),)),
    ]
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="Python has no sentinels before 3.15")
def test_sentinels_of_a_script_are_the_same_in_a_worker(tmp_path):
    assert same_outcomes_of(NEW_SENTINELS, tmp_path) == {
        "get": "missing",
        "missing": [True, False, "MISSING"],
        "other": [False, True, "<other>"],
        "method": True,
        "attribute": True,
        "all": None,
        "still-all": True,
        "given": None,
        "told": [True, False, "MISSING"],
        "local": "local",
        "typed": [{"a": 1}, "frozendict"],
    }


LAZY_IMPORTS = """
import sys, typing
from processes import Process, Task, TaskDependency
lazy import xml.etree.ElementTree
lazy import xml.dom.minidom
lazy import decimal as numbers
lazy from fractions import Fraction
lazy import xml.sax as sax
lazy import colorsys
lazy from glob import glob
lazy from os import path as places
lazy from nowhere import nothing

def parse():
    return xml.dom.minidom.parseString("<a/>").documentElement.tagName, sax.handler.ContentHandler.__name__

def parse_otherwise():
    return xml.etree.ElementTree.fromstring("<b/>").tag

def find():
    return glob("no-such-file"), places.basename("a/b")

def colour(value: nothing.Nothing) -> None:
    return colorsys.rgb_to_hls(1, 0, 0)

class Row(typing.TypedDict):
    price: "numbers.Decimal"
    part: "Fraction"

def hints():
    return [kind.__name__ for kind in typing.get_type_hints(Row).values()]

def imports_nothing(use):
    return nothing if use else "colorsys" in sys.modules

def tasks():
    return [
        Task("parse", parse),
        Task("otherwise", parse_otherwise),
        Task("find", find),
        Task("none", imports_nothing, args=(False,)),
        Task("colour", colour, args=(1,), dependencies=[TaskDependency("none")]),
        Task("fails", imports_nothing, args=(True,)),
        Task("hints", hints),
    ]

run = Process(tasks()).run(runner="process", max_workers=1)
assert not {"xml.dom", "colorsys"} & sys.modules.keys(), "this process needs none of them"
assert type(run.exceptions["fails"]) is ModuleNotFoundError, run.exceptions
assert "    lazy from nowhere import nothing\\n" in run.entries["fails"].error.traceback_str
xml.dom  # now the others wait in a package that is there
assert Process(tasks()).run(runner="process", max_workers=1).results["otherwise"] == "b"
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports cannot wait before Python 3.15")
def test_imports_that_wait_for_their_first_use_wait_in_workers_too(tmp_path):
    assert same_outcomes_of(LAZY_IMPORTS, tmp_path) == {
        "parse": ["a", "ContentHandler"],
        "otherwise": "b",
        "find": [[], "b"],
        "none": False,
        "colour": [0.0, 0.5, 1.0],
        "fails": "No module named 'nowhere'",
        "hints": ["Decimal", "Fraction"],
    }


TYPED_DICTS = """
from typing import Generic, Required, TypedDict, TypeVar, get_type_hints, is_typeddict

T = TypeVar("T")

class Row(TypedDict):
    id: int

class Priced(Row):
    price: float

class Noted(Priced, total=False):
    note: str
    author: Required[str]

class Box(TypedDict, Generic[T]):
    value: T

class Labelled(Box, total=False):
    label: str

class Named(Row, Box[int]):
    name: str

def total(rows: list[Priced]) -> float:
    return sum(row["price"] for row in rows)

def tell(kind):
    keys = sorted(kind.__required_keys__), sorted(kind.__optional_keys__)
    return is_typeddict(kind), kind(id=1), *keys, {name: str(a) for name, a in get_type_hints(kind).items()}

def tasks():
    return [
        Task("total", total, args=([{"id": 1, "price": 2.5}],)),
        *(Task(kind.__name__, tell, args=(kind,)) for kind in (Row, Priced, Noted, Box, Labelled, Named)),
    ]
"""


def test_typed_dicts_of_a_script_travel(tmp_path):
    outcomes = same_outcomes_of(TYPED_DICTS, tmp_path)
    assert outcomes["total"] == 2.5
    assert outcomes["noted"][2:4] == [["author", "id", "price"], ["note"]]


RETURNED = """
from enum import Enum, member
from processes import Process, Task

def mean(xs):
    return sum(xs) / len(xs)

MISSING = object()

def best():
    return mean

def none():
    return MISSING

class Operation(Enum):
    NEGATE = member(lambda number: -number)

def operation():
    return Operation.NEGATE

class Model:
    def predict(self):
        return MISSING

def method():
    return Model().predict

if __name__ == "__main__":
    tasks = [Task(function.__name__, function) for function in (best, none, operation, method)]
    results = Process(tasks).run(runner="process").results
    print(results["best"] is mean, results["none"] is MISSING, results["operation"] is Operation.NEGATE)
    print(results["method"].__func__ is Model.predict, results["method"]() is MISSING)
"""


def test_results_are_the_programs_own_objects(tmp_path):
    (tmp_path / "script.py").write_text(RETURNED)
    assert output_of([sys.executable, "script.py"], cwd=tmp_path) == "True True True\nTrue True\n"


WITH_ERRORS = """
import functools, pickle, sys
from pathlib import Path
from processes import Process, Task, TaskDependency

class Refused(Exception):
    def __init__(self, code, *, why=len):
        super().__init__(code)
        self.why = why

MISSING = object()

@functools.cache
def model():
    return object()

def refusals(count):
    return [Refused(number, why=double) for number in range(count)]

def codes(errors):
    return [error.args[0] for error in errors]

def fit():
    return id(model())

def predict():
    return id(model())

def get(default=MISSING):
    return default is MISSING

def call(function, *args):
    return function(*args)

def double(number):
    return 2 * number

def fail():
    raise Refused(7, why=double)

def tasks():
    return [
        Task("refusals", refusals, args=(3,)),
        Task("codes", codes, dependencies=[TaskDependency("refusals", True)]),
        Task("given", codes, args=([Refused(1)],)),
        Task("fit", fit),
        Task("predict", predict),
        Task("get", get, args=(MISSING,), dependencies=[TaskDependency("codes")]),
        Task("call", call, args=(double, 4)),
        Task("fail", fail),
    ]

def run():
    report = Process(tasks()).run(runner="process", max_workers=1)
    found = report.results
    same_model = found["fit"] == found["predict"]
    return report, [found["codes"], found["given"], same_model, found["get"], found["call"]]

if __name__ == "__main__":
    saved = Path("report.pickle")
    if saved.exists():
        error = pickle.loads(saved.read_bytes()).exceptions["fail"]
        print(type(error) is Refused, error.why(4))
        sys.exit()
    for _ in range(2):
        report, seen = run()
        print(*seen, type(report.exceptions["fail"]) is Refused, report.exceptions["fail"].why is double)
        saved.write_bytes(pickle.dumps(report))
        assert type(pickle.loads(saved.read_bytes()).exceptions["fail"]) is Refused
"""


def test_exceptions_of_a_script_leave_its_other_objects_alone(tmp_path):
    (tmp_path / "script.py").write_text(WITH_ERRORS)
    command = [sys.executable, "script.py"]
    assert output_of(command, cwd=tmp_path) == 2 * "[0, 1, 2] [1] True True 8 True True\n"
    assert output_of(command, cwd=tmp_path) == "True 8\n"


BROKEN = """
import os

HOME = os.getpid()

def only_here():
    if os.getpid() != HOME:
        raise ValueError("not here")

class OnlyHere:
    def __reduce__(self):
        return only_here, ()

def broken(one=OnlyHere()):
    return 1

def call(function):
    return function()

def tasks():
    return [Task(f"t{number}", call, args=(broken,)) for number in range(3)]
"""


def test_a_function_that_cannot_be_read_fails_each_task_that_is_given_it(tmp_path):
    in_order, on_a_worker = outcomes_of(BROKEN, tmp_path)
    assert set(in_order.values()) == {1}
    assert [text.partition(": ")[2].partition(".")[0] for text in on_a_worker.values()] == [
        "args, kwargs arrived, but could not be deserialized: ValueError: not here"
    ] * 3


FILE = """
def read(file):
    return file.readline()

def tasks():
    return [Task("read", read, args=(open("script.py"),))]
"""


def test_an_open_text_file_is_refused_and_not_read(tmp_path):
    _, on_a_worker = outcomes_of(FILE, tmp_path)
    assert "args[0] is an _io.TextIOWrapper, which cannot be serialized" in on_a_worker["read"]


ENTERED = """
import contextlib

@contextlib.contextmanager
def opened():
    yield 1

def use(manager):
    with manager as one:
        return one

def tasks():
    entered = opened()
    entered.__enter__()
    return [Task("fresh", use, args=(opened(),)), Task("entered", use, args=(entered,))]
"""


def test_a_context_manager_travels_until_it_is_entered(tmp_path):
    _, on_a_worker = outcomes_of(ENTERED, tmp_path)
    assert on_a_worker["fresh"] == 1
    assert "args[0] is a contextlib._GeneratorContextManager" in on_a_worker["entered"]
    assert "Create it inside the function" in on_a_worker["entered"]


FILTERS = """
import pickle
import warnings
import cloudpickle

class OwnWarning(Warning):
    pass

warnings.simplefilter("ignore", DeprecationWarning)
warnings.simplefilter("ignore", OwnWarning)

def hand_on(dumps):
    filters = pickle.loads(dumps(warnings.filters))
    found = [entry for entry in filters if entry[2] is DeprecationWarning]
    return len(filters) == len(warnings.filters), found[0][0], filters[0][2].__name__

def tasks():
    return [Task("joblib", hand_on, args=(cloudpickle.dumps,)), Task("plain", hand_on, args=(pickle.dumps,))]
"""


def test_a_task_can_hand_its_filters_of_warnings_on(tmp_path):
    told = [True, "ignore", "OwnWarning"]
    assert same_outcomes_of(FILTERS, tmp_path) == {"joblib": told, "plain": told}


MODELS = """
from threading import Lock
from typing import Generic, Optional, TypeVar
import pydantic

NAMED_BY_NOBODY = Lock()
T = TypeVar("T")

class Point(pydantic.BaseModel):
    x: int = 1

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, x):
        assert Line is not None
        return x + 1

class Line(pydantic.BaseModel):
    points: list[Point]
    within: "Optional[Page[Line]]" = None

    @pydantic.model_validator(mode="after")
    def check(self):
        assert isinstance(self.points[0], Point)
        return self

class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]

    @pydantic.field_serializer("items")
    def write(self, items):
        return [str(Line) and item.model_dump() for item in items]

class Points(pydantic.RootModel[list[Point]]):
    pass

Line.model_rebuild()
ADAPTER = pydantic.TypeAdapter(list[Line])

def line():
    return Line(points=[Point(x=2)], within=Page[Line](items=[Line(points=[Point(x=4)])]))

def write(*models):
    return [model.model_dump_json() for model in models]

def read(data):
    return write(*ADAPTER.validate_python(data))

@pydantic.validate_call
def checked(lines: list[Line], number: int):
    return len(lines), number

def tasks():
    page = Page[Point](items=[Point(x=3)])
    return [
        Task("line", write, args=(line(),)),
        Task("page", write, args=(page,)),
        Task("made", lambda: write(line(), page)),
        Task("read", read, args=([{"points": [{"x": 5}]}],)),
        Task("checked", checked, args=([line()], "3")),
        Task("root", write, args=(Points([Point(x=6)]),)),
        Task("form", lambda: write(pydantic.RootModel[list[Point]]([Point(x=7)]))),
    ]
"""


def test_models_of_pydantic_that_name_each_other_travel(tmp_path):
    pytest.importorskip("pydantic")
    found = same_outcomes_of(MODELS, tmp_path)
    assert found["page"] == ['{"items":[{"x":4}]}']
    assert found["checked"] == [1, 3]
    assert (found["root"], found["form"]) == (['[{"x":7}]'], ['[{"x":8}]'])


CURRIED = """
from toolz import curry

@curry
def add(x, y):
    return x + y if y < 100 else add(x)(1)

def through_global(x):
    return add(1, x), add(x)(100)

def tasks():
    @curry
    def local(x, y):
        return x * y

    return [
        Task("whole", add, args=(1, 100)),
        Task("part", add(5), args=(2,)),
        Task("through-global", through_global, args=(3,)),
        Task("argument", lambda function: function(2)(3), args=(add,)),
        Task("local", local(2), args=(4,)),
    ]
"""


def test_functions_of_a_script_that_toolz_has_curried_travel(tmp_path):
    pytest.importorskip("toolz")
    expected = {"whole": 2, "part": 7, "through-global": [4, 4], "argument": 5, "local": 8}
    assert same_outcomes_of(CURRIED, tmp_path) == expected


CACHED_METHODS = """
from cachetools import cachedmethod

class Prices:
    def __init__(self):
        self.cache = {}

    @cachedmethod(lambda self: self.cache)
    def of(self, item):
        return len(item)

prices = Prices()
prices.of("plum"), Prices.of

def through_class():
    made = Prices()
    return made.of("fig"), made.of("fig"), len(made.cache)

def tasks():
    return [
        Task("through-class", through_class),
        Task("through-global", lambda: prices.of("pear")),
        Task("method", prices.of, args=("kiwi",)),
        Task("argument", lambda prices: (prices.of("date"), prices.of("plum")), args=(prices,)),
    ]
"""


def test_methods_of_a_script_that_cachetools_caches_travel(tmp_path):
    pytest.importorskip("cachetools", minversion="8")  # before, it made a class for each
    expected = {"through-class": [3, 3, 1], "through-global": 4, "method": 4, "argument": [4, 4]}
    assert same_outcomes_of(CACHED_METHODS, tmp_path) == expected


DELEGATES = """
class Wrapper:
    def __init__(self, wrapped, *others):
        self.wrapped, self.others = wrapped, others

    def __getattr__(self, name):
        return getattr(self.wrapped, name)

class Slotted(Wrapper):
    __slots__ = ("extra",)

class Table(dict):
    def __getattr__(self, name):
        return self.columns[name]

text, slotted, table, others = Wrapper("a text"), Slotted("another"), Table(a=1), [Wrapper("of no name")]
slotted.extra, table.columns = 5, {"b": 2}

def tell(text, slotted, table):
    return text.upper(), slotted.upper(), slotted.extra, table.b, table["a"]

def give(*values):
    return values

def tasks():
    given = [TaskDependency("give", use_result_as_additional_args=True)]
    return [
        Task("given", tell, args=(text, slotted, table)),
        Task("globals", lambda: tell(text, slotted, table)),
        Task("others", lambda: (text.upper(), others[0].upper())),
        Task("give", give, args=(text, slotted, table), keep_result=False),
        Task("results", lambda values: tell(*values), dependencies=given),
    ]
"""


def test_objects_whose_class_looks_elsewhere_for_what_they_lack_travel(tmp_path):
    told = ["A TEXT", "ANOTHER", 5, 2, 1]
    others = ["A TEXT", "OF NO NAME"]
    expected = {"given": told, "globals": told, "others": others, "give": None, "results": told}
    assert same_outcomes_of(DELEGATES, tmp_path) == expected


MADE_OF_MORE = """
from collections import namedtuple

class Square(namedtuple("Rectangle", "width height")):
    def __new__(cls, width):
        return super().__new__(cls, width, width)

class Point(tuple):
    def __new__(cls, x, y):
        return super().__new__(cls, (x, y))

class Vector(tuple):
    def __new__(cls, *numbers):
        return super().__new__(cls, numbers)

class Celsius(namedtuple("Temperature", "degrees scale")):
    def __new__(cls, fahrenheit, scale="C"):
        return super().__new__(cls, (fahrenheit - 32) / 1.8, scale)

class Share(float):
    def __new__(cls, percent):
        return super().__new__(cls, percent / 100)

class Expression:  # as those of sympy
    def __new__(cls, *parts):
        expression = super().__new__(cls)
        expression.parts = parts
        return expression

    def __getnewargs__(self):
        return self.parts

    def __getstate__(self):
        return None

class Power(Expression):
    def __new__(cls, base, exponent):
        power = super().__new__(cls, base, exponent)
        power.value = base**exponent
        return power

class Length(float):
    def __new__(cls, value, *, unit):
        length = super().__new__(cls, value)
        length.unit = unit
        return length

class Zero(int):
    def __new__(cls):
        return super().__new__(cls, 0)

class Model:
    def __new__(cls, name, scale=1):
        model = super().__new__(cls)
        model.name, model.scale = name, scale
        return model

class Only:
    only = None

    def __new__(cls, value=3):
        if cls.only is None:
            cls.only = super().__new__(cls)
        return cls.only

point, length, zero, model, only = Point(1, 2), Length(2.5, unit="m"), Zero(), Model("a", scale=2), Only()
square, models = Square(5), [Model("b"), Model("c")]
changed = Vector(1, 2), Celsius(212), Share(50), Vector(3), Expression(1, 2), Power(2, 3)

def tell(point, length, zero, square, changed, *models):
    told = [(model.name, model.scale) for model in models]
    *changed, sum, power = changed
    return point, length, length.unit, zero, square.height, changed, sum.parts, power.value, told

def give(*values):
    return values

def is_only(it):
    return it is Only()

def tasks():
    values = point, length, zero, square, changed, model, *models
    given = [TaskDependency("give", use_result_as_additional_args=True)]
    return [
        Task("given", tell, args=values),
        Task("globals", lambda: tell(point, length, zero, square, changed, model, *models)),
        Task("give", give, args=values, keep_result=False),
        Task("results", lambda values: tell(*values), dependencies=given),
        Task("only", is_only, args=(only,)),
    ]
"""


def test_objects_whose_class_wants_more_than_pickle_knows_travel(tmp_path):
    changed = [[1, 2], [100.0, "C"], 0.5, [3]]
    told = [[1, 2], 2.5, "m", 0, 5, changed, [1, 2], 8, [["a", 2], ["b", 1], ["c", 1]]]
    expected = {"given": told, "globals": told, "give": None, "results": told, "only": True}
    assert same_outcomes_of(MADE_OF_MORE, tmp_path) == expected


MADE_BY_NEW = """
class Money:
    def __new__(cls, amount):
        made = object.__new__(cls)
        made.amount = amount
        return made
    def __reduce__(self):
        return type(self), (self.amount,)
    def is_none(self):
        return self.amount == NOTHING.amount

class Euros(Money):
    def __new__(cls, amount, unit="EUR"):
        made = super().__new__(cls, amount)
        made.unit = unit
        return made

NOTHING = Money(0)
Money.LEAST = [Money(1), Euros(2)]
Euros.LIMIT = Euros(9)

class Slotted:
    __slots__ = ("value",)
    def __new__(cls, value):
        made = super().__new__(cls)
        object.__setattr__(made, "value", value)
        return made
    def __getnewargs__(self):
        return (self.value,)

Slotted.OF_NAMES = {"one": Slotted(1)}

class Symbol:
    known = {}
    def __new__(cls, name):
        if name not in cls.known:
            cls.known[name] = super().__new__(cls)
            cls.known[name].name = name
        return cls.known[name]
    def __reduce__(self):
        return Symbol, (self.name,)

Symbol("x")

def money(given):
    least = [one.amount for one in Money.LEAST]
    return given.amount, given.is_none(), least, Euros.LIMIT.unit, Euros(3).amount

def slotted():
    return Slotted.OF_NAMES["one"].value, Slotted(2).value

def symbol(given):
    return Symbol("x") is Symbol.known["x"], given is Symbol("x"), len(Symbol.known)

def tasks():
    return [
        Task("money", money, args=(Euros(4),)),
        Task("slotted", slotted),
        Task("symbol", symbol, args=(Symbol("x"),)),
    ]
"""


def test_classes_with_a_new_of_their_own_may_hold_objects_of_themselves(tmp_path):
    assert same_outcomes_of(MADE_BY_NEW, tmp_path) == {
        "money": [4, False, [1, 2], "EUR", 3],
        "slotted": [1, 2],
        "symbol": [True, True, 1],
    }


NAMED_BY_PROPERTIES = """
from typing import Generic, TypeVar

T = TypeVar("T")

class Named:
    def __init__(self, function):
        self.function = function
    def __name__(self):
        return Named.prefix + self.function.__name__
    __name__ = property(__name__, doc="Whose it is.")
    @property
    def __dict__(self):
        return {"name": self.__name__}
    __slots__ = ("function",)
    prefix = "named "
    def again(self):
        return Named(self.function)

class noted(property):
    pass

class Account:
    def balance(self):
        return self.cents / 100
    def set_balance(self, balance):
        self.cents = 100 * balance
    def close(self):
        self.cents = None
    balance = noted(balance, set_balance, close, "In euros.")

class Noted:
    @noted
    def __name__(self):
        return "noted"

class Plain:
    __name__ = "plain"

class Node(Generic[T]):
    def __init__(self, value: T, kind=None):
        self.value = Leaf if kind is Leaf else value
    def leaf(self):
        return Leaf(self.value)

class Leaf(Node[int]):
    def node(self):
        return Node[str](self.value)

def double(number):
    return 2 * number

def names(named):
    others = named.again(), Noted(), Plain()
    return named.__name__, vars(named), *(other.__name__ for other in others), Named.__name__

def balance():
    account = Account()
    account.balance = 2
    found = [account.cents, account.balance, Account.balance.__doc__]
    del account.balance
    return found + [account.cents]

def kinds():
    return Plain.__name__, type(vars(Noted)["__name__"]) is noted, vars(Named)["__name__"].__doc__

def nodes(node):
    return node.leaf().node().value, [str(base) for base in Leaf.__orig_bases__]

def tasks():
    return [
        Task("names", names, args=(Named(double),)),
        Task("balance", balance),
        Task("kinds", kinds),
        Task("nodes", nodes, args=(Node(3),)),
    ]
"""


def test_classes_may_have_properties_where_python_has_its_own(tmp_path):
    assert same_outcomes_of(NAMED_BY_PROPERTIES, tmp_path) == {
        "names": [
            *("named double", {"name": "named double"}, "named double", "noted", "plain", "Named"),
        ],
        # Python 3.11 finds the text of the class before that of the property.
        "balance": [200, 2, "In euros." if sys.version_info >= (3, 12) else None, None],
        "kinds": ["Plain", True, "Whose it is."],
        "nodes": [3, ["__main__.Node[int]"]],
    }


MADE_ANEW = """
from collections import OrderedDict, defaultdict, deque
from datetime import datetime, tzinfo
from decimal import Decimal
from threading import Lock

class Graph(defaultdict):
    def __init__(self, name):
        super().__init__(list)
        self.name = name

class Money(Decimal):
    def __new__(cls, amount, unit="EUR"):
        money = super().__new__(cls, amount)
        money.unit = unit
        return money

class Day(datetime):
    __slots__ = ("label",)

    def __new__(cls, label):
        day = super().__new__(cls, 2024, 2, 29)
        day.label = label
        return day

class Zone(tzinfo):
    def __init__(self, hours):
        self.hours = hours

class Shift(Zone):
    def __getinitargs__(self):
        return (self.hours,)

    def __getstate__(self):
        return {"moved": True}

class Client:
    def __init__(self, address):
        self.address, self.lock = address, Lock()

    def __reduce_ex__(self, protocol):
        return Client, (self.address,)

class Tags(set):
    def __init__(self, owner, tags=()):
        super().__init__(tags)
        self.owner = owner

class Latest(OrderedDict):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def __setitem__(self, key, value):
        super().__setitem__(key.lower(), value)
        if len(self) > self.size:
            self.popitem(last=False)

    def items(self):
        return [(key.upper(), value) for key, value in super().items()]

class Counted(list):
    def __init__(self):
        self.count = 0

    def append(self, item):
        self.count += 1
        super().append(item)

class History(deque):
    def __init__(self, size, name="history"):
        super().__init__(maxlen=size)
        self.name = name

def made():
    graph, latest, counted, history = Graph("g"), Latest(2), Counted(), History(2)
    zones = Zone(3), Shift(4)
    zones[1].moved = True
    graph["a"].append(graph)
    for key in "ABC":
        latest[key] = ord(key)
        history.append(key)
        counted.append(key)
    latest.move_to_end("b")
    return graph, Money("1.5", "USD"), Day("leap"), *zones, Tags("me", ["x"]), latest, counted, history

def tell(graph, money, day, zone, shift, tags, latest, counted, history):
    return [
        [graph.name, graph["a"] == [graph], graph["b"]],
        [float(money), money.unit, day.label, day.day, zone.hours, shift.hours, shift.moved],
        [tags.owner, list(tags)],
        [latest.size, list(latest), latest.items()],
        [counted.count, list(counted)],
        [history.name, history.maxlen, list(history)],
        [type(one).__name__ for one in (graph, money, day, zone, shift, tags, latest, counted)],
    ]

def tasks():
    given = [TaskDependency("give", use_result_as_additional_args=True)]
    return [
        Task("given", tell, args=made()),
        Task("twice", lambda *two: [tell(*one) for one in two], args=(made(), made())),
        Task("give", made, keep_result=False),
        Task("results", lambda values: tell(*values), dependencies=given),
        Task("client", lambda client: (client.address, client.lock.locked()), args=(Client("here"),)),
    ]
"""


def test_objects_that_python_would_make_by_a_call_of_their_class_travel(tmp_path):
    told = [
        ["g", True, []],
        [1.5, "USD", "leap", 29, 3, 4, True],
        ["me", ["x"]],
        [2, ["c", "b"], [["C", 67], ["B", 66]]],
        [3, ["A", "B", "C"]],
        ["history", 2, ["B", "C"]],
        ["Graph", "Money", "Day", "Zone", "Shift", "Tags", "Latest", "Counted"],
    ]
    expected = {"given": told, "twice": [told, told], "give": None, "results": told}
    expected["client"] = ["here", False]
    assert same_outcomes_of(MADE_ANEW, tmp_path) == expected


IN_CONTEXT = """
from contextvars import Context, ContextVar

user = ContextVar("user", default="nobody")
request = ContextVar("request")
trace = ContextVar("trace")
user.set("me")
trace.set("abc")

def current():
    return user.get(), request.get(None)

async def elsewhere():
    return user.get(None), trace.get("none"), Context().run(user.get), Context().run(trace.get, "none")

def change():
    token = user.set("you")
    changed = current()
    user.reset(token)
    return changed, current()

def is_user(variable):
    return variable is user

def local():
    return (lambda variable=ContextVar("local", default=3): variable.get())

def tasks():
    given = [TaskDependency("give", use_result_as_additional_args=True)]
    return [
        Task("current", current),
        Task("elsewhere", elsewhere),
        Task("change", change),
        Task("given", is_user, args=(user,)),
        Task("give", lambda: user, keep_result=False),
        Task("result", is_user, dependencies=given),
        Task("local", local()),
    ]
"""


def test_context_variables_of_a_script_hold_in_workers_what_they_hold_in_the_program(tmp_path):
    mine = ["me", None]
    assert same_outcomes_of(IN_CONTEXT, tmp_path) == {
        "current": mine,
        "elsewhere": ["me", "abc", "nobody", "none"],
        "change": [["you", None], mine],
        "given": True,
        "give": None,
        "result": True,
        "local": 3,
    }


TREE = """
from weakref import WeakSet, ref

class Node:
    def __init__(self, parent=None):
        self.parent = parent and ref(parent)
        self.children = []
        if parent:
            parent.children.append(self)

root = Node()
child = Node(root)
nodes = WeakSet([root, child])

def is_whole(root):
    return [node.parent() is root for node in root.children]

def count():
    new = Node()
    nodes.add(new)
    before = len(nodes)
    del new
    return before, len(nodes), root in nodes, child in nodes

def orphaned(child):
    return child.parent() is None

def give():
    return root

def tasks():
    given = [TaskDependency("give", use_result_as_additional_args=True)]
    return [
        Task("given", is_whole, args=(root,)),
        Task("globals", lambda: child.parent() is root),
        Task("global-alone", lambda: len(child.parent().children)),
        Task("set", count),
        Task("give", give, keep_result=False),
        Task("result", is_whole, dependencies=given),
        Task("orphan", orphaned, args=(child,)),
    ]
"""


def test_weak_references_travel_with_what_they_refer_to(tmp_path):
    in_order, on_a_worker = outcomes_of(TREE, tmp_path)
    assert (in_order.pop("orphan"), on_a_worker.pop("orphan")) == (False, True)
    assert on_a_worker == in_order


CACHED = """
import threading

class Read:
    answer = 42

Read.__msgspec_cache__ = threading.Lock()  # as the library puts its own there when it reads one

def tell(read):
    return read.answer, hasattr(Read, "__msgspec_cache__")

def tasks():
    return [Task("tell", tell, args=(Read(),))]
"""


def test_what_msgspec_keeps_in_a_class_stays_there(tmp_path):
    in_order, on_a_worker = outcomes_of(CACHED, tmp_path)
    assert (in_order["tell"], on_a_worker["tell"]) == ([42, True], [42, False])


STRUCTS = """
from __future__ import annotations
from typing import Annotated, ClassVar, Generic, TypeVar
import msgspec
from msgspec import Struct, field

T = TypeVar("T")
LIMIT = 3

class Point(Struct, frozen=True, order=True, tag=True):
    x: int
    y: Annotated[int, msgspec.Meta(ge=0)] = 0
    UNIT: ClassVar[str] = "cm"

    def scaled(self):
        return Point(self.x * LIMIT, self.y * LIMIT)

class Named(Struct, kw_only=True, rename="camel"):
    long_name: str
    first_seen: int = field(default=7, name="seen")

    def __post_init__(self):
        if not self.long_name:
            raise ValueError("no name")

class Node(Named, tag="node", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True, dict=True):
    value: int = 1
    children: list[Node] = []
    points: list[Point] = field(default_factory=lambda: [Point(1)])
    spare: Node | None = None

    def __post_init__(self):
        super().__post_init__()
        self.value += len(Node.__struct_fields__)

    def total(self):
        return self.value + sum(child.total() for child in self.children)

class Plain(Node, tag=False):
    value: int = 5

class Box(Struct, Generic[T], array_like=True):
    item: T
    start: Point = Point(0)

Made = msgspec.defstruct("Made", [("a", int), ("b", str, "x")])
nodes = msgspec.json.Decoder(list[Node])
encoder = msgspec.json.Encoder(order="sorted", enc_hook=str)

def told(call, *args):
    try:
        return repr(call(*args))
    except Exception as error:
        return repr(error)

def shape(cls):
    config = cls.__struct_config__
    fields = [
        [one.name, one.encode_name, *map(str, (one.type, one.default, one.default_factory is list))]
        for one in msgspec.structs.fields(cls)
    ]
    options = [getattr(config, name) for name in dir(config) if name[0] != "_"]
    return fields, repr(cls.__match_args__), options

def read(text):
    found = told(nodes.decode, text)
    return found, told(lambda: nodes.decode(text)[0].total()), told(msgspec.json.decode, text)

def frozen():
    point = Point(1, 2)
    is_alike = hash(point) == hash(Point(1, 2))
    return told(setattr, point, "x", 3), sorted([Point(2), point])[0].x, is_alike, Point.UNIT

def derived():
    class Local(Point, tag="local"):
        z: int = 4
    return repr(Local(1)), msgspec.json.encode(Local(1)).decode()

def written(*values):
    return [encoder.encode([value, 1j]).decode() for value in values], [repr(value) for value in values]

def tasks():
    class Inner(Struct):
        size: int = LIMIT
        more: list[Inner] = []

    each = (Point, Named, Node, Plain, Box, Made)
    texts = (
        '[{"kind":"node","longName":"a","seen":3,"children":[{"kind":"node","longName":"b"}]}]',
        '[{"kind":"node","longName":1}]',
        '[{"kind":"node","longName":"a","points":[{"type":"Point","x":1,"y":-1}]}]',
        '[{"kind":"node","longName":"a","other":1}]',
    )
    return [
        *[Task(f"shape-{cls.__name__}", shape, args=(cls,)) for cls in each],
        *[Task(f"read-{number}", read, args=(text,)) for number, text in enumerate(texts)],
        Task("frozen", frozen),
        Task("derived", derived),
        Task("method", lambda: repr(Point(1, 2).scaled())),
        Task("post-init", lambda: told(lambda: Node(long_name=""))),
        Task("by-keyword", lambda: told(Named, "name")),
        Task("form", lambda: [told(msgspec.convert, [item], Box[int]) for item in (1, "x")]),
        Task("argument", written, args=(Point(1), Box(2), Made(3), Inner(4, [Inner()]))),
        Task("local", lambda: repr(Inner(1, [Inner()]))),
        Task("changed-once", repr, args=(Node(long_name="a"),)),
    ]
"""


def test_structs_of_msgspec_that_a_script_defines_travel(tmp_path):
    pytest.importorskip("msgspec")
    found = same_outcomes_of(STRUCTS, tmp_path)
    assert found["read-0"][1] == "14"
    assert found["post-init"] == "ValueError('no name')"


GUARDED = """
import sys
from sys import version_info
from typing import Protocol, runtime_checkable

PYTHON = sys.version_info

class Constants(type):
    def __setattr__(cls, name, value):
        raise AttributeError("constant")

class Counted(type):
    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        cls.counted = namespace.get("arity", 0)

    @property
    def arity(cls):
        return cls.counted

class Pair(metaclass=Counted):
    arity = 2

class Single(metaclass=Counted):
    @property
    def arity(self):
        return Single, Pair().arity

class Limits(metaclass=Constants):
    LOW, HIGH = 1, 3

    @classmethod
    def span(cls):
        return cls.HIGH - cls.LOW

class Frozen:
    __slots__ = ("amount",)

    def __init__(self, amount):
        object.__setattr__(self, "amount", amount)

    def __setattr__(self, name, value):
        raise AttributeError("frozen")

class Priced(Frozen):
    __slots__ = ("price", "__dict__")

    def __init__(self, amount):
        super().__init__(amount)
        object.__setattr__(self, "price", 2 * amount)
        self.__dict__["note"] = "cheap"

@runtime_checkable
class Named(Protocol):
    name: str

def refusal(call, *args):
    try:
        call(*args)
    except (AttributeError, TypeError) as error:
        return str(error)

def tell(frozen, priced):
    assert refusal(setattr, frozen, "amount", 3) == "frozen"
    return frozen.amount, priced.amount, priced.price, priced.note

ONE = Frozen(1)

def tasks():
    return [
        Task("constants", lambda: (Limits.span(), refusal(setattr, Limits, "LOW", 3))),
        Task("property", lambda: (Pair.arity, Pair().arity, Single().arity[0] is Single, Single().arity[1])),
        Task("slots", tell, args=(Frozen(4), Priced(5))),
        Task("global", lambda: tell(ONE, Priced(6))),
        Task("protocol", lambda: (isinstance(type, Named), refusal(issubclass, int, Named))),
        Task("version", lambda: (PYTHON is sys.version_info, version_info[:2], PYTHON.releaselevel)),
        Task("argument", lambda found: found is sys.flags, args=(sys.flags,)),
    ]
"""


def test_what_forbids_to_set_attributes_and_what_python_has_one_of_travel(tmp_path):
    found = same_outcomes_of(GUARDED, tmp_path)
    assert found["constants"] == [2, "constant"]
    assert found["property"] == [2, 2, True, 2]
    assert found["slots"] == [4, 5, 10, "cheap"]
    assert found["version"][0] is found["argument"] is True


OF_EACH_THREAD = """
import json
import threading

class Connections(threading.local):
    used = 0

    def __init__(self):
        self.state = "open"

    def use(self):
        self.used += 1
        return self.state, self.used, CONNECTIONS is self

class Decoder(json.JSONDecoder):
    mark = "m"

    def __init__(self):
        super().__init__(object_hook=self.marked)

    def marked(self, found):
        return [self.mark, *found]

CONNECTIONS = Connections()
plain = json.JSONDecoder(object_hook=sorted, parse_float=str, strict=False)
marking = Decoder()

def of_each_thread():
    found = []
    other = threading.Thread(target=lambda: found.append(CONNECTIONS.use()))
    other.start()
    other.join()
    return found, CONNECTIONS.use()

def tasks():
    text = '{"b": 1.5, "a": [{"c": 2}]}'
    return [
        Task("local", of_each_thread),
        Task("argument", Connections().use),
        Task("decoded", lambda: (plain.decode(text), marking.decode(text), plain.raw_decode("[1] x"))),
    ]
"""


def test_data_of_threads_and_decoders_of_json_travel(tmp_path):
    in_order, on_a_worker = outcomes_of(OF_EACH_THREAD, tmp_path)
    assert on_a_worker["decoded"] == in_order["decoded"] == [["a", "b"], ["m", "b", "a"], [[1], 3]]
    assert on_a_worker["local"] == [[["open", 1, True]], ["open", 1, True]]
    assert on_a_worker["argument"] == ["open", 1, False]


VECTORIZED = """
import numpy

RATE = 3
rated = numpy.vectorize(lambda amount: amount * RATE, otypes=[float])
rated([1, 2])  # after which it keeps a function of numpy's

joined = numpy.frompyfunc(lambda first, second: f"{first}{second}" * RATE, 2, 1)
added = numpy.frompyfunc(lambda first, second: first + second, 2, 1, identity=0)
reordered = numpy.frompyfunc(lambda first, second: first + second, 2, 1, identity=None)

def reduced(ufunc, items, **options):
    try:
        return ufunc.reduce(numpy.array(items, dtype=object), **options)
    except ValueError:
        return "refused"

def tell(ufunc):
    # Only one that is told to have no identity may be reduced along several axes.
    return ufunc.__name__, ufunc.identity, reduced(ufunc, []), reduced(ufunc, [[1, 2]], axis=(0, 1))

def tasks():
    return [
        Task("rated", lambda: rated([1, 2]).tolist()),
        Task("joined", lambda: joined(["a", "b"], "c").tolist()),
        *(Task(f"argument-{i}", tell, args=(ufunc,)) for i, ufunc in enumerate((joined, added, reordered))),
        Task("library", lambda ufunc: ufunc is numpy.add, args=(numpy.add,)),
    ]
"""


def test_what_numpy_makes_of_functions_travels(tmp_path):
    pytest.importorskip("numpy")
    found = same_outcomes_of(VECTORIZED, tmp_path)
    assert found["rated"] == [3.0, 6.0]
    assert found["joined"] == ["acacac", "bcbcbc"]
    assert found["argument-0"] == ["<lambda> (vectorized)", None, "refused", "refused"]
    assert found["argument-1"] == ["<lambda> (vectorized)", 0, 0, 3]
    assert found["argument-2"] == ["<lambda> (vectorized)", None, "refused", 3]
    assert found["library"] is True


SCALARS = """
import numpy

class Length(numpy.float64):
    def __new__(cls, number, unit):
        made = super().__new__(cls, number * (1000 if unit == "km" else 1))
        made.unit = unit
        return made

class Place(numpy.str_):
    pass

class Own(numpy.int32):
    def __reduce__(self):
        return Own, (int(self) + 1,)

def make():
    return Length(2, "km"), Place("here"), numpy.array([Length(3, "m"), 1], object)

def tell(length, place, array):
    kinds = [type(one).__name__ for one in (length, place, array[0])]
    return kinds, float(length), length.unit, array[0].unit

GLOBAL = Length(4, "km")

def tasks():
    made = Process([Task("make", make)]).run(runner="process").results["make"]
    return [
        Task("returned", tell, args=made),
        Task("argument", tell, args=make()),
        Task("global", lambda: (float(GLOBAL), GLOBAL.unit)),
        Task("own-way", lambda own: (type(own).__name__, int(own)), args=(Own(5),)),
    ]
"""


def test_numbers_of_a_class_that_inherits_from_numpys_are_of_that_class(tmp_path):
    pytest.importorskip("numpy")
    _, found = outcomes_of(SCALARS, tmp_path)
    told = [["Length", "Place", "Length"], 2000.0, "km", "m"]
    assert found == {
        "returned": told,
        "argument": told,
        "global": [4000.0, "km"],
        "own-way": ["Own", 6],
    }


COMPILED = """
import multiprocessing, numba
from numpy import add

@numba.vectorize(["float64(float64)"], target="parallel")
def increased(x):
    return x + 1

def tasks():
    return [
        Task("numpy", lambda: float(add(1, 2))),
        Task("ufunc", lambda: float(increased(1.0))),
    ]
"""


def test_what_numba_compiles_of_a_script_into_a_ufunc_is_refused_by_its_name(tmp_path):
    pytest.importorskip("numba")
    in_order, on_a_worker = outcomes_of(COMPILED, tmp_path)
    assert in_order == {"numpy": 3.0, "ufunc": 2.0}
    assert on_a_worker["numpy"] == 3.0
    assert "func.__globals__['increased'] is a numpy.ufunc, which cannot" in on_a_worker["ufunc"]
