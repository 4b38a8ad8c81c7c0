"""What a worker is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...pickling import Buffer
    from .buffers import DataFile


class Cargo:
    """What is large in a shipment.

    Parameters
    ----------
    files : list of DataFile
        What goes through the side channel, for the shipment's frame.
    make : callable
        Makes the frame, and the list of its files; with ``in_band=True`` it has all data in itself.
    """

    __slots__ = ("files", "make")

    def __init__(
        self, files: list[DataFile], make: Callable[..., tuple[list[Buffer], list[DataFile]]]
    ) -> None:
        self.files = files
        self.make = make


class Shipment:
    """What a worker is sent in one frame.

    Attributes
    ----------
    frame : list of bytes-like
        The frame.
    cargo : Cargo or None
        Its data, where that is large: what must live until it has arrived.
    """

    __slots__ = ("cargo", "frame")

    def __init__(self, frame: list[Buffer], cargo: Cargo | None = None) -> None:
        self.frame = frame
        self.cargo = cargo

    def do_without_files(self) -> None:
        """Put all data into the frame, since its files do not arrive."""
        if self.cargo is not None and self.cargo.files:
            self.frame, self.cargo.files = self.cargo.make(in_band=True)
