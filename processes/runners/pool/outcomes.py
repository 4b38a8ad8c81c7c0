"""How an attempt ended, on its way from a worker to its parent."""

from __future__ import annotations

import errno
import os
import pickle
import sys

from ...attempt import Raised, Returned
from ...exceptions import SerializationError
from ...serialization.pickling import dump, dump_simple, load
from ..failures import dump_failure, failure_on_the_way, load_failure
from . import wire
from .descriptors import make_room

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ...attempt import Outcome
    from ...serialization.pickling import Buffer, Pickled
    from .buffers import DataFile

_MANY_OBJECTS = 1 << 12
"""Bytes of a pickle, beside its buffers, from which on the parent leaves it as it is.

So many objects take long to read, and to serialize again for each attempt that gets them.
"""


def pack_outcome(
    outcome: Outcome,
    task_name: str,
    send_files: Callable[[list[DataFile]], bool],
    keep: Callable[[Any, Pickled], None] | None = None,
) -> tuple[int, Sequence[Buffer]]:
    """Serialize an outcome in the worker: how it ended, and with what.

    A result that cannot travel is the task's failure. Of a large one a file may go ahead, unless `keep` takes
    it, and what it was serialized to. One of many objects goes as a large one does, without a file.
    """
    if isinstance(outcome, Returned):
        data = dump_simple(outcome.value)
        if data is not None:
            return wire.RETURNED_SIMPLE, (data,)
        make_room()  # what follows may have to be imported
        try:
            return _pack_result(outcome.value, task_name, send_files, keep)
        except SerializationError as error:
            outcome = failure_on_the_way(error)
    assert isinstance(outcome, Raised)
    return wire.RAISED, (dump_failure(outcome),)


def _pack_result(
    value: object,
    task_name: str,
    send_files: Callable[[list[DataFile]], bool],
    keep: Callable[[Any, Pickled], None] | None,
) -> tuple[int, Sequence[Buffer]]:
    pickled = dump(value, task_name=task_name, what="result", to_sender=True, in_pieces=True)
    if pickled.data and pickled.beside_buffers < _MANY_OBJECTS:
        if not pickled.plain:
            load(pickled.data, task_name=task_name, what="result")  # what this breaks is better broken here
        return wire.RETURNED, (pickled.data,)
    if keep is not None and pickled.plain and not pickled.data:
        keep(value, pickled)
        return wire.KEPT, ()
    return pack_large(pickled, task_name, send_files)


def pack_large(
    pickled: Pickled, task_name: str, send_files: Callable[[list[DataFile]], bool]
) -> tuple[int, Sequence[Buffer]]:
    """Do what :func:`pack_outcome` does, for a large result that was pickled before."""
    from .parcel import Parcel, encode, message

    parcel = Parcel.of(pickled, task_name, "result")
    if not pickled.plain:
        parcel.load()
    how = wire.RETURNED_FILE
    layouts, inside, files = encode([parcel])
    if not files or not send_files(files):
        how = wire.RETURNED_PARCEL
        layouts, inside, _ = encode([parcel], in_band=True)
    return how, message((pickled.plain, pickled.classes, pickled.modules, layouts), inside)


def unpack_outcome(
    how: int, data: bytes | memoryview, descriptors: Sequence[int] | None, task_name: str
) -> Outcome:
    """Make the outcome in the parent; a large result stays sealed where it can be opened at any time."""
    if how == wire.RETURNED_SIMPLE:
        return Returned(pickle.loads(data))  # noqa: S301 - from our own worker
    if how == wire.RAISED:
        return load_failure(data)
    try:
        if how == wire.RETURNED:
            return Returned(load(data, task_name=task_name, what="result"))
        if descriptors is None:
            from ...serialization.culprit import cannot_load

            raise cannot_load(OSError(errno.EMFILE, os.strerror(errno.EMFILE)), task_name, "result")
        return Returned(_take_parcel(memoryview(data), descriptors, task_name))
    except SerializationError as error:
        return failure_on_the_way(error)


def _take_parcel(data: memoryview, descriptors: Sequence[int], task_name: str) -> object:
    from .buffers import DataFile
    from .parcel import decode, read_message

    (plain, classes, modules, layouts), inside = read_message(data)
    (parcel,) = decode(layouts, inside, list(map(DataFile, descriptors)), task_name, "result")
    parcel.keep_descriptors_few()
    parcel.classes = classes
    if not (plain and modules <= sys.modules.keys()):
        parcel.open()  # should that fail, it is the task's own failure
    return parcel
