"""Random graphs with random faults: their reports are the same on every runner, field by field."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
from failing import KINDS, Colour, Place, Recipe, facts_of, raise_by, tidy
from hypothesis import event, given, settings
from hypothesis import strategies as st
from steadiness import steadily
from working import fail_first, give, linger

from processes import (
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    ProcessRunner,
    SequentialRunner,
    Task,
    TaskDependency,
    ThreadRunner,
    stand_in,
)

MAX_TASKS = 12
TIMES = {"elapsed_seconds"}

# ---- What is drawn ---------------------------------------------------------------------------------------

words = st.text("abcxyzäß漢🙂'\"\n ", max_size=8)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans()
plain = st.none() | numbers | words | st.binary(max_size=8)
foreign = (
    st.sampled_from(Colour)
    | st.builds(Place, st.integers(0, 9), words)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.frozensets(st.sampled_from(["ab", "cd", "ef", "gh"]))
    | st.sets(st.integers(0, 5))
)
values = st.recursive(
    plain | foreign,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(words, inner, max_size=3)
    ),
    max_leaves=6,
)
identifiers = st.sampled_from(["one", "two", "three", "four"])


def recipes(inner: st.SearchStrategy[Recipe] | None = None) -> st.SearchStrategy[Recipe]:
    links: st.SearchStrategy[tuple[str, Recipe | None]] = st.just(("", None))
    members: st.SearchStrategy[tuple[Recipe, ...]] = st.just(())
    if inner is not None:
        links |= st.tuples(st.sampled_from(["cause", "context", "suppressed"]), inner)
        members |= st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.builds(
        lambda link, **rest: Recipe(link=link[0], other=link[1], **rest),
        link=links,
        kind=st.sampled_from(sorted(KINDS)),
        args=st.lists(values, max_size=2).map(tuple),
        notes=st.lists(words, max_size=2).map(tuple),
        attributes=st.dictionaries(identifiers, values, max_size=2),
        members=members,
        depth=st.integers(0, 3),
    )


failures = st.recursive(recipes(), recipes, max_leaves=3)


@dataclass(frozen=True)
class Drawn:
    """A task to be."""

    number: int
    does: str  # "give", "raise", "fail first"
    value: Any = None
    recipe: Recipe = field(default_factory=Recipe)
    times: int = 0
    own_kwargs: dict[str, Any] = field(default_factory=dict)
    passing: dict[int, str] = field(default_factory=dict)  # how a dependency's result is passed, by number
    options: dict[str, Any] = field(default_factory=dict)

    def task(self, folder: Path) -> Task:
        match self.does:
            case "give":
                func, args = give, (self.value,)
            case "raise":
                func, args = raise_by, (self.recipe,)
            case _:
                func, args = fail_first, (str(folder / str(self.number)), self.times, self.recipe)
        dependencies = [
            TaskDependency(
                f"t{other}",
                use_result_as_additional_args="positional" in how,
                use_result_as_additional_kwargs="keyword" in how,
                additional_kwarg_name=f"from_{other}",
            )
            for other, how in self.passing.items()
        ]
        name = f"t{self.number}"
        return Task(
            name, func, args=args, kwargs=dict(self.own_kwargs), dependencies=dependencies, **self.options
        )


@st.composite
def graphs(draw: st.DrawFn) -> list[Drawn]:
    graph = []
    for number in range(draw(st.integers(1, MAX_TASKS))):
        # Fewer failures than successes, or most of a graph would be skipped.
        does = draw(st.sampled_from(["give", "give", "give", "raise", "fail first"]))
        passing = st.dictionaries(
            st.integers(0, number - 1),
            st.sampled_from(["", "positional", "keyword", "positional and keyword"]),
            max_size=3,
        )
        graph.append(
            Drawn(
                number,
                does,
                value=draw(values) if does == "give" else None,
                recipe=draw(failures) if does != "give" else Recipe(),
                times=draw(st.integers(0, 3)),
                own_kwargs=draw(st.dictionaries(identifiers, values, max_size=2)),
                passing=draw(passing) if number else {},
                options={
                    "retries": draw(st.integers(0, 2)),
                    "retry_on": draw(st.sampled_from([None, (), (Exception,), (ValueError, KeyError)])),
                    "keep_result": draw(st.booleans()),
                    "priority": draw(st.integers(-1, 1)),
                    "traced_vars_frame_filter": draw(st.sampled_from([None, "raise_by", "failing", "none"])),
                },
            )
        )
    return draw(st.permutations(graph))


# ---- What is compared ------------------------------------------------------------------------------------


def comparable(report: ProcessExecutionReport) -> dict[str, dict[str, Any]]:
    """Take a report apart into what must be equal, by task, in the report's order."""
    apart = {}
    for name, entry in report.entries.items():
        facts = {one.name: getattr(entry, one.name) for one in fields(entry) if one.name not in TIMES}
        facts["result shown"] = tidy(repr(entry.result))
        if entry.error is not None:
            facts["error"] = {
                one.name: _tidied(getattr(entry.error, one.name)) for one in fields(entry.error)
            }
            facts["exception"] = facts_of(report.exceptions[name])
        else:
            assert name not in report.exceptions
        apart[name] = facts
    return apart


def _tidied(value: Any) -> Any:
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, dict):
        return {name: _tidied(item) for name, item in value.items()}
    return value


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolRunner]:
    """Workers that are up before a test looks at what there is, and serve all examples."""
    with ProcessPoolRunner(2) as runner:
        Process([Task(f"warm-up{i}", give, args=(i,)) for i in range(4)]).run(runner=runner)
        yield runner


@pytest.fixture(scope="module")
def eager_stand_in() -> Iterator[None]:
    """Another thread drives a run as soon as anything keeps its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand_in, "KEPT_SECONDS", 0.0001)
        yield


def keep_for_a_moment(_: object) -> None:
    time.sleep(0.0005)


@settings(steadily, max_examples=40)
@given(graph=graphs())
@pytest.mark.usefixtures("eager_stand_in")
def test_reports_of_all_runners_are_equal_in_all_but_times_workers_and_pids(graph, pool, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "attempts"  # the same for all: its name is in the reports

    def run(runner: ProcessRunner, runner_of: dict[int, ProcessRunner] | None = None) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tasks = [drawn.task(folder) for drawn in graph]
        for number, task in enumerate(tasks):
            task.runner = (runner_of or {}).get(number % 4)
        observers = [] if runner_of is None else [keep_for_a_moment]
        report = Process(tasks, "drawn").run(runner=runner, observers=observers)
        assert report.runner == runner.name
        return comparable(report)

    sequential = run(SequentialRunner())
    for entry in sequential.values():
        event(entry["status"].value)
    for name, other in {
        "thread": run(ThreadRunner(4)),
        "process": run(pool),
        "mixed": run(pool, {0: SequentialRunner(), 1: ThreadRunner(2)}),
    }.items():
        assert list(other) == list(sequential)
        for task, facts in sequential.items():
            assert other[task] == facts, f"{task} on {name}"


def test_a_warm_worker_never_answers_with_what_an_earlier_run_left_in_its_line(pool):
    wrong = []
    for run in range(0, 20, 2):
        # Short ones make long lines; then a worker with nothing to do gets what stands in the other's line.
        lines = [Task(f"t{i}", linger, args=(run, i, 0.02 * (i > 20)), priority=-i) for i in range(40)]
        # After 38 attempts elsewhere, the pool begins with the numbers that were taken out of a line before.
        late = [
            Task(
                f"t{i}",
                linger,
                args=(run + 1, i),
                dependencies=[TaskDependency(f"t{i - 1}")] if i else [],
                runner="sequential" if i < 38 else None,
            )
            for i in range(40)
        ]
        for this_run, tasks in ((run, lines), (run + 1, late)):
            results = Process(tasks).run(runner=pool).results
            wrong += [results[f"t{i}"] for i in range(40) if results.get(f"t{i}") != (this_run, i)]
    assert wrong == []
