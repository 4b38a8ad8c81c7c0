"""Process: how its graph is changed."""

from __future__ import annotations

import pytest

from processes import CircularDependencyError, DependencyNotFoundError, Process, Task, TaskDependency


def needs(process: Process) -> dict[str, list[str]]:
    return {task.name: [need.task_name for need in task.dependencies] for task in process.tasks}


def test_a_new_dependency_is_one_tasks_alone_though_others_were_made_with_the_same_list():
    behind = [TaskDependency("make", use_result_as_additional_args=True)]
    uses = [Task(f"use-{number}", lambda *data: data, dependencies=behind) for number in range(3)]
    process = Process([Task("make", lambda: 1), Task("extra", lambda: 5), *uses])
    process.add_task_dependency("use-0", TaskDependency("extra", use_result_as_additional_args=True))
    process.add_task_dependency("USE-0", TaskDependency("use-1"))
    assert behind == [TaskDependency("make")]
    assert needs(process) == {
        "make": [],
        "extra": [],
        "use-1": ["make"],
        "use-0": ["make", "extra", "use-1"],
        "use-2": ["make"],
    }
    assert process.run().results == {"make": 1, "extra": 5, "use-0": (1, 5), "use-1": (1,), "use-2": (1,)}


@pytest.mark.parametrize(
    ("need", "error"),
    [("use", CircularDependencyError), ("other", DependencyNotFoundError), ("make", ValueError)],
)
def test_a_dependency_that_is_refused_leaves_the_task_as_it_was(need, error):
    behind = [TaskDependency("make")]
    process = Process([Task("make", int), Task("use", int, dependencies=behind)])
    with pytest.raises(error):
        process.add_task_dependency("use", TaskDependency(need))
    assert process.get_task("use").dependencies is behind
    assert needs(process) == {"make": [], "use": ["make"]}
