"""Finds many texts in another one, as needles in a haystack."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST = 256  # characters; bounds what is compared at each place of the haystack


class Needles:
    """Texts that are looked for in others.

    A search takes time in proportion to the length of the haystack, and to the logarithm of how many needles
    there are, whatever both are made of. (A regular expression of all needles nests as deep as they begin one
    another, and recursion has a limit.)

    Parameters
    ----------
    texts : iterable of str
        None of them empty. One longer than `LONGEST` is looked for in pieces of that length.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._needles = sorted({piece for text in texts for piece in _pieces(text)})
        # By needle, the lengths of those that it begins with, and its own.
        self._lengths: list[tuple[int, ...]] = []
        begins_with: list[str] = []
        for needle in self._needles:
            while begins_with and not needle.startswith(begins_with[-1]):
                begins_with.pop()
            begins_with.append(needle)
            self._lengths.append(tuple(map(len, begins_with)))
        self._shortest = min(map(len, self._needles), default=1)
        self._starts = {needle[: self._shortest] for needle in self._needles}

    @cached_property
    def backwards(self) -> Needles:
        """The same needles, for a haystack that is read from its end."""
        return Needles(needle[::-1] for needle in self._needles)

    def spans(self, haystack: str) -> Iterator[tuple[int, int]]:
        """Give start and end of each part that consists of needles; they may overlap in it."""
        start = end = 0
        starts, shortest = self._starts, self._shortest
        for at in range(len(haystack) - shortest + 1):
            if haystack[at : at + shortest] in starts and (length := self._length_at(haystack, at)):
                if at > end:
                    if end:
                        yield start, end
                    start = at
                end = max(end, at + length)
        if end:
            yield start, end

    def _length_at(self, haystack: str, at: int) -> int:
        """Return the length of the longest needle at a place, or 0."""
        ahead = haystack[at : at + LONGEST]
        # Of the needles up to `ahead` in the order, the last begins with all those that stand here.
        index = bisect_right(self._needles, ahead) - 1
        if index < 0:
            return 0
        needle, lengths = self._needles[index], self._lengths[index]
        count = bisect_left(lengths, True, key=lambda length: not ahead.startswith(needle[:length]))
        return lengths[count - 1] if count else 0

    def overlap(self, haystack: str, least: int) -> int:
        """Return how many characters at a haystack's end begin a needle; 0 if it is less than `least`."""
        for at in range(max(0, len(haystack) - LONGEST), len(haystack) - least + 1):
            rest = haystack[at:]
            index = bisect_left(self._needles, rest)
            if index < len(self._needles) and self._needles[index].startswith(rest):
                return len(rest)
        return 0


def _pieces(text: str) -> Iterator[str]:
    """Cut a long needle; the last piece reaches back into the one before, so that it is as long."""
    for at in range(0, len(text) - LONGEST, LONGEST):
        yield text[at : at + LONGEST]
    yield text[-LONGEST:]
