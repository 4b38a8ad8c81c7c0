"""What runners keep open in a ``with`` block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ..forks import fork_safe_lock
from .base import ProcessRunner

if TYPE_CHECKING:
    from typing import Any, ClassVar, Self


class Block:
    """What a runner has for as long as a ``with`` block of it lasts.

    Attributes
    ----------
    depth : int
        How many blocks there are, one within the other.
    """

    depth: int = 0

    def close(self) -> None:
        """Let go of it; called when the outermost block is left."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # A copy of its runner is in no block: what this one has stays with who has entered it.
        return type(None), ()


_B = TypeVar("_B", bound=Block)


class BlockRunner(ProcessRunner, Generic[_B]):
    """A runner that has something for all runs of a ``with`` block."""

    _block: _B | None = None
    # Guards the blocks of runners: several threads may enter and leave those of one.
    _entering: ClassVar[Any] = fork_safe_lock()

    def _begin_block(self) -> _B:
        """Make what the runs of a block share."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with self._entering:
            if self._block is None:
                self._block = self._begin_block()
            self._block.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._entering:
            block = self._block
            if block is None:
                return
            block.depth -= 1
            if block.depth:
                return
            self._block = None
        block.close()
