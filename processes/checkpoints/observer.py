"""Saves what tasks return, and finds what an earlier run has saved."""

from __future__ import annotations

import os
import pickle
from enum import Enum
from operator import getitem
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..attempt import Sealed
from ..caller import warn
from ..events import RunFinished, TaskFinished
from ..exceptions import SerializationError
from ..interrupt import is_of_signal
from ..reprs import brief_repr
from ..serialization.by_base import as_it_is, is_users, registered_reducer
from ..serialization.class_parts import form_of
from ..serialization.pickling import PROTOCOL, dump, dump_simple, load
from ..task_types import TaskResult, TaskStatus
from .contents import DIGEST_BYTES
from .file import CheckpointFile, Head
from .fingerprint import Fingerprints, NoFingerprintError, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..events import Event
    from ..graph import Graph
    from ..serialization.pickling import Buffer
    from .file import Record, Value

_NOT_SAVED = "no result of it is saved"


class Checkpoint:
    """Keeps the results of a run in a file, and gives those that an earlier run has kept.

    A task is taken from the file if what it calls has the same fingerprint, and all that it depends on is
    taken from there too, from the very records that its own result was made with. So what is below a task
    that runs again runs again.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    graph : Graph
        The run's tasks.
    returned : callable
        Gives what the task has returned whose success is being told, sealed or not.

    Attributes
    ----------
    saved : dict of int to tuple
        By task index, in order: the result of each task that is taken from the file, and the value that
        other tasks may need.
    why_again : dict of str to str
        By name, why tasks run that an earlier run has saved.

    Raises
    ------
    TypeError
        If `path` is no path.
    OSError, ValueError
        As :class:`~processes.checkpoints.file.CheckpointFile` has them.
    """

    def __init__(self, path: str | os.PathLike[str], graph: Graph, returned: Callable[[], object]) -> None:
        _check_path(path)
        self._graph = graph
        self._returned = returned
        self._warned_of: set[str] = set()
        self._untold: dict[str, str] = {}  # why tasks have no fingerprint, by name
        self._used: list[dict[str, bytes]] = []  # by task index: what tells the variables of its function
        # By task index; None where a task has none:
        self._calls: list[bytes | None] = []  # their fingerprints
        self._ids: list[bytes | None] = [None] * len(graph.names)  # of their records
        self._file = CheckpointFile(path)
        try:
            fingerprints = Fingerprints()
            for task in graph.tasks:
                try:
                    self._calls.append(fingerprints.of_call(task.func, task.args, task.kwargs))
                except NoFingerprintError as error:
                    self._untold[task.name] = str(error)
                    self._calls.append(None)
                self._used.append(fingerprints.used_by(task.func))
            self.saved = self._find_saved()
            self.why_again = {
                name: self._why_again(task, self._file.records[name].head)
                for name, task in graph.index.items()
                if name in self._file.records and task not in self.saved
            }
        except BaseException:
            self.leave()
            raise

    def __call__(self, event: Event) -> None:
        """Save a result, or close the file at the end."""
        match event:
            case TaskFinished(name, result, from_checkpoint):
                if result.status is TaskStatus.SUCCESS and not from_checkpoint:
                    self._save(self._graph.index[name], result)
            case RunFinished():
                try:
                    self._close()
                except OSError as error:  # NFS tells only here that a disk or a quota was full
                    self._warn(
                        "close",
                        f"The checkpoint {self._file.path!r} cannot be closed, and what this run has saved "
                        f"in it may be lost: {error}",
                    )

    def _close(self) -> None:
        """Close the file."""
        try:
            if not self._file.is_in_place():
                self._warn(
                    "place",
                    f"The checkpoint {self._file.path!r} was removed or replaced while the run went on, and "
                    "what this run has saved in it is lost; keep it where no task cleans up",
                )
        finally:
            self._file.close(self._graph.index)

    def leave(self) -> None:
        """Close the file with all that it has."""
        self._file.close(self._file.records)

    # What an earlier run has saved

    def _find_saved(self) -> dict[int, tuple[TaskResult, Any]]:
        values: dict[int, Any] = {}  # by task index
        unreadable: set[int] = set()
        while True:
            records = self._valid_records(unreadable)
            for task in records:
                if task not in values and self._is_needed(task, records) and not self._read(task, values):
                    unreadable.add(task)
            if unreadable.isdisjoint(records):
                break
        saved = {}
        for task, record in records.items():
            head, value = record.head, values.get(task)
            result = TaskResult.success(
                value if self._graph.tasks[task].keep_result else None,
                elapsed_seconds=head.elapsed_seconds,
                attempts=head.attempts,
            )
            saved[task] = (result, value)
        return saved

    def _valid_records(self, unreadable: set[int]) -> dict[int, Record]:
        """Find the records that hold for this run, in order; those of some tasks cannot be read."""
        found = {}
        for task, name in enumerate(self._graph.names):
            self._ids[task] = None
            record = self._file.records.get(name)
            if (
                record is not None
                and task not in unreadable
                and record.head.key == self._key(task)
                and (record.sizes is not None or not self._is_asked_for(task))
            ):
                self._ids[task] = record.head.record_id
                found[task] = record
        return found

    def _key(self, task: int) -> bytes | None:
        """Return what a task is made of: its function, its arguments, the records of what it depends on."""
        call, sources = self._calls[task], self._graph.dependencies[task]
        if call is None or not sources:
            return call
        ids = [self._ids[source] for source in sources]
        if None in ids:
            return None
        names = [self._graph.names[source] for source in sources]
        return call + digest_of(repr((names, self._graph.passed[task], ids)).encode())

    def _why_again(self, task: int, saved: Head) -> str:
        """Tell why a task runs of which the file has this."""
        call = self._calls[task]
        if call is None:
            return "the contents of what it calls or gets cannot be told"
        if call[:DIGEST_BYTES] != saved.key[:DIGEST_BYTES]:
            used, before = self._used[task], saved.used
            changed = next((name for name in used if used[name] != before.get(name)), "")
            if changed == "__module__":  # as where `python` and `processes run` run a file in turn
                now, then = used[changed].decode(), before.get(changed, b"").decode()
                return f"its function is of module {now!r}, and was of {then!r}"
            return f"its function{f' uses {changed!r}, which' if changed else ''} is not what it was"
        if call != saved.key[: len(call)]:
            return "its arguments are not what they were"
        for source in self._graph.dependencies[task]:
            if self._ids[source] is None:
                return f"it depends on {self._graph.names[source]!r}, which runs"
        if self._key(task) != saved.key:
            return "it depends on other tasks, on newer results, or in another way"
        return "its result was not needed then, or cannot be read"

    def _is_asked_for(self, task: int) -> bool:
        """Tell whether anybody may ask for the value that a task returns."""
        return self._graph.tasks[task].keep_result or bool(self._graph.dependants[task])

    def _is_needed(self, task: int, records: Mapping[int, Record]) -> bool:
        """Tell whether this run needs a task's value, if the other tasks that have records do not run."""
        return self._graph.tasks[task].keep_result or not records.keys() >= {*self._graph.dependants[task]}

    def _read(self, task: int, values: dict[int, Any]) -> bool:
        """Read the value of a task into a dict; False if that cannot be."""
        name = self._graph.names[task]
        try:
            data, *buffers = self._file.read(self._file.records[name])
            values[task] = load(data, task_name=name, what="result", buffers=buffers)
        except (OSError, MemoryError, SerializationError) as error:
            self._warn("read", f"The saved result of task {name!r} cannot be used, so it runs again: {error}")
            return False
        return True

    # What this run saves

    def _save(self, task: int, result: TaskResult) -> None:
        key, name = self._key(task), self._graph.names[task]
        if key is None:
            if name in self._untold:
                self._warn(
                    "fingerprint",
                    f"Task {name!r} is not saved, and the next run runs it again, since the contents of what "
                    f"it calls or gets cannot be told: {self._untold[name]}",
                )
            return
        record_id = os.urandom(16)
        head = Head(name, key, record_id, result.elapsed_seconds, result.attempts, self._used[task])
        try:
            value = _pickled(self._returned(), name) if self._is_asked_for(task) else None
            self._file.append(head, value)
        except SerializationError as error:
            self._warn(
                "dump",
                f"The result of task {name!r} cannot be saved, so the next run runs it again: "
                f"{error.path} is a {error.type}, which cannot be serialized",
            )
        except (OSError, MemoryError) as error:
            self._warn(
                "write",
                f"The checkpoint cannot be written, and the next run runs task {name!r} again: {error}",
            )
        else:
            self._ids[task] = record_id

    def _warn(self, what: str, message: str) -> None:
        """Tell of the first case of a kind."""
        if what not in self._warned_of:
            self._warned_of.add(what)
            warn(message)


def why_tasks_run(path: str | os.PathLike[str], graph: Graph) -> dict[str, str]:
    """Tell why tasks would run with a checkpoint, by name; not of those whose results it has."""
    _check_path(path)
    if not os.path.exists(path):  # it shall not be made
        return dict.fromkeys(graph.names, _NOT_SAVED)
    checkpoint = Checkpoint(path, graph, lambda: None)
    checkpoint.leave()
    saved, why_again = checkpoint.saved, checkpoint.why_again
    return {name: why_again.get(name, _NOT_SAVED) for name in graph.names if graph.index[name] not in saved}


def _check_path(path: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint must be str or os.PathLike, not {brief_repr(path)}")
    if not os.fspath(path):
        raise ValueError("checkpoint must be the path of a file, not an empty one")


def _pickled(value: object, task_name: str) -> Value:
    """Return a value's pickle, in pieces, and the buffers that belong to it.

    Raises
    ------
    SerializationError
        If it cannot be serialized.
    """
    if issubclass(type(value), Sealed):
        assert isinstance(value, Sealed)
        if (pieces := value.pickled()) is not None:
            return pieces
        value = value.open()
    if (data := dump_simple(value)) is not None:
        return [data], []
    stream: list[Buffer] = []
    buffers: list[pickle.PickleBuffer] = []
    try:
        # What is large comes as it is, not as a copy.
        file: Any = SimpleNamespace(write=stream.append)
        _NamingPickler(file, PROTOCOL, buffer_callback=buffers.append).dump(value)
        return stream, [buffer.raw() for buffer in buffers]
    except BaseException as error:
        if is_of_signal(error):
            raise
    pickled = dump(value, task_name=task_name, what="result", in_pieces=True)
    return pickled.stream or [pickled.data], pickled.buffers


class _NamingPickler(pickle.Pickler):
    """Names classes and functions: the next run has them, and to bring each would take long.

    Objects of classes that pickle would fail to make again go as they do to workers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ordinary: dict[int, type] = {}  # types, by id, whose objects pickle reduces as they are

    def reducer_override(self, obj: Any) -> Any:
        """Reduce an object; the pickler asks for each that is of no builtin type."""
        kind = type(obj)
        if id(kind) in self._ordinary:
            return NotImplemented
        if issubclass(kind, type):
            form = form_of(obj)
            return NotImplemented if form is None else (getitem, form)
        is_registered = registered_reducer(kind) is not None
        if is_registered or not is_users(kind) or issubclass(kind, Enum):
            self._ordinary[id(kind)] = kind
            return NotImplemented
        reduced = obj.__reduce_ex__(PROTOCOL)
        if isinstance(reduced, str):
            return reduced
        if (made := as_it_is(obj, reduced)) is reduced:
            self._ordinary[id(kind)] = kind
        return made
