"""Attempts on their way to the workers."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ...exceptions import SerializationError
from ...serialization.pickling import ARGUMENTS, dump_simple_arguments
from . import abilities, wire
from .arguments import Arguments
from .functions import Functions
from .shipment import Shipment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...attempt import Attempt, Raised
    from ...serialization.pickling import Buffer, Pickled
    from .buffers import DataFile
    from .functions import SentFunction
    from .kept import Kept
    from .pace import Pace
    from .parcel import Key, Piece, Places


class Job(Shipment):
    """An attempt on its way, with its arguments.

    Attributes
    ----------
    classes : sequence of Shipment
        Those that its arguments need.
    kept : Kept or None
        The argument that the worker already has, which nobody else has.
    log_failure : Raised or None
        How the program failed to log the first record of the attempt that it failed to log.
    """

    __slots__ = ("attempt", "classes", "function", "kept", "log_failure")

    def __init__(
        self,
        attempt: Attempt,
        function: SentFunction,
        frame: list[Buffer],
        classes: Sequence[Shipment] = (),
    ) -> None:
        self.frame = frame
        self.files = ()
        self.make_frame = None
        self.attempt = attempt
        self.function = function
        self.classes = classes
        self.kept: Kept | None = None
        self.log_failure: Raised | None = None


class Packer:
    """Packs the attempts of a run into jobs; what several of them need is serialized once."""

    def __init__(self, pace: Pace, is_shared: Callable[[object], bool]) -> None:
        self._pace = pace
        # Of all values; see :meth:`.parcel.Parcel.of`.
        self._large_pieces: WeakValueDictionary[Key, Piece] = WeakValueDictionary()
        self.functions = Functions(self._large_pieces, is_shared)
        self._arguments = Arguments(self.functions, self._large_pieces)

    def pack(self, attempt: Attempt, kept: Kept | None = None) -> Job:
        """Return the job of an attempt; `kept` is the argument that the worker has which will get it.

        Raises
        ------
        SerializationError
            If its function or an argument cannot be serialized.
        """
        function, args, kwargs = self.functions.find(
            attempt.func, attempt.args, attempt.kwargs, attempt.task_name
        )
        flags = 0 if attempt.timeout is None else wire.ANNOUNCE
        if attempt.captures_output:
            flags |= wire.CAPTURE
        if function.own:
            flags |= wire.VARIANT
        if attempt.may_stay and abilities.CAN_TAKE_BACK:
            flags |= wire.MAY_STAY
        classes: Sequence[Shipment] = ()
        arguments: bytes | None
        if not (args or kwargs):
            flags |= wire.NO_ARGUMENTS
            arguments = b""
        elif (arguments := dump_simple_arguments(args, kwargs)) is None:
            try:
                own, classes, results = self._arguments.dump(
                    args, kwargs, attempt.task_name, has_sealed=attempt.has_sealed
                )
            except SerializationError:
                # What the function is bound to goes before: then the error names the place in that.
                if len(args) > len(attempt.args):
                    self.functions.dump(attempt.func, attempt.task_name, "func")
                raise
            if not own.data or results:
                return self._pack_in_parcels(attempt, function, classes, flags, own, results, kept)
            arguments = own.data
        if attempt.frame_filter is None:
            flags |= wire.NAME_ONLY
            description = attempt.task_name.encode(errors="surrogatepass")
        else:
            description = pickle.dumps((attempt.task_name, attempt.frame_filter))
        body = function.own + arguments
        if len(body) >= wire.CHUNK or self._pace.has_large_arguments:
            self._pace.note_arguments(len(body))
        head = wire.attempt_head(attempt.ticket, function.number, flags, description, len(body))
        return Job(attempt, function, [head + body] if len(body) < wire.CHUNK else [head, body], classes)

    def _pack_in_parcels(
        self,
        attempt: Attempt,
        function: SentFunction,
        classes: Sequence[Shipment],
        flags: int,
        own: Pickled,
        results: Places,
        kept: Kept | None,
    ) -> Job:
        from .parcel import Parcel, encode

        places_of_kept: list[int | str] = []
        if kept is not None:
            flags |= wire.WITH_KEPT
            places_of_kept = results.pop(kept)
        places = list(results.values())

        def frame(*, in_band: bool = False) -> tuple[list[Buffer], list[DataFile]]:
            layouts, inside, files = encode(parcels, in_band=in_band)
            layout = (layouts, places, places_of_kept)
            description = pickle.dumps((attempt.task_name, attempt.frame_filter, *layout))
            kind = flags | wire.IN_PARCELS | wire.WITH_FILES * bool(files)
            length = len(function.own) + sum(map(len, inside))
            head = wire.attempt_head(attempt.ticket, function.number, kind, description, length)
            return wire.pieces(length, (head + function.own, *inside)), files

        own_parcel = Parcel.of(own, attempt.task_name, ARGUMENTS, self._large_pieces)
        self._pace.note_arguments(own_parcel.added)
        parcels = [own_parcel, *results]
        job = Job(attempt, function, [], classes)
        job.make(frame)
        job.kept = kept
        return job
