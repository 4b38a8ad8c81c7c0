"""Large arguments and results on worker processes: private, writable, never copied in vain, nothing left."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import (
    MB,
    Index,
    Number,
    give_back,
    holds_and_fails,
    look_at,
    look_up,
    own_memory_of_worker,
    ramp,
    read_or_scribble,
    scribble,
)
from faulty_runs import run_in_new_python, time_limit
from interpreters import HAS_GIL
from programs import output_of, wait_until

from processes import (
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    SerializationError,
    Task,
    TaskDependency,
    TaskFinished,
    WorkerDiedError,
    results_of,
)
from processes.runners.pool import buffers, descriptors, functions, mappings, wire


def run(runner: ProcessPoolRunner, *tasks: Task, **arguments: Any) -> ProcessExecutionReport:
    report = Process(list(tasks)).run(runner=runner, **arguments)
    report.raise_for_errors()
    return report


def values_of(kind: str) -> Any:
    array = np.arange(60_000, dtype=np.int64)
    if kind == "array":
        return array
    if kind == "array in columns":
        return np.asfortranarray(array.reshape(3, -1))
    if kind == "every second item":
        return np.arange(120_000)[::2]
    if kind == "read-only array":
        array.flags.writeable = False
        return array
    if kind == "bytes":
        return os.urandom(MB // 2)
    if kind == "bytearray":
        return bytearray(os.urandom(MB // 2))
    if kind == "text":
        return "é" * (MB // 2)
    if kind == "nested":
        return {"a": [array, (array, b"x" * (MB // 2))], "b": {"c": array * 2}, "small": [1, "two"]}
    if kind == "many small things":
        return [f"{number:0100}" for number in range(5_000)]
    if kind == "DataFrame":
        import pandas as pd  # here, because workers import this module

        return pd.DataFrame({"a": array, "b": array * 0.5, "c": array})
    assert kind == "Arrow table"
    import pyarrow as pa

    return pa.table({"a": array, "b": array * 0.5})


KINDS = [
    "array",
    "array in columns",
    "every second item",
    "read-only array",
    "bytes",
    "bytearray",
    "text",
    "nested",
    "many small things",
    "DataFrame",
    "Arrow table",
]


def same(one: Any, other: Any) -> bool:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        return bool((one == other).all()) and one.flags.writeable == other.flags.writeable
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return bool(one.equals(other)) if hasattr(one, "equals") else bool(one == other)


@pytest.mark.parametrize("way", ["out of band", "in band"])
@pytest.mark.parametrize("kind", KINDS)
def test_large_values_arrive_as_they_were_both_ways_and_at_dependants(kind, way, monkeypatch, workers):
    if way == "in band":
        monkeypatch.setattr(buffers, "_MOST_FILES", 0)  # of the parent: arguments and what it passes on
    value = values_of(kind)
    report = run(
        workers,
        Task("first", give_back, args=(value, 1)),
        Task("second", give_back, dependencies=results_of("first")),
        Task("third", give_back, dependencies=results_of("second", "first")),
    )
    for name, result in report.results.items():
        assert same(result, value), name


@pytest.mark.parametrize("size", [1_000, 60_000, 70_000, 500_000, 1_000_000, 1_100_000])
def test_data_of_every_size_arrives_both_ways_and_at_dependants(size, workers):
    import pandas as pd
    import pyarrow as pa

    array = np.arange(size // 8, dtype=np.float64)
    frame = pd.DataFrame({"number": array, "text": [str(number) for number in range(len(array))]})
    values = {
        "array": array,
        "frame": frame,
        "table": pa.table({"number": array}),
        "bytes": array.tobytes(),
        "bytearray": bytearray(array.tobytes()),
        "mixed": [array, bytes(size), {"large": ramp(2), "frame": frame[["number"]]}],
    }
    tasks = []
    for name, value in values.items():
        tasks.append(Task(name, give_back, args=(value,)))
        tasks.append(Task(f"{name}-on", give_back, dependencies=results_of(name)))
        tasks.append(Task(f"{name}-bound", partial(give_back, value)))
    results = run(workers, *tasks).results
    for name, value in values.items():
        assert same(results[name], value)
        assert same(results[f"{name}-on"], value)
        assert same(results[f"{name}-bound"], value)


def test_workers_stay_warm_though_the_lines_of_some_did_not_reach_them():
    # More in line than a socket holds: at the end of a run, who is idle takes over what another has not got.
    value = bytes(300_000)
    pids = set()
    with ProcessPoolRunner(2) as runner:
        for _ in range(5):
            report = run(runner, *(Task(f"t{n}", give_back, args=(value, n)) for n in range(30)))
            assert set(report.results.values()) == {value}
            pids |= {metrics.pid for metrics in report.metrics.values()}
    assert len(pids) == 2


def test_every_consumer_may_write_and_nobody_else_sees_it(workers):
    tasks = [
        Task("make", ramp, args=(4,)),
        *(
            Task(f"use-{n}", scribble, kwargs={"number": n}, dependencies=results_of("make"))
            for n in range(6)
        ),
    ]
    report = run(workers, *tasks)
    expected = (float(ramp(4).sum()), True)
    assert {name: value for name, value in report.results.items() if name != "make"} == {
        f"use-{n}": expected for n in range(6)
    }
    made = report.results["make"]
    assert (made == ramp(4)).all()
    made[:] = 0  # the report's own is writable too


def test_who_comes_after_one_that_wrote_sees_nothing_of_it_and_an_idle_worker_holds_nothing():
    array = ramp(4)
    tasks = [
        Task(f"t{number:02}", read_or_scribble, args=(array, number), priority=-number)
        for number in range(60)
    ]
    tasks.append(Task("pid", os.getpid))
    with ProcessPoolRunner(1) as runner:
        results = run(runner, *tasks).results
        maps = Path(f"/proc/{results.pop('pid')}/maps")
        assert set(results.values()) == {(float(array.sum()), True)}
        deadline = time.monotonic() + 30
        while "processes-data" in maps.read_text():
            assert time.monotonic() < deadline


@pytest.fixture
def spares(monkeypatch):
    """Spare mappings are kept, as in a worker."""
    monkeypatch.setattr(mappings, "_keeps_spares", True)
    yield
    mappings.drop_spares()


def test_a_mapping_that_nobody_wrote_to_serves_the_next_who_needs_the_file(spares):
    written = buffers.write_file([memoryview(ramp(4)).cast("B")])
    assert written is not None
    file, _ = written
    addresses = []
    for number in range(6):
        array = np.frombuffer(file.map(), dtype=np.float64)
        assert (array == ramp(4)).all()
        addresses.append(array.ctypes.data)
        if number == 2:
            array[12_345] = -1
        del array
    other, again = file.map(), file.map()  # at a time
    other[0] = again[1] = 255
    assert other[1] == again[0] == 0
    del other, again
    assert (np.frombuffer(file.map(), dtype=np.float64) == ramp(4)).all()
    if os.access("/proc/self/pagemap", os.R_OK):
        assert addresses[0] == addresses[1] == addresses[2]
        assert addresses[3] == addresses[4] == addresses[5]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="other files may not be as large")
def test_a_file_that_there_is_no_room_to_map_is_an_error():
    with open(os.memfd_create("larger than any address space"), "wb") as file:
        file.truncate(1 << 62)
        with pytest.raises(OSError, match="mmap"):
            mappings.map_privately(file.fileno())


def test_beyond_so_many_mappings_data_is_copied(monkeypatch, workers):
    gc.collect()
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", len(mappings._mapped) + 3)
    report = run(workers, *(Task(f"t{n}", np.full, args=(50_000, n)) for n in range(12)))
    assert [float(array.sum()) for array in report.results.values()] == [50_000.0 * n for n in range(12)]
    assert all(array.flags.writeable for array in report.results.values())
    assert len(mappings._mapped) == mappings.MOST_MAPPINGS
    del report
    gc.collect()
    assert len(mappings._mapped) == mappings.MOST_MAPPINGS - 3


@pytest.fixture
def written(monkeypatch):
    """Grows with each file that this process writes for large data."""
    files = []
    write_file = buffers.write_file
    monkeypatch.setattr(
        "processes.runners.pool.parcel.write_file", lambda memories: files.append(1) or write_file(memories)
    )
    return files


def test_an_argument_of_many_tasks_is_written_once_and_private_to_each(written, workers):
    shared = {"arrays": [ramp(2), ramp(3)]}
    array = shared["arrays"][0]
    text = b"x" * MB

    def use(first: np.ndarray, everything: dict[str, list[np.ndarray]], text: bytes, number: int) -> bool:
        assert first is everything["arrays"][0]
        assert text == b"x" * MB
        return scribble(first, number) == (float(ramp(2).sum()), True)

    report = run(workers, *(Task(f"t{n}", use, args=(array, shared, text, n)) for n in range(20)))
    assert set(report.results.values()) == {True}
    assert len(written) == 1
    assert (array == ramp(2)).all()


def test_an_array_in_a_file_is_opened_in_the_worker_and_not_copied(tmp_path, written, workers):
    path = tmp_path / "array"
    ramp(2).tofile(path)
    shape = (-1, 512)
    size = path.stat().st_size // 8 // 512
    inside = np.memmap(path, np.int64, "r", 4096 + 8, (size * 512 - 513,))
    rows = np.memmap(path, np.int64, "r+", 0, (size, 512))
    columns = np.memmap(path, np.int64, "r", 0, (size, 512), "F")
    arrays = [inside, inside[7:-7], rows, rows[3:], rows[3:].reshape(shape), columns, columns[:, 3:], rows.T]
    report = run(workers, *(Task(f"t{n}", look_at, args=(array,)) for n, array in enumerate(arrays)))
    assert list(report.results.values()) == list(map(look_at, arrays))
    assert not written, "an array was copied"

    # Others go as all arrays do.
    private = np.memmap(path, np.int64, "c", 0, (size, 512))
    private[0] = -1
    others = [rows[::2], rows[:, 5:9], rows + 1, private, columns[::-1]]
    report = run(workers, *(Task(f"t{n}", np.sum, args=(array,)) for n, array in enumerate(others)))
    assert list(report.results.values()) == [array.sum() for array in others]

    def write(array: np.ndarray) -> np.ndarray:
        array[:] = 7
        return array

    def make(folder: Path, *, remove: bool) -> np.ndarray:
        made = np.memmap(folder / f"made-{remove}", np.int64, "w+", 0, (1000,))
        made[:] = 5
        if remove:
            (folder / f"made-{remove}").unlink()
        return made

    report = run(
        workers,
        Task("write", write, args=(rows[4:6],)),
        Task("stays", make, args=(tmp_path,), kwargs={"remove": False}),
        Task("goes", make, args=(tmp_path,), kwargs={"remove": True}),
        *(
            Task(f"sum-{name}", np.sum, dependencies=[TaskDependency(name, True)])
            for name in ("stays", "goes")
        ),
    )
    assert (rows[4:6] == 7).all(), "what is written to the file is not in it"
    results = report.results
    assert results["write"].filename == str(path)
    assert {results["sum-stays"], results["sum-goes"], results["stays"].sum(), results["goes"].sum()} == {
        5000
    }


def test_an_array_in_a_file_is_the_one_that_was_opened(tmp_path, workers):
    name = os.fsdecode(b"no UTF-8: \xe9") if sys.platform == "linux" else "array"
    path, other = tmp_path / name, tmp_path / "other"
    np.zeros(1000).tofile(path)
    np.ones(1000).tofile(other)
    opened = np.memmap(path, np.float64, "r")
    other.replace(path)
    assert run(workers, Task("sum", np.sum, args=(opened,))).results == {"sum": 0.0}


@pytest.mark.parametrize("comes", ["literally", "as a result", "with others"])
def test_an_argument_of_many_small_things_is_taken_apart_once_for_many_tasks(comes, monkeypatch, workers):
    monkeypatch.setattr(Index, "taken_apart", 0)
    index = Index(20_000)
    source, given = [], {"args": (index,)}
    if comes == "as a result":
        source = [Task("index", lambda: index, runner="thread")]
        given = {"dependencies": results_of("index")}
    number = Number(7) if comes == "with others" else 7
    tasks = [Task(f"t{n}", look_up, kwargs={"number": number}, **given) for n in range(30)]
    report = run(workers, *source, *tasks)
    report.raise_for_errors()
    assert {report.results[task.name] for task in tasks} == {("word 7", True)}
    assert index.words[7] == "word 7"
    # Once to see that it is large, and once by itself; should all that have it have ended, once more.
    assert 2 <= Index.taken_apart <= 10


def test_what_two_arguments_have_in_common_stays_one_object(workers):
    index = Index(20_000)
    tasks = [Task(f"t{n}", look_up, args=(index, n), kwargs={"also": index.first}) for n in range(10)]
    report = run(workers, *tasks)
    assert list(report.results.values()) == [(f"word {n}", True) for n in range(10)]


def test_large_arguments_are_not_serialized_long_before_their_turn(monkeypatch, workers):
    monkeypatch.setattr(Index, "taken_apart", 0)
    index = Index(50_000)
    ahead = []

    def look(event: object) -> None:
        if isinstance(event, TaskFinished):
            ahead.append(Index.taken_apart - len(ahead))

    tasks = [Task(f"t{n}", lambda pair: pair[1], args=((index, n),)) for n in range(100)]
    report = run(workers, *tasks, observers=[look])
    assert list(report.results.values()) == list(range(100))
    assert max(ahead) < 40


def test_tables_of_text_are_taken_apart_once_each(monkeypatch, workers):
    import pandas as pd

    words = pd.DataFrame({"word": [f"word {number}" for number in range(30_000)]}, dtype=object)
    others = pd.Series([f"other {number}" for number in range(30_000)], dtype=object)
    dumped = []
    dump = functions.dump
    monkeypatch.setattr(
        "processes.runners.pool.functions.dump",
        lambda value, **options: dumped.append(value) or dump(value, **options),
    )

    def count(
        words: pd.DataFrame, others: pd.Series, column: str, *, again: pd.Series
    ) -> tuple[int, int, bool]:
        return len(words[column]), len(others), again is others

    given = {"args": (words, others, "word"), "kwargs": {"again": others}}
    report = run(workers, *(Task(f"t{n}", count, **given) for n in range(20)))
    report.raise_for_errors()
    assert set(report.results.values()) == {(30_000, 30_000, True)}
    assert sum(value is words for value in dumped) <= 5


def test_large_data_that_functions_bring_is_written_once_and_private_to_each(written, workers):
    array = ramp(4)

    def read() -> float:
        return float(array.sum())

    def write() -> tuple[float, bool]:
        return scribble(array)

    expected = (float(array.sum()), True)
    report = run(
        workers,
        *(Task(f"bound-{n}", partial(scribble, array, n)) for n in range(8)),
        *(Task(f"read-{n}", read) for n in range(4)),
        Task("write", write),
    )
    results = report.results
    assert {results.pop(f"read-{n}") for n in range(4)} == {expected[0]}
    assert set(results.values()) == {expected}
    assert len(written) == 1
    assert (array == ramp(4)).all()


def test_a_large_function_goes_to_who_takes_the_place_of_a_worker_that_died(tmp_path):
    def die_once(array: np.ndarray) -> float:
        if not (tmp_path / "marker").exists():
            (tmp_path / "marker").touch()
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return float(array.sum())

    report = Process([Task("t", partial(die_once, ramp(2)), retries=1)]).run(runner="process", max_workers=1)
    assert report.results == {"t": float(ramp(2).sum())}
    assert report.entries["t"].attempts == 2


class Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_a_large_function_that_cannot_be_loaded_fails_each_of_its_tasks_and_holds_nothing():
    def open_descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    refused = partial(scribble, ramp(2), Unreadable())
    with ProcessPoolRunner(1) as runner:
        counts = [run(runner, Task("count", open_descriptors)).results["count"] for _ in range(2)]
        report = Process(
            [*(Task(f"t{n}", refused, args=(ramp(2),)) for n in range(4)), Task("count", open_descriptors)]
        ).run(runner=runner)
        counts.append(run(runner, Task("count", open_descriptors)).results["count"])
    for name, error in report.exceptions.items():
        assert type(error) is SerializationError
        assert f"Task {name!r}: func arrived, but could not be deserialized" in str(error)
    assert len(report.exceptions) == 4
    assert counts[1] == counts[2]


def test_one_result_at_two_places_of_a_call_is_one_object(workers):
    dependency = TaskDependency("make", True, True, "again")
    report = run(
        workers,
        Task("make", ramp, args=(2,)),
        Task("use", lambda one, again: one is again, dependencies=[dependency]),
    )
    assert report.results["use"] is True


class Noting:
    """Notes in each process how many of it were pickled there."""

    pickled = 0

    def __getstate__(self) -> None:
        Noting.pickled += 1


def test_a_result_of_many_objects_goes_on_as_it_was_serialized(workers):
    make = Task("make", lambda: [Noting() for _ in range(2_000)])
    uses = [Task(f"use-{n}", len, dependencies=results_of("make")) for n in range(2)]
    report = run(workers, make, *uses)
    assert [report.results[task.name] for task in uses] == [2_000, 2_000]
    assert Noting.pickled == 0


def test_arguments_keep_their_order_when_large_and_small_results_are_mixed(workers):
    tasks = [
        Task("large", ramp, args=(2,)),
        Task("small", abs, args=(-7,)),
        Task("also-large", bytes, args=(2 * MB,)),
        Task(
            "use",
            lambda *args, **kwargs: ([type(arg).__name__ for arg in args], list(kwargs)),
            args=("own",),
            kwargs={"k": 1},
            dependencies=[
                *results_of("large", "small", "also-large"),
            ],
        ),
    ]
    assert run(workers, *tasks).results["use"] == (["str", "ndarray", "int", "bytes"], ["k"])


@pytest.mark.parametrize("reads_itself", [False, True])
def test_a_large_object_of_the_programs_own_class_goes_on_as_it_came(reads_itself, written, workers):
    class State:  # local, so that it goes by value
        def __init__(self, array: np.ndarray) -> None:
            self.array = array
            self.next: Any = None

    class Reading(State):
        def __setstate__(self, state: dict[str, Any]) -> None:
            vars(self).update(state)

    kind = Reading if reads_itself else State

    def make_one() -> State:
        state = kind(ramp(2))
        state.next = [state, State(ramp(1))]
        return state

    def use(state: State, number: int) -> tuple[bool, tuple[float, bool]]:
        return type(state) is kind and state.next[0] is state, scribble(state.array, number)

    with ProcessPoolRunner(1) as other_workers:
        report = run(
            workers,
            Task("make", make_one),
            *(Task(f"use-{n}", use, kwargs={"number": n}, dependencies=results_of("make")) for n in range(6)),
            Task(
                "elsewhere", use, kwargs={"number": 7}, dependencies=results_of("make"), runner=other_workers
            ),
            Task(
                "thread", lambda state: type(state) is kind, dependencies=results_of("make"), runner="thread"
            ),
        )
    report.raise_for_errors()
    results = report.results
    state = results.pop("make")
    assert results.pop("thread")
    assert set(results.values()) == {(True, (float(ramp(2).sum()), True))}
    assert type(state) is kind
    assert (state.array == ramp(2)).all()
    assert not written, "it was serialized anew"


def test_a_large_exception_of_the_programs_own_classes_goes_on_as_it_came(workers):
    class Part:  # local, so that it goes by value
        data = b""

    class Refused(Exception):
        part = b""

    def with_part() -> Exception:
        error = ValueError("refused")
        error.part = Part()  # type: ignore[attr-defined]
        error.part.data = bytes(2 * MB)  # type: ignore[attr-defined]
        return error

    def own() -> Exception:
        error = Refused("refused")
        error.part = bytes(2 * MB)
        return error

    def kinds(error: Any) -> tuple[str, str]:
        return type(error).__name__, type(error.part).__name__

    with ProcessPoolRunner(1) as others:
        report = run(
            workers,
            Task("with-part", with_part),
            Task("own", own),
            Task("use-part", kinds, dependencies=results_of("with-part"), runner=others),
            Task("use-own", kinds, dependencies=results_of("own"), runner=others),
        )
    assert report.results["use-part"] == ("ValueError", "Part")
    assert report.results["use-own"] == ("Refused", "bytes")


def test_results_pass_between_runners(workers):
    tasks = [
        Task("made-in-process", ramp, args=(2,)),
        Task("made-in-thread", ramp, args=(3,), runner="thread"),
        Task("in-thread", scribble, dependencies=results_of("made-in-process"), runner="thread"),
        Task("in-process", scribble, dependencies=results_of("made-in-thread")),
        Task("beside", scribble, dependencies=results_of("made-in-process")),
    ]
    report = run(workers, *tasks)
    assert report.results["in-process"] == (float(ramp(3).sum()), True)
    assert report.results["in-thread"] == report.results["beside"] == (float(ramp(2).sum()), True)
    assert (report.results["made-in-thread"] == ramp(3)).all()


def test_observers_and_streams_see_plain_values(workers):
    seen = {}

    def observe(event):
        if isinstance(event, TaskFinished):
            seen[event.name] = event.result.result

    with Process([Task("make", ramp, args=(2,))]).stream(runner=workers, observers=[observe]) as stream:
        entries = [entry.result for entry in stream]
    assert (entries[0] == ramp(2)).all()
    assert (seen["make"] == ramp(2)).all()


def test_a_failure_shows_the_large_result_that_it_was_given(workers):
    tasks = [
        Task("make", ramp, args=(2,)),
        Task("fail", lambda array: array[MB * 100], dependencies=results_of("make")),
    ]
    error = Process(tasks).run(runner=workers).errored["fail"].error
    assert (error.args[0] == ramp(2)).all()


def test_a_result_that_is_not_kept_is_let_go_with_its_last_dependant(workers):
    open_files = []

    def observe(event):
        if isinstance(event, TaskFinished):
            open_files.append(len(buffers._open_files))

    tasks = [Task("t0", ramp, args=(2,), keep_result=False)]
    for n in range(1, 8):
        tasks.append(Task(f"t{n}", give_back, dependencies=results_of(f"t{n - 1}"), keep_result=False))
    report = run(workers, *tasks, observers=[observe])
    assert set(report.results.values()) == {None}
    assert max(open_files) <= 3
    assert not buffers._open_files


def test_a_thread_that_waits_for_its_next_task_holds_nothing_of_the_last():
    both_run, is_gone = threading.Barrier(2), threading.Event()

    def make() -> np.ndarray:
        array = ramp(2)
        weakref.finalize(array, is_gone.set)
        return array

    def use(array: np.ndarray) -> None:
        both_run.wait(60)

    def work_on() -> bool:
        both_run.wait(60)
        return is_gone.wait(60)

    tasks = [
        Task("make", make, keep_result=False),
        Task("use", use, dependencies=results_of("make")),
        Task("work-on", work_on),
    ]
    report = Process(tasks).run(runner="thread", max_workers=2)
    report.raise_for_errors()
    assert report.results["work-on"]


@pytest.mark.parametrize("runner", ["thread", "sequential"])
def test_an_attempt_that_is_tried_again_holds_nothing_once_its_task_has_ended(runner):
    if runner == "thread" and not HAS_GIL:
        pytest.skip("without the GIL it is freed by the thread that made it, once that goes on")
    made: list[weakref.ref[Any]] = []
    calls = []

    def make() -> np.ndarray:
        array = ramp(2)
        made.append(weakref.ref(array))
        return array

    def use(array: np.ndarray) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("again")

    tasks = [
        Task("make", make, keep_result=False),
        Task("use", use, dependencies=results_of("make"), retries=1),
        Task("is-gone", lambda: made[0]() is None, dependencies=[TaskDependency("use")]),
    ]
    gc.disable()  # nothing is to wait for it: it comes by the number of objects, however large they are
    try:
        report = Process(tasks).run(runner=runner, max_workers=1)
    finally:
        gc.enable()
    report.raise_for_errors()
    assert report.results["is-gone"]


def test_a_worker_that_dies_with_large_data_costs_its_own_attempt(tmp_path):
    def kill_once(array: np.ndarray, marker: str) -> float:
        array[:] = 1
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return float(array.sum())

    def die_sending() -> np.ndarray:
        pwrite = os.pwrite

        def write_some_and_die(descriptor: int, data: memoryview, offset: int) -> int:
            pwrite(descriptor, data[: len(data) // 2], offset)
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
            return 0

        os.pwrite = write_some_and_die  # what large data is written with
        return ramp(8)

    tasks = [
        Task("make", ramp, args=(8,)),
        Task(
            "again",
            kill_once,
            kwargs={"marker": str(tmp_path / "m")},
            dependencies=results_of("make"),
            retries=1,
        ),
        Task("sending", die_sending),
        *(Task(f"use-{n}", scribble, dependencies=results_of("make")) for n in range(4)),
    ]
    report = Process(tasks).run(runner="process", max_workers=2)
    assert report.results["again"] == MB
    assert type(report.exceptions["sending"]) is WorkerDiedError
    assert len(report.successes) == 6


@pytest.mark.parametrize("free", [1, 2])
def test_a_worker_with_few_descriptors_gets_its_data_in_band(free):
    def use_up() -> int:
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))  # a system may allow a million
        found = []
        with suppress(OSError):
            while True:
                found.append(os.dup(0))
        for descriptor in found[-free - descriptors.SOME :]:
            os.close(descriptor)
        return os.getpid()  # and leaves the others open

    def total(array: np.ndarray) -> tuple[float, int]:
        return float(array.sum()), os.getpid()

    beside = ramp(2)

    def both(array: np.ndarray) -> tuple[float, int]:
        return float(array.sum() + beside.sum()) / 2, os.getpid()

    def alone() -> tuple[float, int]:
        return float(beside.sum()), os.getpid()

    with ProcessPoolRunner(1) as runner:
        pid = run(runner, Task("use-up", use_up)).results["use-up"]
        report = run(
            runner,
            *(Task(f"t{n}", total, args=(ramp(2),)) for n in range(3)),
            *(Task(f"t-bound-{n}", partial(total, ramp(2)), timeout=60) for n in range(3)),
            Task("t-alone", alone),
            *(Task(f"t-both-{n}", both, args=(ramp(2),)) for n in range(3)),
            Task("back", ramp, args=(2,)),
            Task("on", scribble, dependencies=results_of("back")),
        )
    assert {value for name, value in report.results.items() if name[0] == "t"} == {
        (float(ramp(2).sum()), pid)
    }
    assert report.results["on"][1]
    assert (report.results["back"] == ramp(2)).all()


@pytest.mark.parametrize("size", [7, 1_000, wire.FILLED_IN_PLACE + 30, 1 << 20])
def test_frames_arrive_whole_in_whatever_pieces_a_socket_gives_them(size):
    sent = [(wire.RECORD, 1, b""), (wire.RESULT, 2, b"small"), (wire.RESULT, 3, os.urandom(20_000))]
    sent *= 2
    stream = b"".join(piece for frame in sent for piece in wire.frame(*frame))
    ours, theirs = wire.socket_pair()
    with closing(ours), closing(theirs):
        reader = wire.FrameReader(ours)
        for start in range(0, len(stream), size):
            theirs.sendall(stream[start : start + size])
            with suppress(BlockingIOError):
                while reader.receive():
                    pass
    assert [(kind, ticket, bytes(body)) for kind, ticket, body in reader.frames] == sent


def test_descriptors_that_arrive_are_for_this_process_alone(monkeypatch):
    monkeypatch.setattr(wire, "_CLOEXEC", 0)  # as on macOS
    one, other = wire.socket_pair()
    with closing(one), closing(other), open(os.devnull) as file:
        assert wire.send_descriptors(one, [file.fileno()])
        (descriptor,) = wire.receive_descriptors(other)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


@pytest.mark.skipif(not wire.CAN_SEND_DESCRIPTORS, reason="there is no side channel")
def test_a_socket_is_read_from_its_first_frame_on_where_there_is_no_descriptor_for_a_side_channel():
    import resource

    one, other = wire.socket_pair()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(one), closing(other):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            ours = wire.open_side_channel(one)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        one.sendall(wire.frame(wire.READY, 7, b"body")[0])
        theirs = wire.take_side_channel(other)
        reader = wire.FrameReader(other)
        reader.receive()
    assert (ours, theirs, list(reader.frames)) == (None, None, [(wire.READY, 7, b"body")])


def test_a_file_that_cannot_be_mapped_is_read(monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)  # some systems lack it
    data = memoryview(os.urandom(200_001))
    file, _ = buffers.write_file([data])
    assert buffers._read(file.descriptor, len(data)) == data


# As Python is where it was built on a machine that had no libffi.
NO_CTYPES = """
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "_ctypes" else find_spec(name, *rest)
"""

PROGRAM_WITHOUT_CTYPES = """
from processes import Process, Task, results_of

def lacks_ctypes():
    try:
        import ctypes
    except ImportError:
        return True

def make():
    return bytearray(1_000_000)

def scribble(data, number):
    data[number] += 1
    return sum(data)

tasks = [
    Task("lacks", lacks_ctypes),
    Task("make", make),
    *(Task(f"use-{n}", scribble, kwargs={"number": n}, dependencies=results_of("make")) for n in range(3)),
    Task("texts", list, args=(list(map(str, range(100_000))),)),
]
report = Process(tasks).run(runner="process", max_workers=2, checkpoint="run.ckpt")
report.raise_for_errors()
used = [report.results[f"use-{n}"] for n in range(3)]
print(report.results["lacks"], used, len(report.results["texts"]))
"""


def test_a_python_without_ctypes_reads_large_data(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_CTYPES)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM_WITHOUT_CTYPES]
    assert output_of(command, cwd=tmp_path, env=environment) == "True [1, 1, 1] 100000\n"


PROGRAM_WITHOUT_ROOM = """
import resource
import numpy as np
from processes import Process, Task, TaskDependency
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))  # no file may grow beyond 64 KB: ENOSPC, EFBIG
array = np.arange(500_000)
tasks = [Task("make", np.arange, args=(500_000,))]
tasks += [Task("global", lambda: 2 * float(array.sum()))]
tasks += [Task(f"t{n}", lambda a, b: float(a.sum() + b.sum()), args=(array,), dependencies=[
    TaskDependency("make", True)]) for n in range(4)]
report = Process(tasks).run(runner="process", max_workers=1)
report.raise_for_errors()
print({value for name, value in report.results.items() if name != "make"} == {2 * float(array.sum())})
"""


def test_where_no_file_can_be_written_data_goes_in_band():
    # Where there is no room for compiled code either, Python may leave half of it, for all programs.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROGRAM_WITHOUT_ROOM]
    assert output_of(command, env=environment) == "True\n"


def refuse_beyond(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to send to new workers, or to write, more bytes at once, in this process."""
    make_pair, pwrite = wire.socket_pair, os.pwrite

    class Refusing(socket.socket):
        def send(self, data: bytes, *flags: int) -> int:
            if len(data) > most:
                raise OSError(errno.EINVAL, "Invalid argument")
            return super().send(data, *flags)

    def refusing_pair() -> tuple[socket.socket, socket.socket]:
        ours, theirs = (Refusing(fileno=end.detach()) for end in make_pair())
        return ours, theirs

    def refusing_pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > most:
            raise OSError(errno.EINVAL, "Invalid argument")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(wire, "socket_pair", refusing_pair)
    monkeypatch.setattr(os, "pwrite", refusing_pwrite)


def test_no_more_is_sent_or_written_at_once_than_a_system_may_take(monkeypatch):
    monkeypatch.setattr(wire, "MOST_AT_ONCE", MB)
    refuse_beyond(MB, monkeypatch)
    with ProcessPoolRunner(1) as runner, time_limit(120):
        written = run(runner, Task("length", lambda array: array.nbytes, args=(ramp(5),)))
        assert written.results == {"length": 5 * MB}
        monkeypatch.setattr(buffers, "_MOST_FILES", 0)
        sent = run(runner, Task("length", lambda array: array.nbytes, args=(ramp(6),)))
        assert sent.results == {"length": 6 * MB}


def test_a_worker_that_can_be_sent_no_more_ends_and_does_not_wait(monkeypatch, system):
    refuse_beyond(MB, monkeypatch)
    with ProcessPoolRunner(1) as runner, time_limit(120):
        run(runner, Task("warm", abs, args=(-1,)))
        report = Process([Task("large", len, args=(bytes(5 * MB),)), Task("good", abs, args=(-2,))]).run(
            runner=runner
        )
    assert type(report.exceptions["large"]) is WorkerDiedError
    assert report.results == {"good": 2}


PROGRAM_WITHOUT_DESCRIPTORS = """
import gc, os, resource
from processes import Process, ProcessPoolRunner, Task

def make(number):
    return bytes([number]) * 2_000_000

taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
process = Process([Task(f"t{n}", make, args=(n,)) for n in range(6)])
with ProcessPoolRunner(2) as runner:
    process.run(runner=runner).raise_for_errors()
    gc.collect()
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        for _ in range(3):  # for the run itself: none is left to be spared
            os.close(taken.pop())
    short = process.run(runner=runner)
    for descriptor in taken:
        os.close(descriptor)
    print({type(error).__name__ for error in short.exceptions.values()})
    print(all(result == make(int(name[1:])) for name, result in short.results.items()))
    print(all(result == make(int(name[1:])) for name, result in process.run(runner=runner).results.items()))
"""


def test_where_descriptors_of_results_are_lost_their_tasks_fail_and_no_other():
    assert run_in_new_python(PROGRAM_WITHOUT_DESCRIPTORS) == "{'SerializationError'}\nTrue\nTrue\n"


PROGRAM_WHOSE_DESCRIPTORS_ARE_USED_UP = """
import os, resource
from processes import Process, Task, TaskDependency, TaskStarted
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

def make(number):
    return [bytearray([number]) * 200_000 for _ in range(3)]

def use_up(event):
    if isinstance(event, TaskStarted):
        try:
            while True:
                os.dup(0)
        except OSError:
            pass

def check(value):
    return [(part[0], part[-1], len(part)) for part in value]

numbers = range(40)
tasks = [Task(f"make-{n}", make, args=(n,)) for n in numbers]
tasks += [Task(f"made-{n}", make, args=(n,), keep_result=False) for n in numbers]
tasks += [Task(f"use-{n}", check, dependencies=[TaskDependency(f"make-{n}", True)]) for n in numbers]
tasks += [Task(f"used-{n}", check, dependencies=[TaskDependency(f"made-{n}", True)]) for n in numbers]
report = Process(tasks).run(runner="process", max_workers=WORKERS, observers=OBSERVERS)
report.raise_for_errors()
for n in numbers:
    assert report.results[f"make-{n}"] == make(n)
    assert report.results[f"use-{n}"] == report.results[f"used-{n}"] == [(n, n, 200_000)] * 3
print("well")
"""


@pytest.mark.parametrize(
    ("workers", "observers"), [(2, "[use_up]"), (16, "[]")], ids=["by the program", "by workers"]
)
def test_all_large_results_arrive_where_descriptors_are_used_up(workers, observers):
    program = PROGRAM_WHOSE_DESCRIPTORS_ARE_USED_UP
    program = program.replace("WORKERS", str(workers)).replace("OBSERVERS", observers)
    assert run_in_new_python(program) == "well\n"


PROGRAM_WITH_FEW_DESCRIPTORS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from processes import Process, ProcessPoolRunner, Task, TaskDependency
count = int(sys.argv[1])

def make(number):
    return bytearray(number.to_bytes(4, "big") * (1 << 16))

def check(*values):
    return [int.from_bytes(value[-4:], "big") for value in values]

names = [f"t{n}" for n in range(count)]
tasks = [Task(name, make, args=(n,)) for n, name in enumerate(names)]
tasks.append(Task("all", check, dependencies=[TaskDependency(name, True) for name in names[:200]]))
with ProcessPoolRunner(2) as runner:
    report = Process(tasks).run(runner=runner)
    report.raise_for_errors()
    assert report.results["all"] == list(range(200))
    assert all(report.results[name] == make(n) for n, name in enumerate(names))
    print(len(report.results), len(os.listdir("/proc/self/fd")) < 50)
"""


def test_hundreds_of_large_results_work_with_few_descriptors():
    assert output_of([sys.executable, "-c", PROGRAM_WITH_FEW_DESCRIPTORS, "300"], 200) == "301 True\n"


def memory_of(pids: Iterable[int]) -> int:
    """Sum the proportional memory of processes, in bytes; without libraries, which others have too."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, kilobytes = line.partition(":")
            if name in ("Pss_Anon", "Pss_Shmem"):
                total += int(kilobytes.split()[0]) << 10
    return total


HAS_KINDS = (
    Path("/proc/self/smaps_rollup").exists() and "Pss_Shmem" in Path("/proc/self/smaps_rollup").read_text()
)


@pytest.mark.skipif(not HAS_KINDS, reason="nobody tells memory by its kind")
def test_four_consumers_of_an_array_share_its_memory(tmp_path):
    size, consumers = 32 if HAS_GIL else 64, 4  # without it, interpreters keep more memory of their own

    def hold(array: np.ndarray, number: int) -> float:
        total = float(array.sum())  # touches all of it
        (tmp / f"{number} {os.getpid()}").touch()
        wait_until((tmp / "measured").exists, 120)
        return total

    tmp = tmp_path
    measured = []

    def measure() -> None:
        try:
            wait_until(lambda: len(os.listdir(tmp)) == consumers, 120)
            measured.append(memory_of([os.getpid(), *(int(name.split()[1]) for name in os.listdir(tmp))]))
        finally:
            (tmp / "measured").touch()

    def tasks(megabytes: int) -> list[Task]:
        numbered = [{"number": n} for n in range(consumers)]
        users = [
            Task(f"use-{n}", hold, kwargs=numbered[n], dependencies=results_of("make"))
            for n in range(consumers)
        ]
        return [Task("make", ramp, args=(megabytes,)), *users]

    with ProcessPoolRunner(consumers) as runner:
        for megabytes in (2, size):
            for file in tmp.iterdir():
                file.unlink()
            gc.collect()
            thread = threading.Thread(target=measure)
            thread.start()
            report = run(runner, *tasks(megabytes))
            thread.join()
            assert report.results["use-0"] == float(ramp(megabytes).sum())
            del report
    assert measured[1] - measured[0] < 1.3 * size * MB


def test_nothing_large_has_a_name_and_nothing_is_left(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shared = Path("/dev/shm")
    before = set(os.listdir(shared)) if shared.is_dir() else set()
    seen = []

    def observe(event):
        seen.append(os.listdir(tmp_path))
        if shared.is_dir():
            seen.append([name for name in set(os.listdir(shared)) - before if "processes" in name])

    report = run(
        workers,
        Task("make", ramp, args=(8,)),
        Task("use", scribble, dependencies=results_of("make")),
        observers=[observe],
    )
    assert not any(seen)
    assert len(report.results) == 2
    del report
    gc.collect()
    assert not buffers._open_files
    assert "processes-data" not in Path("/proc/self/maps").read_text()


def test_a_failure_leaves_no_memory_taken_in_its_worker():
    with ProcessPoolRunner(1) as runner:

        def taken() -> int:
            report = Process([Task("memory", own_memory_of_worker)]).run(runner=runner)
            return report.results["memory"]

        before = taken()
        Process([Task(f"t{n}", holds_and_fails, args=(n,)) for n in range(20)]).run(runner=runner)
        assert taken() < before + 40_000_000, (
            "more than a quarter of what the failed calls held is still there"
        )


TABLES = """
import numpy as np
from processes import Process, ProcessPoolRunner, Task
from processes.memory import mapped_memory

def look(number):
    import os
    return TABLE[number], mapped_memory(os.getpid())

if __name__ == "__main__":
    seen = []
    with ProcessPoolRunner(1) as runner:
        for number in range(5):
            TABLE = np.full(5_000_000, float(number))
            value, mapped = Process([Task("look", look, args=(number,))]).run(runner=runner).results["look"]
            assert value == number
            seen.append(mapped)
    print(max(seen) - seen[0] < 100_000_000)
"""


def test_a_warm_worker_lets_go_of_the_globals_of_earlier_runs(tmp_path):
    (tmp_path / "script.py").write_text(TABLES)
    assert output_of([sys.executable, "script.py"], cwd=tmp_path) == "True\n"


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_an_exception_that_is_kept_keeps_no_results_of_its_run(runner):
    kept = []

    def run_and_keep() -> weakref.ref[object]:
        tasks = [
            Task("fails", holds_and_fails, args=(1,)),
            Task("made", lambda: np.zeros(1 << 20), runner="thread"),
        ]
        report = Process(tasks).run(runner=runner)
        kept.append(report.exceptions["fails"])
        return weakref.ref(report.results["made"])

    made = run_and_keep()
    gc.collect()
    assert made() is None
    assert repr(kept) == "[ValueError(1048576)]"
