"""exponential_backoff: how long to wait, and how it is shown and travels."""

from __future__ import annotations

import copy
import pickle
from math import nan

import pytest

from processes import Task, exponential_backoff

ATTEMPTS = (1, 2, 3, 4, 5_000)


def test_delays_grow_up_to_their_maximum():
    wait = exponential_backoff(0.5, factor=3, maximum=10, jitter=False)
    assert [wait(attempt) for attempt in ATTEMPTS] == [0.5, 1.5, 4.5, 10, 10]


def test_jitter_draws_from_zero_to_the_full_length():
    wait, full = exponential_backoff(0.5), exponential_backoff(0.5, jitter=False)
    for attempt in ATTEMPTS:
        drawn = [wait(attempt) for _ in range(100)]
        assert len(set(drawn)) > 1
        assert 0 <= min(drawn) <= max(drawn) <= full(attempt)


def test_a_backoff_may_be_nothing_and_need_not_grow():
    for options in ({"base": 0}, {"base": 1, "maximum": 0}):
        assert exponential_backoff(**options)(3) == 0
    assert exponential_backoff(2, factor=1, jitter=False)(3) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": -1}, "base and maximum must be at least 0, not -1 and 60"),
        ({"base": 1, "maximum": -2}, "base and maximum must be at least 0, not 1 and -2"),
        ({"base": 1, "factor": 0.5}, "factor must be at least 1, not 0.5"),
        ({"base": nan}, "base and maximum must be at least 0, not nan and 60"),
        ({"base": 1, "maximum": nan}, "base and maximum must be at least 0, not 1 and nan"),
        ({"base": 1, "factor": nan}, "factor must be at least 1, not nan"),
    ],
)
def test_a_backoff_that_would_go_below_nothing_or_shrink_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        exponential_backoff(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "1"}, "base must be a number, not '1'"),
        ({"base": 1, "factor": None}, "factor must be a number, not None"),
        ({"base": 1, "maximum": True}, "maximum must be a number, not True"),
        ({"base": 1, "jitter": 0.1}, "jitter must be bool, not float"),
    ],
)
def test_a_backoff_of_the_wrong_types_is_refused(options, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        exponential_backoff(**options)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_a_task_with_a_backoff_can_be_copied_and_pickled(duplicate):
    task = Task("ask", int, retries=3, retry_delay=exponential_backoff(0.5, 3, 10, jitter=False))
    copied = duplicate(task)
    assert [copied.retry_delay(attempt) for attempt in ATTEMPTS] == [0.5, 1.5, 4.5, 10, 10]
    assert repr(copied.retry_delay) == "exponential_backoff(0.5, factor=3, maximum=10, jitter=False)"
