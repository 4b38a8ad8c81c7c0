"""Functions of one code, of which a worker gets the code once."""

from __future__ import annotations

import sys
import threading
from functools import partial, wraps
from operator import methodcaller
from types import FunctionType
from typing import Any

import pytest
from holding import SIZE, Holder, count_alive

from processes import Process, ProcessPoolRunner, SerializationError, Task
from processes.runners.pool.variants import MOST_BYTES, Patterns, make_variant


def sent(*functions: Any) -> list[Any]:
    """Send functions one after the other: those that travel as variants come back remade, others as None."""
    patterns = Patterns()
    made: list[Any] = []
    for function in functions:
        variant = patterns.variant(function)
        if variant is None:
            made.append(None)
            patterns.add(function)
        else:
            made.append(make_variant(variant.pattern, variant.data, variant.bound))
    return made


def adder(number: Any, other: Any = 0) -> Any:
    def add(value: int, *, twice: int = 1) -> Any:
        """Add."""
        return value + number + other * twice

    return add


def test_the_second_closure_of_a_code_is_a_variant_of_the_first():
    first, second = adder(1), adder(2, 10)
    none, remade = sent(first, second)
    assert none is None
    assert type(remade) is FunctionType
    assert remade(5) == second(5) == 17
    assert remade(5, twice=2) == 27
    for name in ("__code__", "__globals__", "__defaults__", "__kwdefaults__", "__dict__"):
        assert getattr(remade, name) == getattr(second, name), name
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(remade, name) == getattr(second, name), name
    assert wraps(remade)(lambda: None).__annotations__ == second.__annotations__


def test_lambdas_that_differ_in_their_defaults_are_variants():
    functions = [lambda value, number=number: value * number for number in range(3)]
    _, one, two = sent(*functions)
    assert (one(5), two(5)) == (5, 10)


DEFERRED = """
def adder(number):
    class Local:
        pass
    def add(value: Unknown, local: Local | None = None) -> list[Unknown]:
        return number + value
    def scale(value: Unknown) -> Unknown:
        return number * value
    return add, scale
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 annotations are evaluated at once")
def test_closures_may_be_annotated_with_what_nobody_knows():
    made: dict[str, Any] = {}
    exec(compile(DEFERRED, "deferred", "exec", dont_inherit=True), made)
    (add, scale), (another, scale_more) = made["adder"](1), made["adder"](2)
    none, remade = sent(scale, scale_more)
    assert none is None
    assert (remade(5), remade.__annotations__) == (10, {"value": "Unknown", "return": "Unknown"})
    assert sent(add, another) == [None, None]  # each has a class of its own


def decorated(function: Any) -> Any:
    function.mark = "x"
    return function


def annotated(kind: type) -> Any:
    def take(value: kind) -> kind:
        return value

    take.__annotations__ = {"value": kind}
    return take


def renamed(name: str) -> Any:
    function = adder(1)
    function.__name__ = name
    return function


def perhaps(is_bound: bool) -> Any:
    if is_bound:
        value = 1
    return lambda: value  # its cell may be empty


def with_keyword(value: object) -> Any:
    return lambda *, keyword=value: keyword


def with_defaults(*values: object) -> Any:
    function = adder(1)
    function.__defaults__ = values
    return function


LOCK = threading.Lock()
LOCKS = [threading.Lock()]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (adder, adder),
        (len, len),
        (adder(1), lambda: 1),
        (adder(1), decorated(adder(2))),
        (decorated(adder(1)), adder(2)),
        (annotated(int), annotated(str)),
        (renamed("a"), renamed("b")),
        (perhaps(False), perhaps(False)),
        (perhaps(True), perhaps(False)),
        (with_keyword(1), with_keyword(LOCK)),
        (with_keyword(1), with_keyword("x" * MOST_BYTES)),
        (with_defaults(1), with_defaults(1, 2)),
        (adder(1), adder(LOCKS)),
    ],
    ids=[
        "by reference",
        "builtin",
        "another code",
        "with an attribute",
        "of one with an attribute",
        "other annotations",
        "another name",
        "empty cells",
        "an empty cell",
        "a lock as the default of a keyword",
        "a long default of a keyword",
        "more defaults",
        "a global",
    ],
)
def test_what_differs_in_more_than_values_is_no_variant(first, second):
    assert sent(first, second) == [None, None]


@pytest.mark.parametrize(
    ("first", "second", "bound"),
    [
        (adder(1), adder(LOCKS[0]), (LOCKS[0],)),
        (adder(LOCKS[0]), adder(1), ()),
        (adder([1] * 1000), adder(1), ()),
        (adder(1), adder("x" * MOST_BYTES, 2), ("x" * MOST_BYTES, 2)),
        (adder(1), adder(len), (len,)),
        (adder(LOCKS[0]), adder(threading.Lock, 3), (threading.Lock,)),
    ],
    ids=["a lock", "of one with a lock", "of one with a list", "much", "a function", "another thing"],
)
def test_what_is_more_than_numbers_and_text_is_bound_to_the_empty_function(first, second, bound):
    patterns = Patterns()
    patterns.add(first)
    variant = patterns.variant(second)
    assert variant is not None
    assert variant.pattern.__closure__[0] is not first.__closure__[0]
    with pytest.raises(ValueError, match="empty"):
        _ = variant.pattern.__closure__[0].cell_contents
    assert len(variant.data) < 200
    assert variant.bound == bound
    remade = make_variant(variant.pattern, variant.data, variant.bound)
    assert [cell.cell_contents for cell in remade.__closure__] == [
        cell.cell_contents for cell in second.__closure__
    ]
    assert remade.__name__ == second.__name__


def test_what_closures_have_in_common_is_the_patterns():
    shared = [1] * 1000
    patterns = Patterns()
    functions = [lambda number=number, other=shared: (shared, number, other) for number in range(3)]
    patterns.add(functions[0])
    for function in functions[1:]:
        variant = patterns.variant(function)
        assert variant is not None
        assert variant.pattern is functions[0]
        assert variant.bound == ()
        assert len(variant.data) < 200
        remade = make_variant(variant.pattern, variant.data)
        assert remade() == function()
        assert remade()[0] is shared


def test_what_is_in_the_place_of_a_number_is_bound_with_what_closures_have_in_common():
    shared, lock = [threading.Lock()], threading.Lock()
    first, second = (lambda number=number, other=shared: (number, other) for number in (1, lock))
    patterns = Patterns()
    patterns.add(first)
    variant = patterns.variant(second)
    assert variant is not None
    assert variant.bound == (lock, shared)
    assert make_variant(variant.pattern, variant.data, variant.bound)() == (lock, shared)


def test_what_a_task_alone_has_bound_does_not_stay_in_the_worker():
    def make(how: str) -> Any:
        held = list(map(str, range(SIZE)))
        if how == "closure":
            return lambda: count_alive(held)
        if how == "default":
            return lambda held=held: count_alive(held)
        if how == "partial":
            return partial(count_alive, held)
        return Holder() if how == "object" else Holder().count

    with ProcessPoolRunner(1) as runner:
        for how in ("closure", "default", "partial", "method", "object"):
            report = Process([Task(f"t{number}", make(how)) for number in range(6)]).run(runner=runner)
            report.raise_for_errors()
            # One is there, and that of the first closure, which brings the code.
            assert max(report.results.values()) <= 2, how


def test_what_several_tasks_call_remembers_on_its_worker():
    calls: list[int] = []

    def count(calls: list[int]) -> int:
        calls.append(1)
        return len(calls)

    function = partial(count, calls)
    tasks = [Task(f"t{number}", function) for number in range(5)]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert list(report.results.values()) == [1, 2, 3, 4, 5]


def test_whatever_is_bound_is_called_as_at_home(shared_workers):
    class Base:
        def __init__(self, number: int) -> None:
            self.number = number

        def add(self, *others: int, factor: int = 1) -> int:
            return (self.number + sum(others)) * factor

        @classmethod
        def make(cls, number: int) -> str:
            return f"{cls.__name__} {number}"

        @staticmethod
        def negate(number: int) -> int:
            return -number

    class Derived(Base):
        def add(self, *others: int, factor: int = 1) -> int:
            return super().add(*others, factor=factor) + 1000

        def __call__(self, number: int) -> int:
            return self.number * number

    class Proxy:
        """Stands for a function, and arrives as that; so do tasks of Celery."""

        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, number: int) -> Any:
            return methodcaller(self.name)(number)

        def __reduce__(self) -> tuple[Any, ...]:
            return methodcaller, (self.name,)

    class Counting(type):
        def __call__(cls, *args: int) -> tuple[str, tuple[int, ...]]:
            return cls.__name__, args

    class Made(metaclass=Counting):
        pass

    functions = [
        Base(1).add,
        Derived(2).add,
        Derived.make,
        Derived.negate,
        Derived(3),
        Made,
        "text: {}".format,
        partial(Derived(4).add, 10, factor=2),
        partial(partial(Derived(5).add, [1][0], factor=3), 7, factor=4),
        partial(Base.add, Base(6)),
        [1, 2, 3].count,
        Proxy("bit_length"),
        Proxy("bit_count"),
    ]
    tasks = [
        Task(f"t{number}-{again}", function, args=(3,))
        for number, function in enumerate(functions)
        for again in range(2 if number % 2 else 1)
    ]
    report = Process(tasks).run(runner="process", max_workers=2)
    report.raise_for_errors()
    assert report.results == Process(tasks).run(runner="sequential").results


def test_the_error_names_what_a_function_is_bound_to():
    tasks = [
        Task("fine", partial(len, ["x"])),
        Task("partial", partial(len, LOCK)),
        Task("closure", adder(LOCK), args=(1,)),
        Task("other-closure", adder(LOCK), args=(1,)),
    ]
    errors = Process(tasks).run(runner="process", max_workers=1).exceptions
    assert {name: error.path for name, error in errors.items()} == {
        "partial": "func.args[0]",
        "closure": "func.__closure__['number']",
        "other-closure": "func.__closure__['number']",
    }


def test_closures_run_on_workers_as_they_do_here(shared_workers):
    functions = [adder(number, number * 100) for number in range(200)]
    tasks = [Task(f"t{number}", function, args=(1000,)) for number, function in enumerate(functions)]
    report = Process(tasks).run(runner="process")
    assert list(report.results.values()) == [function(1000) for function in functions]


def test_closures_get_large_arguments():
    data = b"x" * (2 << 20)
    functions = [lambda value, number=number: len(value) + number for number in range(4)]
    tasks = [Task(f"t{number}", function, args=(data,)) for number, function in enumerate(functions)]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert list(report.results.values()) == [len(data) + number for number in range(4)]


def test_a_closure_that_cannot_travel_fails_alone():
    values = [1, threading.Lock(), 2, threading.Lock(), 3]
    tasks = [Task(f"t{place}", adder(value), args=(1,)) for place, value in enumerate(values)]
    for order in (tasks, tasks[1:]):
        report = Process(list(order)).run(runner="process", max_workers=1)
        assert sorted(report.errored) == ["t1", "t3"]
        assert all(type(error) is SerializationError for error in report.exceptions.values())


def counter(start: int) -> Any:
    count = [start]

    def step() -> int:
        count[0] += 1
        return count[0]

    return step


def number_counter(start: int) -> Any:
    count = start

    def step() -> int:
        nonlocal count
        count += 1
        return count

    return step


@pytest.mark.parametrize("make", [counter, number_counter])
def test_what_a_closure_keeps_lasts_on_its_worker(make):
    one, two = make(0), make(100)
    tasks = [Task(f"{name}{n}", function) for n in range(3) for name, function in (("a", one), ("b", two))]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert list(report.results.values()) == [1, 101, 2, 102, 3, 103]


def failing(number: int) -> Any:
    def divide() -> float:
        return number / 0

    return divide


def test_failures_of_closures_read_alike_wherever_they_run(shared_workers):
    tasks = [Task(f"t{number}", failing(number)) for number in range(4)]
    here, there = (Process(list(tasks)).run(runner=runner) for runner in ("sequential", "process"))
    for name, entry in here.entries.items():
        other = there.entries[name].error
        assert entry.error is not None
        assert other is not None
        assert entry.error.traceback_str == other.traceback_str
        assert entry.error.traced_vars == other.traced_vars


def test_warm_workers_know_the_patterns_of_their_own_run_alone():
    with ProcessPoolRunner(1) as runner:
        for start in (0, 1000):
            tasks = [Task(f"t{number}", adder(start + number), args=(1,)) for number in range(5)]
            report = Process(tasks).run(runner=runner)
            assert list(report.results.values()) == [start + number + 1 for number in range(5)]
