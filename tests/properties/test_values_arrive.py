"""Random values of every size, nested at random, arrive at tasks and come back from them as they were."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from steadiness import steadily
from working import Pair, give_back, spoil

from processes import Process, ProcessPoolRunner, Task, TaskDependency
from processes.serialization.pickling import LARGE

FRAME = 1 << 16  # from so many bytes on the pickler writes what is in one piece by itself


sizes = st.sampled_from(
    [0, 1, 1_000, FRAME - 1, FRAME, 2 * FRAME, LARGE - 1, LARGE, LARGE + 1]
) | st.integers(0, 2 * LARGE)


def bytes_of(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.uint8)


def numbers_of(size: int) -> np.ndarray:
    return np.arange(size // 8, dtype=np.float64)


# Imported where they are used: each of xdist's workers collects all tests, and pandas takes 0.3 s.


def frame_of(size: int) -> Any:
    import pandas as pd

    return pd.DataFrame({"a": numbers_of(size), "b": numbers_of(size) * 2})


def texts_of(size: int) -> Any:
    import pandas as pd

    return pd.Series(["text"] * (size // 64))


def table_of(size: int) -> Any:
    import pyarrow as pa

    return pa.table({"a": numbers_of(size)})


data = st.one_of(
    sizes.map(bytes_of),
    sizes.map(lambda size: bytes_of(size)[::2]),
    sizes.map(lambda size: np.asfortranarray(numbers_of(size // 16 * 16).reshape(2, -1))),
    sizes.map(lambda size: bytes_of(size).tobytes()),
    sizes.map(lambda size: bytearray(bytes_of(size))),
    sizes.map(lambda size: "é" * (size // 2)),
    sizes.map(lambda size: [str(number) for number in range(size // 16)]),
    sizes.map(frame_of),
    sizes.map(texts_of),
    sizes.map(table_of),
    sizes.map(lambda size: Pair(size, numbers_of(size))),
    st.sampled_from([None, True, 2**70, 1.5, "", Decimal("1.5"), datetime(2026, 1, 1, tzinfo=UTC), {1, 2}]),
    st.just(Counter("values")),
)
values = st.recursive(
    data,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if isinstance(one, Pair):
        return same(one.one, other.one) and same(one.other, other.other)
    return bool(one.equals(other)) if hasattr(one, "equals") else bool(one == other)


def test_values_arrive_and_come_back_as_they_were() -> None:
    @settings(steadily, max_examples=40)
    @given(value=values, other=values, keep=st.booleans())
    def check(value: Any, other: Any, keep: bool) -> None:
        first = [TaskDependency("first", use_result_as_additional_args=True)]
        tasks = [
            Task("first", give_back, args=(value,), kwargs={"other": other}, keep_result=keep),
            Task("spoil", spoil, dependencies=first),
            Task("behind", give_back, args=(other,), dependencies=first),
            Task("bound", partial(give_back, other), args=(value,)),
        ]
        report = Process(tasks).run(runner=runner)
        report.raise_for_errors()
        came = ((value,), {"other": other})
        assert same(report.results["first"], came if keep else None)
        assert same(report.results["behind"], ((other, came), {}))
        assert same(report.results["bound"], ((other, value), {}))

    with ProcessPoolRunner(2) as runner:
        check()
