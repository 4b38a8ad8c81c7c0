"""Random graphs that fail or are cut off, and are edited and run again: the end is that of a first run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from steadiness import steadily
from working import work

from processes import (
    Process,
    ProcessPoolRunner,
    ProcessRunner,
    SequentialRunner,
    Task,
    TaskDependency,
    ThreadRunner,
)

MAX_TASKS = 9


@dataclass(frozen=True)
class Shape:
    """A graph: what each task needs, and how; which version it is of; whose results are not kept."""

    needs: tuple[dict[int, str], ...]
    versions: tuple[int, ...]
    dropped: frozenset[int]

    def process(self, folder: str) -> Process:
        tasks = []
        for task, needs in enumerate(self.needs):
            dependencies = [
                TaskDependency(f"t{other}", how == "args", how == "kwargs", f"from_t{other}")
                for other, how in sorted(needs.items())
            ]
            args = (folder, f"t{task}", self.versions[task])
            keep = task not in self.dropped
            tasks.append(Task(f"t{task}", work, args=args, dependencies=dependencies, keep_result=keep))
        return Process(tasks)

    def edited(self, tasks: set[int]) -> Shape:
        return replace(
            self, versions=tuple(version + (task in tasks) for task, version in enumerate(self.versions))
        )

    def with_all_below(self, tasks: set[int]) -> set[int]:
        found = set(tasks)
        for task, needs in enumerate(self.needs):
            if not found.isdisjoint(needs):
                found.add(task)
        return found


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    size = draw(st.integers(1, MAX_TASKS))
    needs = tuple(
        draw(
            st.dictionaries(st.integers(0, task - 1), st.sampled_from(["args", "kwargs", "wait"]), max_size=3)
        )
        if task
        else {}
        for task in range(size)
    )
    return Shape(needs, (0,) * size, draw(st.frozensets(st.integers(0, size - 1))))


@pytest.fixture(scope="module")
def runners() -> Iterator[list[ProcessRunner]]:
    with ProcessPoolRunner(2) as pool:
        # Workers that are up before the test looks at what there is, and serve all examples.
        Process([Task(f"warm-up-{n}", abs, args=(n,)) for n in range(4)]).run(runner=pool)
        yield [SequentialRunner(), ThreadRunner(3), pool]


@settings(steadily, max_examples=50)
@given(data=st.data(), shape=shapes())
def test_a_resumed_run_ends_as_a_first_run_would_and_runs_nothing_that_it_need_not(runners, data, shape):
    tasks = range(len(shape.needs))
    subsets = st.sets(st.sampled_from(tasks), max_size=3)
    with tempfile.TemporaryDirectory() as folder:
        place, path = Path(folder), Path(folder) / "run.ckpt"

        def ran() -> set[int]:
            found = {task for task in tasks if (place / f"t{task}").exists()}
            for task in found:
                assert (place / f"t{task}").read_text() == "x"
                (place / f"t{task}").unlink()
            return found

        succeeded: set[int] = set()
        for _ in range(data.draw(st.integers(1, 3))):
            edited, failing = data.draw(subsets), data.draw(subsets)
            shape = shape.edited(edited)
            for task in failing:
                (place / f"t{task}-fails").touch()
            cut_after = data.draw(st.none() | st.integers(0, MAX_TASKS))
            if cut_after is None:
                report = shape.process(folder).run(
                    runner=data.draw(st.sampled_from(runners)), checkpoint=path
                )
            else:  # in sequence: what was stopped on threads and processes may have noted half of its name
                stream = shape.process(folder).stream(runner=runners[0], checkpoint=path)
                for _ in zip(range(cut_after), stream, strict=False):
                    pass
                report = stream.report
            succeeded -= shape.with_all_below(edited)
            assert ran().isdisjoint(succeeded)
            # What was never reached is in the file all the same, but for what is below what has run again.
            succeeded |= {shape_index(name) for name in report.successes}
            for task in failing:
                (place / f"t{task}-fails").unlink()
        edited = data.draw(subsets)
        shape = shape.edited(edited)
        report = shape.process(folder).run(runner=data.draw(st.sampled_from(runners)), checkpoint=path)
        expected = {*tasks} - (succeeded - shape.with_all_below(edited))
        event(f"{len(tasks) - len(expected)} taken over")
        assert ran() == expected
        assert {shape_index(name) for name in report.from_checkpoint} == {*tasks} - expected
        fresh = shape.process(folder).run(runner=runners[0])
        ran()
        assert report.results == fresh.results
        assert [entry.attempts for entry in report.entries.values()] == [1 for _ in tasks]
        again = shape.process(folder).run(runner=runners[0], checkpoint=path)
        assert again.entries == report.entries
        assert ran() == set()


def shape_index(name: str) -> int:
    return int(name.removeprefix("t"))
