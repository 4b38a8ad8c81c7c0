"""Graph: order, neighbours, and what is refused."""

from __future__ import annotations

import copy
import graphlib
import pickle
import re
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steadiness import steadily

from processes.exceptions import CircularDependencyError, DependencyNotFoundError, TaskNotFoundError
from processes.graph import Graph, bind, unknown_task
from processes.process import Process
from processes.task import Task
from processes.task_types import TaskDependency, results_of


def work() -> None: ...


def task(name: str, *needs: str) -> Task:
    return Task(name, work, dependencies=[TaskDependency(need) for need in needs])


def graph(**needs: str) -> Graph:
    """Make a graph of ``a="b c"``: task a needs b and c."""
    return Graph([task(name, *listed.split()) for name, listed in needs.items()])


def named(graph: Graph, indexes: list[int]) -> list[str]:
    return [graph.names[index] for index in indexes]


def test_an_empty_graph_is_a_graph():
    empty = Graph([])
    assert (empty.names, empty.tasks, empty.index, empty.dependencies) == ([], [], {}, [])
    assert (empty.dependants, empty.heights, empty.critical_path()) == ([], [], [])


def test_an_order_that_works_is_kept():
    assert graph(a="", b="", c="a", d="b", e="").names == ["a", "b", "c", "d", "e"]


def test_a_task_is_moved_up_before_the_first_that_needs_it():
    assert graph(report="load", mail="report", other="", load="").names == ["load", "report", "mail", "other"]
    assert graph(d="b c", b="a", c="a", a="").names == ["a", "b", "c", "d"]


def test_all_is_told_by_index():
    found = graph(join="left right", left="top", right="top", top="")
    assert found.names == ["top", "left", "right", "join"]
    assert [one.name for one in found.tasks] == found.names
    assert found.index == {"top": 0, "left": 1, "right": 2, "join": 3}
    assert [list(needed) for needed in found.dependencies] == [[], [0], [0], [1, 2]]
    assert found.dependants == [[1, 2], [3], [3], []]
    assert found.heights == [2, 1, 1, 0]


def test_dependencies_stay_in_the_order_in_which_they_are_listed():
    found = graph(a="", b="", c="", d="c a b")
    assert named(found, found.dependencies[3]) == ["c", "a", "b"]


def test_descendants_are_direct_and_indirect_in_order():
    found = graph(a="", b="a", c="a", d="b c", e="d", x="")
    assert named(found, found.descendants(found.index["a"])) == ["b", "c", "d", "e"]
    assert named(found, found.descendants(found.index["c"])) == ["d", "e"]
    assert found.descendants(found.index["x"]) == []


def test_the_critical_path_is_the_first_of_the_longest_chains():
    found = graph(a="", b="", c="b", d="c a", e="", f="e", g="f")
    assert named(found, found.critical_path()) == ["b", "c", "d"]
    assert named(graph(a="", b=""), [0]) == ["a"]
    assert graph(a="", b="").critical_path() == [0]


def test_names_are_read_anew_and_case_does_not_matter():
    load, use = task("load"), task("use", "load")
    load.name = "Fetch"
    use.dependencies[0].task_name = "FETCH"
    found = Graph([use, load])
    assert found.names == ["fetch", "use"]
    assert load.name == "fetch"


@pytest.mark.parametrize("tasks", [[task("a"), task("b"), task("A")], [task("b")] * 2])
def test_a_duplicate_name_is_refused(tasks):
    with pytest.raises(ValueError) as caught:
        Graph(tasks)
    assert str(caught.value) == (
        f"Duplicate task name: {tasks[-1].name} (case does not count); give one of them another name"
    )


@pytest.mark.parametrize(("name", "error"), [(3, TypeError), ("a b", ValueError), ("", ValueError)])
def test_a_name_that_was_spoilt_since_is_refused(name, error):
    spoilt = task("a")
    spoilt.name = name
    with pytest.raises(error, match=r"name must be str|Task name cannot"):
        Graph([spoilt])


@pytest.mark.parametrize(
    ("dependencies", "error", "message"),
    [
        (None, TypeError, "dependencies must be list, not NoneType (task 'a'): write dependencies=[…]"),
        (
            ["b"],
            TypeError,
            "dependency must be of type TaskDependency, not str (task 'a'): write *results_of('b') to get "
            "its result, or TaskDependency('b') to get none",
        ),
        (
            [TaskDependency("b"), TaskDependency("B")],
            ValueError,
            "Duplicate dependency name: b (task 'a'); name each dependency once (case does not count)",
        ),
        ([TaskDependency("a")], CircularDependencyError, "Task 'a' lists itself as a dependency."),
    ],
)
def test_dependencies_that_were_spoilt_since_are_refused(dependencies, error, message):
    spoilt = task("a")
    spoilt.dependencies = dependencies
    with pytest.raises(error) as caught:
        Graph([spoilt, task("b")])
    assert str(caught.value) == message


def test_an_unknown_dependency_is_refused_with_the_nearest_name():
    with pytest.raises(DependencyNotFoundError) as caught:
        graph(load="", b="lod")
    assert str(caught.value) == (
        "Task 'b' depends on 'lod', which is no task of this process; did you mean 'load'?"
    )


def test_an_unknown_dependency_like_no_other_is_one_to_add():
    with pytest.raises(DependencyNotFoundError) as caught:
        graph(load="", b="xyz")
    assert str(caught.value) == (
        "Task 'b' depends on 'xyz', which is no task of this process; add it to the tasks"
    )


def test_a_keyword_and_a_task_the_wrong_way_round_are_told():
    total = Task("total", work, dependencies=results_of(daily_rate="tax"))
    with pytest.raises(DependencyNotFoundError) as caught:
        Graph([Task("daily-rate", work), total])
    assert str(caught.value) == (
        "Task 'total' depends on 'tax', which is no task of this process; "
        "did you mean results_of(tax='daily-rate')?"
    )


@pytest.mark.parametrize(("name", "hint"), [(1, ""), (None, ""), (Task("a", work), ": write its name, 'a'")])
def test_a_task_is_named_by_its_name_alone(name, hint):
    process = Process([Task("a", work)])
    for look_up in (
        process.get_task,
        process.get_dependant_tasks,
        process.remove_task,
        lambda task_name: process.add_task_dependency(task_name, TaskDependency("b")),
    ):
        with pytest.raises(TypeError, match=re.escape(f"task_name must be str, not {name!r}{hint}")):
            look_up(name)


def test_an_unknown_task_is_named_with_the_nearest_name():
    assert unknown_task("LOAF", ["load", "save"]) == (
        "No task of this process has the name 'LOAF'; did you mean 'load'?"
    )
    assert unknown_task("x", ["load"]) == "No task of this process has the name 'x'"
    with pytest.raises(TaskNotFoundError) as caught:
        Process([Task("load", int)]).get_task("LOAF")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert str(error) == "No task of this process has the name 'LOAF'; did you mean 'load'?"


@pytest.mark.parametrize(
    "typo",
    ["regoin-7-customer-012357-load", "region-7-costumer-012357-load", "region-7-customer-012357-laod"],
)
def test_among_many_names_the_nearest_is_found_in_a_bounded_time(typo):
    names = [f"region-{number % 50}-customer-{number:06d}-load" for number in range(20_000)]
    began = monotonic()
    for _ in range(5):
        assert unknown_task(typo, names).endswith("did you mean 'region-7-customer-012357-load'?")
    assert monotonic() - began < 10


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"x": "", "a": "x b", "b": "c", "c": "x a"}, "a -> b -> c -> a"),
        ({"start": "a", "a": "b", "b": "c", "c": "b"}, "b -> c -> b"),
        ({"a": "c b", "b": "c a", "c": ""}, "a -> b -> a"),
    ],
)
def test_a_circle_is_refused_and_named(needs, cycle):
    with pytest.raises(CircularDependencyError) as caught:
        graph(**needs)
    assert str(caught.value) == (f"Circular dependency detected. {cycle}; remove one of these dependencies")


def test_a_long_circle_is_named_in_part():
    size = 30_000
    tasks = [task(f"t{number}", f"t{(number + 1) % size}") for number in range(size)]
    with pytest.raises(CircularDependencyError) as caught:
        Graph(tasks)
    message = str(caught.value)
    assert message.startswith("Circular dependency detected. t0 -> t1 -> t2 -> ")
    assert "-> (29989 more) -> t29999 -> t0; remove" in message
    assert message.count("->") == 12


def test_a_long_chain_needs_no_deep_stack():
    size = 30_000
    found = Graph([task(f"t{number}", *[f"t{number + 1}"] * (number + 1 < size)) for number in range(size)])
    assert found.names[0] == f"t{size - 1}"
    assert found.heights == list(range(size - 1, -1, -1))
    assert found.critical_path() == list(range(size))
    assert found.descendants(0) == list(range(1, size))


def test_results_stand_behind_a_task_s_own_arguments():
    args, kwargs = (1,), {"a": 2, "b": 3}
    assert bind(args, kwargs, None, ["x", "y"]) == ((1, "x", "y"), {"a": 2, "b": 3})
    assert bind(args, kwargs, (), ["x"]) == ((1,), {"a": 2, "b": 3})
    passed = ((1, None), (0, "a"), (2, None), (2, "c"))
    bound_args, bound_kwargs = bind(args, kwargs, passed, ["x", "y", "z"])
    assert bound_args == (1, "y", "z")
    assert list(bound_kwargs.items()) == [("a", "x"), ("b", 3), ("c", "z")]
    assert (args, kwargs) == ((1,), {"a": 2, "b": 3})


@pytest.mark.parametrize("keyword", ["k{}", None])
def test_a_hundred_thousand_results_are_passed_to_one_task(keyword):
    size = 100_000
    passed = tuple((place, keyword and keyword.format(place)) for place in range(size))
    began = monotonic()
    args, kwargs = bind((), {}, passed, range(size))
    assert monotonic() - began < 10
    assert [*args, *kwargs.values()] == [*range(size)]


edges = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        st.just(size), st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)))
    )
)


@settings(steadily, max_examples=100)
@given(edges)
def test_any_graph_is_put_in_order_or_refused_for_a_real_circle(drawn):
    size, pairs = drawn
    needs = {f"t{number}": [f"t{need}" for one, need in sorted(pairs) if one == number and need != one]
             for number in range(size)}  # fmt: skip
    try:
        list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError:
        with pytest.raises(CircularDependencyError) as caught:
            Graph([task(name, *needed) for name, needed in needs.items()])
        cycle = str(caught.value).removeprefix("Circular dependency detected. ").split(";")[0].split(" -> ")
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(need in needs[name] for name, need in zip(cycle, cycle[1:], strict=False))
        return
    found = Graph([task(name, *needed) for name, needed in needs.items()])
    assert sorted(found.names) == sorted(needs)
    for index, name in enumerate(found.names):
        assert named(found, found.dependencies[index]) == needs[name]
        assert all(need < index for need in found.dependencies[index])
        assert sorted(found.dependants[index]) == [
            other for other in range(size) if index in found.dependencies[other]
        ]
        below = {found.index[other] for other in needs if name in ancestors(needs, other)}
        assert found.descendants(index) == sorted(below)
        assert found.heights[index] == max(
            [found.heights[other] + 1 for other in found.dependants[index]], default=0
        )
    seconds = [float(len(name) + index) for index, name in enumerate(found.names)]
    levels = found.bottom_levels(seconds)
    for index, dependants in enumerate(found.dependants):
        assert levels[index] == seconds[index] + max([levels[other] for other in dependants], default=0.0)
    path = found.critical_path()
    assert len(path) == max(found.heights) + 1
    assert all(one in found.dependencies[next_] for one, next_ in zip(path, path[1:], strict=False))


def ancestors(needs: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        new = set(needs[left.pop()]) - found
        found |= new
        left += new
    return found
