"""What a worker is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...serialization.pickling import Buffer
    from .buffers import DataFile

    MakeFrame = Callable[..., tuple[list[Buffer], list[DataFile]]]


class Shipment:
    """What a worker is sent in one frame.

    Attributes
    ----------
    frame : list of bytes-like
        The frame.
    files : sequence of DataFile
        What goes before it through the side channel.
    make_frame : callable or None
        Where its data is large: makes the frame, and the list of its files; with ``in_band=True`` the frame
        has all data in itself. What must live until it has arrived belongs to it.
    """

    __slots__ = ("files", "frame", "make_frame")

    def __init__(self, frame: list[Buffer]) -> None:
        self.frame = frame
        self.files: Sequence[DataFile] = ()
        self.make_frame: MakeFrame | None = None

    def make(self, make_frame: MakeFrame) -> None:
        """Make the frame of large data, with files where there is room for them."""
        self.make_frame = make_frame
        self.frame, self.files = make_frame()

    def do_without_files(self) -> None:
        """Put all data into the frame, since its files do not arrive."""
        if self.files:
            assert self.make_frame is not None
            self.frame, self.files = self.make_frame(in_band=True)
