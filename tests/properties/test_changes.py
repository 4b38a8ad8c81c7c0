"""A process that is changed step by step, beside one that is made of all tasks at once after each step."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from steadiness import steadily

from processes import Process, Task, TaskDependency

NAMES = [f"t{number}" for number in range(6)]
AT_FIRST = [(name, []) for name in NAMES[:4]]

needs = st.lists(st.sampled_from(NAMES), max_size=3)
changes = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(NAMES), needs),
    st.tuples(st.just("depend"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("look")),
)


def shown(process: Process) -> list[tuple[str, list[str]]]:
    return [(task.name, [need.task_name for need in task.dependencies]) for task in process.tasks]


def made(described: list[tuple[str, list[str]]]) -> Process:
    return Process(
        [Task(name, int, dependencies=list(map(TaskDependency, needed))) for name, needed in described]
    )


def error_of(function, *args) -> str | None:
    try:
        function(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def change(process: Process, kind: str, *args) -> None:
    if kind == "add":
        name, needed = args
        process.add_task(Task(name, int, dependencies=list(map(TaskDependency, needed))))
    elif kind == "depend":
        name, needed = args
        process.add_task_dependency(name, TaskDependency(needed))
    elif kind == "remove":
        process.remove_task(*args)
    else:
        _ = process.tasks


@steadily
@given(st.lists(changes, max_size=14))
@example([("add", "t4", ["t0"]), ("remove", "t4"), ("remove", "t0")])
@example([("depend", "t2", "t0"), ("depend", "t2", "t1"), ("remove", "t2"), ("remove", "t0")])
def test_one_change_after_the_other_does_what_each_does_alone(drawn):
    process, model = made(AT_FIRST), AT_FIRST
    for step in drawn:
        alone = made(model)
        assert error_of(change, process, *step) == error_of(change, alone, *step)
        model = shown(alone)
    assert shown(process) == model
    assert list(process.run(runner="sequential").results) == [name for name, _ in model]
