"""Values as bytes, for the way between processes.

:func:`dump` and :func:`load` are for whoever carries a value: what goes wrong is a SerializationError that
names the task, the culprit's place inside the value, and what to do. :func:`dump_value` is the same without
those words.

Worker processes import this module before their first task. What cloudpickle is needed for stands in
:mod:`processes.by_value`, which is imported for the first value that is more than numbers and text.
"""

from __future__ import annotations

import pickle

TYPE_CHECKING = False  # typing takes longer to import than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

PROTOCOL: Final = 5  # the first with out-of-band buffers

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_SMALL: Final = 16  # items; looking through more takes longer than the pickler that it saves


class Pickled:
    """A value as bytes.

    Attributes
    ----------
    data : bytes
        The pickle.
    plain : bool
        Whether reading it runs no code but Python's own and that of a few well-known libraries. Anything
        else is read back by the process that made it, before another one's life depends on it.
    home_only : bool
        Whether it names classes that only the process it was made for has, so that it can be read there and
        nowhere else.
    """

    __slots__ = ("data", "home_only", "plain")

    def __init__(self, data: bytes, plain: bool, home_only: bool) -> None:
        self.data = data
        self.plain = plain
        self.home_only = home_only


def dump(
    value: object,
    *,
    task_name: str,
    what: str | tuple[str, ...],
    to_sender: bool = False,
    buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
) -> Pickled:
    """Serialize a value that belongs to a task.

    Parameters
    ----------
    value : object
        Anything.
    task_name : str
        For the error.
    what : str or tuple of str
        What the value is called in the error, as in ``"result"``; or, where it is a tuple, its items, as in
        ``("args", "kwargs")``.
    to_sender : bool, default False
        False on the way to a worker, True on the way back: classes that came by value go back by name, so
        that the other side finds its own.
    buffer_callback : callable, optional
        Takes the buffers that stay out of the data; see :class:`pickle.Pickler`.

    Returns
    -------
    Pickled

    Raises
    ------
    SerializationError
        If the value cannot be serialized, whatever its code raised on the way.
    """
    try:
        return dump_value(value, to_sender, buffer_callback)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from .culprit import cannot_dump

        _drop_own_frames(error)
        raise cannot_dump(value, error, task_name, what, to_sender) from error


def dump_value(
    value: object,
    to_sender: bool = False,
    buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
) -> Pickled:
    """Serialize a value; raises what the value's own code raises."""
    if _is_simple(value):
        return Pickled(pickle.dumps(value, PROTOCOL), True, False)
    from .by_value import dump_by_value

    return dump_by_value(value, to_sender, buffer_callback)


def load(
    data: bytes | bytearray | memoryview,
    *,
    task_name: str,
    what: str | tuple[str, ...],
    buffers: Iterable[Any] = (),
) -> Any:
    """Make the value that :func:`dump` has serialized.

    Parameters
    ----------
    data : bytes-like
        The pickle.
    task_name, what
        As for :func:`dump`.
    buffers : iterable of bytes-like
        What the callback took, in the same order.

    Raises
    ------
    SerializationError
        If the value cannot be made, whatever its code raised on the way.
    """
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - between processes of one user
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from .culprit import cannot_load

        _drop_own_frames(error)
        raise cannot_load(error, task_name, what) from error


def _drop_own_frames(error: BaseException) -> None:
    from .failure import drop_leading_frames

    drop_leading_frames(error, {__name__, f"{__package__}.by_value", "cloudpickle.cloudpickle"})


def _is_simple(value: Any) -> bool:
    """Tell whether a value is small and made of numbers and text, up to two containers deep."""
    return _holds_atoms(value) or (
        type(value) is tuple and len(value) <= _SMALL and all(map(_holds_atoms, value))
    )


def _holds_atoms(value: Any) -> bool:
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is tuple or kind is list:
        return len(value) <= _SMALL and ATOMS.issuperset(map(type, value))
    if kind is dict:
        return (
            len(value) <= _SMALL
            and ATOMS.issuperset(map(type, value))
            and ATOMS.issuperset(map(type, value.values()))
        )
    return False
