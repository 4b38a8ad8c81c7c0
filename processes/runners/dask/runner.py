"""Runs attempts on a cluster of dask.distributed."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from ...attempt import Finished, Returned, Started, put_in, take_sealed_out
from ...caller import warn
from ...checks import check_interpreter
from ...clock import monotonic
from ...exceptions import SerializationError
from ...interrupt import is_of_signal
from ...reprs import brief_repr
from ...serialization.pickling import LARGE
from ...task_types import TaskStatus
from ..block import BlockRunner
from ..remote import Requests
from ..waker import CalledOff
from .call import CALL, TOPIC, Kept, pack, response_of
from .connection import Connection, wait_for
from .values import OnCluster, bring_all, compute_again, is_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent import futures
    from typing import ClassVar

    from distributed import Client, Future

    from ...attempt import Attempt, Message
    from ..remote import Response
    from ..waker import Waker
    from .call import Packed

ATTEMPTS_A_THREAD: Final = 4
"""Given to the cluster at a time; while we take a result and send the next attempt, others wait there.

Measured, in ms a task, for calls that do nothing, on two workers of one thread: 2 take 5.7, 4 4.4, 8 2.8.
"""

LOOK_SECONDS: Final = 1.0  # how often we ask how many threads there are: clusters grow, shrink and end

LONELY_SECONDS: Final = 30.0
"""Without a worker, after which we say so: one may come still, or nobody starts one."""

BRING_SECONDS: Final = 0.75  # for results to come here from the cluster after a Ctrl-C, all of them together

MOST_TRIES: Final = 10
"""Of giving an attempt to the cluster, where it is lost before it has begun.

Dask itself makes 4. One that stands in line behind others loses its worker to each of these that kills it.
"""

ITS_PACKAGES: Final = ("distributed", "tornado", "bokeh")  # those that Dask sets log levels for


class DaskRunner(BlockRunner[Connection]):
    """Several attempts at a time, each a task of a dask.distributed cluster, on this machine or on many.

    What travels is serialized as for :class:`~processes.ProcessPoolRunner`. A result of 128 KB or more stays
    on the cluster: dependants there get it from worker to worker. It comes here for the report, unless its
    task has ``keep_result=False``. This package must be installed where the workers are.

    An attempt that passes its time limit is left behind, and occupies a thread of the cluster until it ends.
    Its time counts from when its worker tells that it has begun. Where a worker dies, the attempts that it
    had begun fail with a WorkerDiedError. Results that it held are computed again, by Dask: their functions
    are called once more.

    Parameters
    ----------
    address_or_client : str or distributed.Client, optional
        The scheduler's address, or a client, which is not closed. By default a cluster is started on this
        machine, for one run or for a ``with`` block: its workers are processes, so a script needs an
        ``if __name__ == "__main__"`` guard. On one that exists, ``distributed.scheduler.allowed-failures``
        should be 0: else Dask itself calls a function whose worker died up to three more times.
    **local_cluster_kwargs : object
        For the `distributed.LocalCluster` that is started; by default one worker per processor that this
        process may use, with one thread each, and the dashboard, if there is one, on any free port.

    Raises
    ------
    ModuleNotFoundError
        If dask.distributed is not installed.
    TypeError, ValueError
        If `address_or_client` is none of these, an asynchronous client, or comes with options for a cluster;
        or if this is no CPython.

    Examples
    --------
    ::

        with DaskRunner("tcp://scheduler:8786") as runner:
            report = process.run(runner=runner)
    """

    name: ClassVar[str] = "dask"
    takes_sealed: ClassVar[bool] = True
    _entering: ClassVar[Any] = Lock()  # not one that forks wait for: a cluster that starts may fork itself

    def __init__(self, address_or_client: str | Client | None = None, **local_cluster_kwargs: Any) -> None:
        check_interpreter("DaskRunner")
        if find_spec("distributed") is None:
            raise ModuleNotFoundError(
                "DaskRunner needs dask.distributed, which is not installed: pip install distributed",
                name="distributed",
            )
        _check(address_or_client, local_cluster_kwargs)
        self.address_or_client = address_or_client
        self.local_cluster_kwargs = local_cluster_kwargs

    def _begin_block(self) -> Connection:
        return self._connect(bool)  # Python's own handler hears of a Ctrl-C

    def _connect(self, look: Callable[[], object]) -> Connection:
        return Connection(self.address_or_client, self.local_cluster_kwargs, look)

    # One run

    def open(self, waker: Waker) -> None:
        super().open(waker)
        self._requests = Requests(self.name, self.is_shared, ITS_PACKAGES)
        self._run = os.urandom(8).hex()
        self._held: dict[int, _Held] = {}  # by ticket
        self._left: set[int] = set()  # tickets of those left behind, and still running
        self._news: deque[Callable[[], Message | None]] = deque()  # of other threads, for the run's own
        self._counts = False  # whether it counts threads at the moment
        self._values: WeakSet[OnCluster] = WeakSet()
        self._used = self._block or self._connect(self._hear)
        self._client = self._used.client
        if self._client.status == "closed":
            raise RuntimeError(
                f"The client of the Dask cluster is closed: {brief_repr(self._client)}. One closes itself "
                "30 s after it has lost its scheduler; make another, or enter another `with` block"
            )
        try:
            counting = self._in_loop(self._client.nthreads(asynchronous=True))
            self._threads: int = sum(wait_for(counting, self._hear).values())
            _subscribe(self._client)[self._run] = self._note_begin
        except BaseException:
            self._close_connection()
            raise
        self._looked_at = self._had_workers_at = monotonic()
        self._has_warned = False

    @property
    def free_slots(self) -> int:
        # One at least: some clusters grow when they have work.
        return ATTEMPTS_A_THREAD * max(1, self._threads) - len(self._held)

    def start(self, attempt: Attempt) -> None:
        try:
            args, kwargs, places = take_sealed_out(attempt.args, attempt.kwargs, OnCluster)
            away = {value: at for value, at in places.items() if value.client is not self._client}
            args, kwargs = put_in(args, kwargs, [(value.open(), at) for value, at in away.items()])
            inputs = [value for value in places if value not in away]
            request = self._requests.make(attempt, args, kwargs, [places[value] for value in inputs])
        except SerializationError as error:
            self.deliver(Finished.unsendable(attempt.ticket, error))
            return
        held = self._held[attempt.ticket] = _Held(attempt, pack(request), [value.future for value in inputs])
        self._submit(held)

    def _submit(self, held: _Held) -> None:
        held.tries += 1
        if sum(map(len, held.packed)) < LARGE and not any(map(is_lost, held.inputs)):
            self._send(held, held.packed)
        else:
            self._client.loop.add_callback(self._prepare_and_send, held)

    async def _prepare_and_send(self, held: _Held) -> None:
        packed: Packed | Future[Packed] = held.packed
        try:
            await compute_again(self._client, held.inputs)
            if sum(map(len, held.packed)) >= LARGE:  # what belongs to a call goes through the scheduler
                if not self._threads:  # a cluster may grow for a call; data only waits, and for 30 s
                    await self._client.gather(self._client.submit(bool, pure=False), asynchronous=True)
                (packed,) = await self._client.scatter([held.packed], hash=False, asynchronous=True)
        except Exception as error:
            self._tell(self._lose, held.attempt.ticket, error)
        else:
            if held.attempt.ticket in self._held:
                self._send(held, packed)

    def _send(self, held: _Held, packed: Packed | Future[Packed]) -> None:
        ticket = held.attempt.ticket
        try:
            future = self._client.submit(
                eval,
                CALL,
                {"given": [packed, self._run, ticket, *held.inputs]},
                key=f"{held.attempt.task_name}-{self._run}-{ticket}-{held.tries}",
                priority=-held.attempt.rank,
                pure=False,
            )
        except Exception as error:  # the cluster is gone
            if is_of_signal(error):
                raise
            self._tell(self._lose, ticket, error)
        else:
            held.future = future
            self._client.loop.add_callback(self._bring_response, ticket, future)

    def _bring_here(
        self, bring: Callable[..., Coroutine[Any, Any, None]], *args: Any, seconds: float | None = None
    ) -> None:
        """Have the client's loop bring results, and wait: until the run is called off, or so long."""
        deadline = None if seconds is None else monotonic() + seconds

        def look() -> None:
            self._look("lost results")
            if deadline is None:
                self._hear()
            elif monotonic() > deadline:
                raise TimeoutError

        wait_for(self._in_loop(bring(*args)), look)

    def _in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> futures.Future[Any]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()
            raise

    def _hear(self) -> None:
        if self._waker.is_called_off:
            raise CalledOff

    # In threads of the client's

    def _tell(self, news: Callable[..., Message | None], *about: Any) -> None:
        self._news.append(partial(news, *about))
        self._waker.set()

    def _note_begin(self, ticket: int, worker_address: str, *worker: Any) -> None:
        held = self._held.get(ticket)
        if held is not None:
            held.worker_address = worker_address
            if held.attempt.timeout is not None:
                self._tell(self._begin, ticket, *worker)

    async def _bring_response(self, ticket: int, future: Future[Any]) -> None:
        """Wait for the end of an attempt; until then Dask knows that it is wanted, or that a thread is at it.

        Not by a callback of the future: Dask has one thread for those of all, and the user's may take long.
        """
        # Here, in the thread of the client's loop, nothing becomes of a future between two looks at it.
        try:
            error = await future.exception(asynchronous=True)
            if error is not None:
                self._tell(self._lose, ticket, error)
            elif future.status != "finished":
                self._tell(self._lose, ticket, RuntimeError(f"its future is {future.status}"))
            elif future.type is Kept:
                await self._bring_response_of_kept(ticket, future)
            else:
                self._tell(self._finish, ticket, await self._client.gather(future, asynchronous=True))
        except (Exception, asyncio.CancelledError) as error:
            self._tell(self._lose, ticket, error)

    async def _bring_response_of_kept(self, ticket: int, future: Future[Any]) -> None:
        held = self._held.get(ticket)
        if held is not None and held.worker_address:
            with suppress(Exception):  # that worker is gone, or another one has the value now
                # Not by a call of Dask's, which would wait for a thread of that worker; others may be long.
                found = await self._client.run(
                    response_of, future.key, workers=[held.worker_address], asynchronous=True
                )
                response = pickle.loads(found[held.worker_address])  # noqa: S301 - from our own worker
                self._tell(self._finish, ticket, response)
                return
        # Itself, where a call that Dask makes again meanwhile ends with a response.
        rest = self._client.submit(getattr, future, "response", future, pure=False)
        await self._bring_response(ticket, rest)

    async def _count_threads(self) -> None:
        with suppress(Exception):  # the scheduler is gone; the client tries to find it again, and then closes
            _subscribe(self._client)  # it may be another one by now
            threads = sum((await self._client.nthreads(asynchronous=True)).values())
            if threads != self._threads:
                self._threads = threads
                self._waker.set()  # for attempts that can be started now
        self._counts = False

    # In the run's thread

    def wait(self, timeout: float) -> list[Message]:
        messages = super().wait(0 if self._news else timeout)
        self._look(f"{len(self._held)} of its attempts" if self._held else "")
        while self._news:
            if (message := self._news.popleft()()) is not None:
                messages.append(message)
        return messages

    def _look(self, waiting: str) -> None:
        """Have the threads counted; where the client is closed, nothing else might tell of what it had."""
        if monotonic() <= self._looked_at + LOOK_SECONDS:
            return
        self._looked_at = monotonic()
        self._used.replace_workers()
        if self._client.status == "closed":
            for ticket in tuple(self._held):
                self._tell(self._lose, ticket, RuntimeError("its client is closed"))
        elif not self._counts:
            # In the client's thread: a scheduler that is busy or gone may be silent for long.
            self._counts = True
            self._client.loop.add_callback(self._count_threads)
        if self._threads or not waiting:
            self._had_workers_at = self._looked_at
        elif self._looked_at > self._had_workers_at + LONELY_SECONDS and not self._has_warned:
            self._has_warned = True
            warn(
                f"the Dask cluster at {self._client.scheduler.address} has had no worker for "
                f"{LONELY_SECONDS:g} s; {waiting} wait for one"
            )

    def _begin(self, ticket: int, *worker: Any) -> Message | None:
        if ticket not in self._held:
            return None
        return Started(ticket, monotonic(), self._requests.worker(*worker))

    def _finish(self, ticket: int, response: Response | Kept) -> Message | None:
        if isinstance(response, Kept):  # of a call that Dask has made again, with another end
            kept, response = response, response.response
            response.value = kept.value
        self._left.discard(ticket)
        held = self._held.pop(ticket, None)
        if held is None:
            return None
        finished = self._requests.finish(held.attempt, response)
        assert held.future is not None
        if held.future.type is Kept and isinstance(finished.outcome, Returned):
            value = OnCluster(self._client, held.future, held.attempt.task_name, self._bring_here)
            self._values.add(value)
            finished.outcome = Returned(value)
        return finished

    def _lose(self, ticket: int, reason: BaseException) -> Message | None:
        """Tell the end of an attempt that is lost; one that had not begun goes to another worker."""
        self._left.discard(ticket)
        held = self._held.get(ticket)
        if held is None:
            return None
        if any(future.status == "cancelled" for future in held.inputs):
            reason = RuntimeError("a result that it needs had stayed there, and is lost")
        # Of a call that has begun we have heard before Dask says that its worker is dead.
        elif not held.worker_address and held.tries < MOST_TRIES and self._client.status != "closed":
            self._submit(held)
            return None
        del self._held[ticket]
        return self._requests.lost(
            held.attempt,
            f"Task {held.attempt.task_name!r} was lost by the Dask cluster: {brief_repr(reason)}; "
            "the logs of its workers may tell why",
            reason,
        )

    def stop(self, ticket: int) -> None:
        held = self._held.pop(ticket, None)
        if held is None:
            return
        if held.worker_address:
            self._left.add(ticket)
        else:
            self._client.loop.add_callback(held.take_back)

    def close(self) -> None:
        del _runs[self._client][self._run]
        self._held.clear()
        self._used.has_left_attempts |= bool(self._left)
        try:
            self._bring_values()
        finally:
            self._close_connection()

    def _bring_values(self) -> None:
        """Bring what stayed on the cluster here; nothing is computed again for a run that ends too soon."""
        values = tuple(self._values)
        if not values:
            return
        is_complete = all(result.status is not TaskStatus.PENDING for result in self.results.values())
        reason: Exception = RuntimeError("the run was ended before it had come here")
        try:
            self._hear()
            self._bring_here(bring_all, values, is_complete)
        except CalledOff:
            with suppress(Exception):
                self._bring_here(bring_all, values, False, seconds=BRING_SECONDS)
        except Exception as error:
            reason = error
        for value in values:
            value.leave(reason)
        if is_of_signal(reason):
            raise reason

    def _close_connection(self) -> None:
        if self._used is not self._block:
            self._used.close()


@dataclass(slots=True, eq=False)
class _Held:
    """An attempt that the cluster has."""

    attempt: Attempt
    packed: Packed
    inputs: list[Any]
    future: Future[Any] | None = None
    worker_address: str = ""  # once it has begun
    tries: int = 0  # how often it was given to the cluster

    def take_back(self) -> None:
        """Have it called no more; in the thread of the client's loop, which may just have sent it."""
        if self.future is not None:
            self.future.release()


def _check(address_or_client: object, local_cluster_kwargs: dict[str, Any]) -> None:
    if "max_workers" in local_cluster_kwargs:
        raise TypeError(
            "DaskRunner takes no max_workers; a cluster that is started here takes n_workers, and "
            "threads_per_worker"
        )
    if address_or_client is None:
        return
    from distributed import Client
    from distributed.deploy.cluster import Cluster

    if not isinstance(address_or_client, (str, Client)):
        hint = (
            ": write DaskRunner(cluster.scheduler_address)" if isinstance(address_or_client, Cluster) else ""
        )
        shown = brief_repr(address_or_client)
        raise TypeError(f"address_or_client must be str, distributed.Client or None, not {shown}{hint}")
    if isinstance(address_or_client, Client) and address_or_client.asynchronous:
        raise ValueError("address_or_client must not be an asynchronous client; give its scheduler's address")
    if local_cluster_kwargs:
        raise ValueError(
            f"{', '.join(local_cluster_kwargs)} would be for a cluster that is started; leave it out, or the "
            "address or client"
        )


_runs: WeakKeyDictionary[Any, dict[str, Callable[..., None]]] = WeakKeyDictionary()  # by client


def _subscribe(client: Client) -> dict[str, Callable[..., None]]:
    """Have the client hear which attempts begin; return whom it tells, by run."""
    runs = _runs.setdefault(client, {})

    def hear(event: tuple[float, Sequence[Any]]) -> None:
        _, (of_run, *attempt) = event
        if of_run in runs:
            runs[of_run](*attempt)

    client.subscribe_topic(TOPIC, hear)
    return runs
