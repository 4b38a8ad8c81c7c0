"""`Plan` driven by hand: any graph, and its tasks ending in any order."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steadiness import steadily

from processes import Task, TaskDependency
from processes.graph import Graph
from processes.plan import MOVES, Plan, State
from processes.resources import ReadyKinds

WAITING, READY, RUNNING, DELAYED, SUCCEEDED, FAILED, SKIPPED = State
ENDED = {SUCCEEDED, FAILED, SKIPPED}

RESOURCES = ("disk", "memory")
ENOUGH = dict.fromkeys(RESOURCES, 3)  # for any task

pytestmark = pytest.mark.once


@dataclass
class Drawn:
    """A graph, with what a plan needs beside it."""

    graph: Graph
    groups: list[int]
    needs: list[dict[str, int]] | None

    @property
    def size(self) -> int:
        return len(self.groups)

    def fits(self, task: int, available: dict[str, int]) -> bool:
        """Tell whether a task needs no more than there is."""
        return self.needs is None or all(
            self.needs[task][name] <= available[name] for name in self.needs[task]
        )

    @cached_property
    def ancestors(self) -> list[set[int]]:
        below = [set(self.graph.descendants(task)) for task in range(self.size)]
        return [{other for other in range(self.size) if task in below[other]} for task in range(self.size)]


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    size = draw(st.integers(0, 10))
    tasks = []
    for task in range(size):
        needed = draw(st.sets(st.integers(0, task - 1), max_size=4)) if task else set()
        tasks.append(
            Task(
                f"t{task}",
                abs,
                dependencies=[TaskDependency(f"t{other}") for other in sorted(needed)],
                priority=draw(st.integers(-1, 1)),
            )
        )
    groups = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    amounts = st.dictionaries(st.sampled_from(RESOURCES), st.integers(1, 3))
    needs = draw(st.none() | st.lists(amounts, min_size=size, max_size=size))
    return Drawn(Graph(tasks), groups, needs)


def next_rank(plan: Plan, group: int, available: dict[str, int]) -> int | None:
    """Ask for the next of a group, of whatever there is more now."""
    plan.note_more(available, available)
    return plan.rank_of_next(group, available)


def contents(plan: Plan) -> dict[str, object]:
    kinds = [(one._ready, [queue._lowest for queue in one._queues.values()]) for one in plan._kinds.values()]
    return {**vars(plan), "_kinds": kinds}


class Story:
    """A plan and what has happened in it, told apart from the plan's own counters."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.plan = Plan(drawn.graph, drawn.groups, needs=drawn.needs)
        self.taken: dict[int, int] = dict.fromkeys(range(drawn.size), 0)
        self.delays: dict[int, int] = dict.fromkeys(range(drawn.size), 0)
        self.failed: set[int] = set()
        self.succeeded: set[int] = set()
        self.running: list[int] = []
        self.delayed: list[int] = []

    def step(self, data: st.DataObject) -> None:
        """Do one of the legal moves."""
        plan = self.plan
        groups = [group for group in range(3) if self.has_ready(group)]
        choices = ["take"] * bool(groups) + ["end"] * bool(self.running) + ["resume"] * bool(self.delayed)
        match data.draw(st.sampled_from(choices)):
            case "take":
                self.take(data.draw(st.sampled_from(groups)))
            case "resume":
                task = data.draw(st.sampled_from(self.delayed))
                self.delayed.remove(task)
                plan.resume(task)
            case "end":
                task = data.draw(st.sampled_from(self.running))
                self.running.remove(task)
                self.end(task, data.draw(st.sampled_from(["succeed", "fail", "delay"])))

    def go_to_its_end(self, data: st.DataObject) -> None:
        """Finish it, without further delays."""
        while self.plan.unfinished:
            for task in self.delayed[:]:
                self.delayed.remove(task)
                self.plan.resume(task)
            for group in range(3):
                while self.has_ready(group):
                    self.take(group)
            for task in self.running[:]:
                self.running.remove(task)
                self.end(task, data.draw(st.sampled_from(["succeed", "fail"])))
            self.check()

    def has_ready(self, group: int) -> bool:
        return group in self.drawn.groups and next_rank(self.plan, group, ENOUGH) is not None

    def take(self, group: int) -> None:
        rank = next_rank(self.plan, group, ENOUGH)
        assert rank is not None
        task = self.plan.take(group, rank)
        assert self.plan.ranks[task] == rank
        assert self.drawn.groups[task] == group
        assert self.succeeded.issuperset(self.drawn.graph.dependencies[task])
        self.taken[task] += 1
        self.running.append(task)

    def end(self, task: int, how: str) -> None:
        plan, graph = self.plan, self.drawn.graph
        before = [plan.state(other) for other in range(self.drawn.size)]
        if how == "delay":
            plan.delay(task)
            self.delays[task] += 1
            self.delayed.append(task)
        elif how == "succeed":
            self.succeeded.add(task)
            ready = plan.succeed(task)
            assert sorted(ready) == [
                other
                for other in graph.dependants[task]
                if before[other] is WAITING and self.succeeded.issuperset(graph.dependencies[other])
            ]
        else:
            self.failed.add(task)
            skipped = plan.fail(task)
            assert skipped == [other for other in graph.descendants(task) if before[other] is not SKIPPED]

    def check(self) -> None:
        plan, drawn = self.plan, self.drawn
        states = [plan.state(task) for task in range(drawn.size)]
        for task, state in enumerate(states):
            assert (state is SKIPPED) == bool(drawn.ancestors[task] & self.failed)
            assert (state is FAILED) == (task in self.failed)
            assert (state is SUCCEEDED) == (task in self.succeeded)
            assert (state is RUNNING) == (task in self.running)
            assert (state is DELAYED) == (task in self.delayed)
            assert (state is WAITING) == (
                state is not SKIPPED and not self.succeeded.issuperset(drawn.graph.dependencies[task])
            )
            assert self.taken[task] <= 1 + self.delays[task]
        assert plan.unfinished == sum(state not in ENDED for state in states)
        for amount in range(4):
            available = {"disk": amount, "memory": 2}
            for group in set(drawn.groups):
                fitting = [
                    plan.ranks[task]
                    for task, state in enumerate(states)
                    if state is READY and drawn.groups[task] == group and drawn.fits(task, available)
                ]
                assert next_rank(plan, group, available) == min(fitting, default=None)
            for task in range(drawn.size if drawn.needs else 0):
                reserved = plan.reserved_from(plan.ranks[task], available)
                assert sorted(reserved) == self.reserved_from(task, available)

    def reserved_from(self, task: int, available: dict[str, int]) -> list[str]:
        """Tell what is lacking to the first that needs anything, if that is more urgent."""
        drawn, plan = self.drawn, self.plan
        assert drawn.needs is not None
        in_line = [other for other in range(drawn.size) if plan.state(other) is READY and drawn.needs[other]]
        first = min(in_line, key=plan.ranks.__getitem__, default=task)
        if drawn.graph.tasks[first].priority <= drawn.graph.tasks[task].priority:
            return []
        need = drawn.needs[first]
        return [name for name, amount in available.items() if need.get(name, 0) > amount]


@steadily
@given(graphs(), st.data())
def test_each_task_runs_once_after_its_dependencies_and_is_skipped_exactly_when_an_ancestor_failed(
    drawn, data
):
    story = Story(drawn)
    story.check()
    for _ in range(12 * drawn.size):
        if not story.plan.unfinished:
            break
        story.step(data)
        story.check()
    story.go_to_its_end(data)
    for task, state in enumerate(story.plan.state(task) for task in range(drawn.size)):
        assert story.taken[task] == (0 if state is SKIPPED else 1 + story.delays[task])
    assert not any(story.has_ready(group) for group in range(3))


@steadily
@given(graphs(), st.data())
def test_tasks_that_are_taken_over_have_succeeded_and_are_never_given_out(drawn, data):
    story = Story(drawn)
    done: set[int] = set()
    for task in range(drawn.size):
        if done.issuperset(drawn.graph.dependencies[task]) and data.draw(st.booleans()):
            done.add(task)
    story.plan.take_over(sorted(done))
    story.succeeded |= done
    story.check()
    story.go_to_its_end(data)
    assert not any(story.taken[task] for task in done)


@steadily
@given(graphs(), st.data())
def test_what_is_not_allowed_raises_and_changes_nothing(drawn, data):
    story = Story(drawn)
    for _ in range(data.draw(st.integers(0, 3 * drawn.size))):
        if story.plan.unfinished:
            story.step(data)
    plan = story.plan
    before = copy.deepcopy(contents(plan))
    moves = {SUCCEEDED: plan.succeed, FAILED: plan.fail, DELAYED: plan.delay}
    for task in range(drawn.size):
        state = plan.state(task)
        for wanted, move in moves.items():
            if wanted not in MOVES[state]:
                with pytest.raises(
                    RuntimeError, match=f"'t{task}' cannot go from {state.name} to {wanted.name}"
                ):
                    move(task)
                assert contents(plan) == before
        if state is not DELAYED:  # a waiting task becomes ready too, but only by its dependencies
            with pytest.raises(RuntimeError, match=f"'t{task}' cannot go from {state.name} to READY"):
                plan.resume(task)
            assert contents(plan) == before
    for group in range(max(drawn.groups, default=-1) + 1):
        if next_rank(plan, group, ENOUGH) is None:
            with pytest.raises(IndexError):
                plan.take(group)
            assert contents(plan) == before
    for task in range(drawn.size if drawn.needs else 0):
        group, state = drawn.groups[task], plan.state(task)
        if group in plan._kinds and state is not READY:
            with pytest.raises(RuntimeError, match=f"'t{task}' cannot go from {state.name} to RUNNING"):
                plan.take(group, plan.ranks[task])
            assert contents(plan) == before


@steadily
@given(graphs(), st.data())
def test_ready_tasks_go_by_priority_then_by_the_chain_below_then_in_order(drawn, data):
    graph = drawn.graph
    durations = data.draw(st.none() | st.lists(st.floats(0, 9), min_size=drawn.size, max_size=drawn.size))
    lengths = graph.heights if durations is None else graph.bottom_levels(durations)
    one_group = Plan(graph, [0] * drawn.size, durations)
    ready = {task for task in range(drawn.size) if not graph.dependencies[task]}
    while one_group.unfinished:
        task = one_group.take(0)
        assert task == min(ready, key=lambda t: (-graph.tasks[t].priority, -lengths[t], t))
        ready.remove(task)
        ready.update(one_group.succeed(task))
    assert not ready


def test_each_state_has_its_moves_and_only_ends_have_none():
    assert set(MOVES) == set(State)
    assert {state for state, moves in MOVES.items() if not moves} == ENDED


class Counted(int):
    """An amount that counts how often it is compared with what a task needs."""

    def __new__(cls, amount: int) -> Counted:
        self = super().__new__(cls, amount)
        self.asked = 0
        return self

    def __lt__(self, needed: float) -> bool:
        self.asked += 1
        return int(self) < needed


@pytest.mark.parametrize("kinds", [1, 2, 50])
def test_where_nothing_can_start_what_waits_for_different_resources_is_not_looked_through(kinds):
    needs = [{f"r{n % kinds}": 1} for n in range(2_000)]
    graph = Graph([Task(f"t{n}", abs, resources=need) for n, need in enumerate(needs)])
    plan = Plan(graph, [0] * len(needs), needs=needs)
    available = {name: Counted(0) for need in needs for name in need}
    assert plan.rank_of_next(0, available) is None
    available["r0"] = Counted(1)
    assert next_rank(plan, 0, available) == 0
    assert sum(amount.asked for amount in available.values()) < 2 * kinds + 50


def test_where_tasks_lack_either_of_two_resources_they_are_not_looked_through():
    needs = [{"a": 1, "b": 5}, {"a": 5, "b": 1}] * 1_000
    kinds = ReadyKinds(dict(enumerate(needs)), range(len(needs)))
    available = {"a": Counted(4), "b": Counted(4)}
    assert kinds.first(available) is None
    assert sum(amount.asked for amount in available.values()) < 20
    kinds.note_more("a", {"a": 5})
    assert kinds.first({"a": 5, "b": 4}) == 1


def test_what_needs_a_resource_of_its_own_and_a_common_one_is_not_looked_through_each_time():
    hosts, rounds = 500, 20
    needs = [{f"host-{n % hosts}": 1, "net": 1} for n in range(4 * hosts)]
    kinds = ReadyKinds(dict(enumerate(needs)), range(len(needs)))
    free = {name: Counted(1) for need in needs for name in need}
    busy = {**free, "net": Counted(0)}
    for rank in range(rounds):
        kinds.note_more(["net"], free)
        assert kinds.first(free) == rank
        kinds.remove(rank)
        assert kinds.first(busy) is None
    asked = sum(amount.asked for amount in [*free.values(), busy["net"]])
    assert asked < 20 * rounds + 5 * hosts


def test_a_look_takes_no_longer_after_many_times_that_there_was_more_and_less_of_a_resource():
    rounds = 400
    needs = [{"db": 2 - rank % 2} for rank in range(2 * rounds)]
    kinds = ReadyKinds(dict(enumerate(needs)), range(len(needs)))
    one, two = Counted(1), Counted(2)
    for _ in range(rounds // 2):
        for available in (one, two):
            first = kinds.first({"db": available})
            assert first is not None
            kinds.remove(first)
            kinds.note_more(["db"], {"db": two})
    assert one.asked + two.asked < 15 * rounds


@steadily
@given(st.integers(0))
def test_the_first_that_can_have_what_it_needs_is_found_whatever_comes_and_goes(seed):
    random = Random(seed)
    names = "abcd"[: random.randint(1, 4)]
    needs = [
        {name: random.randint(1, 3) for name in names if random.random() < 0.6}
        for _ in range(random.randint(1, 20))
    ]
    ready = {rank for rank in range(len(needs)) if random.random() < 0.7}
    kinds = ReadyKinds(dict(enumerate(needs)), sorted(ready))
    later, running = {*range(len(needs))} - ready, []
    available = {name: random.randint(3, 6) for name in names}

    def check(amounts):
        fitting = [rank for rank in ready if all(amounts[name] >= n for name, n in needs[rank].items())]
        assert kinds.first(amounts) == min(fitting, default=None)
        return min(fitting, default=None)

    for _ in range(60):
        first = check(available)
        reserved = random.sample(names, random.randint(0, len(names)))
        check({**available, **dict.fromkeys(reserved, 0)})
        kinds.note_more(reserved, available)
        if first is not None and random.random() < 0.6:
            kinds.remove(first)
            ready.remove(first)
            running.append(first)
            for name, amount in needs[first].items():
                available[name] -= amount
        elif running and random.random() < 0.6:
            ended = running.pop(random.randrange(len(running)))
            for name, amount in needs[ended].items():
                available[name] += amount
            kinds.note_more(needs[ended], available)
        elif later:
            comes = later.pop()
            ready.add(comes)
            kinds.add(comes)


def test_what_is_ready_after_a_run_was_taken_over_goes_in_order():
    graph = Graph([Task(f"t{n}", abs) for n in range(7)])
    plan = Plan(graph, [0] * 7, durations=[7, 3, 6, 2, 1, 5, 4])  # ranks 0, 4, 1, 5, 6, 2, 3
    plan.take_over([0])
    assert [plan.take(0) for _ in range(6)] == [2, 5, 6, 1, 3, 4]
