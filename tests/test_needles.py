"""Needles: all are found, and nothing else is."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from steadiness import steadily

from processes.comms.needles import LONGEST, Needles

FEW_LETTERS = st.text("ab", min_size=1, max_size=5)


def covered(needles: Needles, haystack: str) -> set[int]:
    """The places of all characters that stand in a needle."""
    spans = list(needles.spans(haystack))
    for (_, end), (start, _) in pairwise(spans):
        assert end < start  # what touches is one
    return {at for span in spans for at in range(*span)}


def covered_by_search(texts: list[str], haystack: str) -> set[int]:
    return {
        at
        for text in texts
        for start in range(len(haystack))
        if haystack.startswith(text, start)
        for at in range(start, start + len(text))
    }


@steadily
@given(st.lists(FEW_LETTERS), st.text("abc", max_size=30))
def test_the_spans_are_where_needles_stand(texts, haystack):
    assert covered(Needles(texts), haystack) == covered_by_search(texts, haystack)


@steadily
@given(st.lists(FEW_LETTERS, min_size=1), st.text("abc", max_size=30), st.integers(1, 4))
def test_the_overlap_is_the_longest_end_that_begins_a_needle(texts, haystack, least):
    ends = [haystack[at:] for at in range(len(haystack)) if len(haystack) - at >= least]
    beginning = [end for end in ends if any(text.startswith(end) for text in texts)]
    assert Needles(texts).overlap(haystack, least) == max(map(len, beginning), default=0)


def test_backwards_the_end_of_a_needle_is_found():
    assert Needles(["abcdef", "xyz"]).backwards.overlap("def --"[::-1], 3) == 3


def test_a_long_needle_is_found_whole():
    long = "".join(map(str, range(LONGEST)))
    assert len(long) > 2 * LONGEST
    haystack = f"a {long} b {long[: LONGEST - 1]} c"
    assert list(Needles([long]).spans(haystack)) == [(2, 2 + len(long))]
