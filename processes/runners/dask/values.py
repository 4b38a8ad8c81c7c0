"""Large results that stay on the cluster until somebody here needs them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...attempt import Sealed
from ...exceptions import SerializationError
from ...interrupt import is_of_signal
from ...reprs import brief_repr
from ...serialization.pickling import load
from .call import failed_again, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client, Future

    from ...serialization.pickling import Buffer
    from .call import Kept


class OnCluster(Sealed):
    """A value that is on the cluster.

    Attributes
    ----------
    client : Client
        Whose cluster that is.
    future : Future or None
        Stands for the value; None once the run has ended.
    """

    __slots__ = ("__weakref__", "_data", "_opened", "_task_name", "_wait_for", "client", "future")

    def __init__(
        self, client: Client, future: Future[Kept], task_name: str, wait_for: Callable[..., None]
    ) -> None:
        self.client = client
        self.future: Future[Kept] | None = future
        self._task_name = task_name
        self._wait_for: Callable[..., None] | None = wait_for
        self._data: Buffer | SerializationError | None = None  # serialized, or why it is lost
        self._opened: list[Any] = []

    def open(self) -> Any:
        if not self._opened:
            if self._data is None:
                assert self._wait_for is not None
                try:
                    self._wait_for(self.bring, True)
                except Exception as error:
                    if is_of_signal(error):
                        raise
                    self._lose(error)
            if isinstance(self._data, SerializationError):
                raise self._data
            assert self._data is not None
            self._opened.append(load(self._data, task_name=self._task_name, what="result"))
            self._data = None
        return self._opened[0]

    async def bring(self, waits: bool) -> None:
        """Bring the value here; unless it `waits`, only one that is there."""
        if self._opened or self._data is not None:
            return
        try:
            self._data = value_of(await _bring(self.client, self.future, waits=waits))
        except Exception as error:
            self._lose(error)

    def leave(self, reason: Exception) -> None:
        """Let go of the cluster, since the run ends; what is not here now is lost."""
        if not self._opened and self._data is None:
            self._lose(reason)
        if self.future is not None:
            self.future.release()
        self.client = self.future = self._wait_for = None

    def _lose(self, reason: Exception) -> None:
        if isinstance(reason, SerializationError):
            self._data = reason
        elif self.future is not None and is_lost(self.future):
            self._data = failed_again(self._task_name, reason)
        else:
            self._data = SerializationError(
                f"The result of task {self._task_name!r} stayed on the Dask cluster and is lost: "
                f"{brief_repr(reason)}",
                task_name=self._task_name,
            )


def is_lost(future: Any) -> bool:
    """Tell whether a result is gone because the worker died too that was to compute it again."""
    return bool(future.status == "error")


async def _bring(client: Client, future: Future[Kept], *, waits: bool) -> Any:
    """Bring what is kept here; unless it `waits`, only what is there."""
    if waits:
        await compute_again(client, [future])
        gathering = asyncio.ensure_future(client.gather(future, asynchronous=True))
        # If this is cancelled, that ends once the future is released. Tasks of its own would not, if it were.
        gathering.add_done_callback(lambda _: gathering.cancelled() or gathering.exception())
        return await asyncio.shield(gathering)
    found = await client.scheduler.gather(keys=[future.key])  # which has nothing computed
    if found["status"] != "OK":
        raise RuntimeError("its worker is gone, and the run has ended before its time")
    return found["data"][future.key]


async def bring_all(values: Sequence[OnCluster], waits: bool) -> None:
    """Bring values here, one after the other; unless it `waits`, those that are there."""
    for value in values:
        await value.bring(waits)


async def compute_again(client: Client, futures: Sequence[Future[Kept]]) -> None:
    """Have results computed that are lost, and what they need."""
    lost = list(filter(is_lost, futures))
    if lost:
        with suppress(KeyError):  # it has done so, but this client has let go of something that they need
            await client.retry(lost, asynchronous=True)
