"""The way to a cluster, and the cluster itself where it is started here."""

from __future__ import annotations

import asyncio
import signal
from concurrent import futures
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from ...cpus import usable_cpus
from ...reprs import HAS_DAEMONS
from ..block import Block
from . import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, LocalCluster
    from distributed.utils import LoopRunner

HEAR_SECONDS: Final = 0.1  # how often who waits for the cluster looks whether the run is called off

END_SECONDS: Final = 1.25
"""How long a worker of our own may go on with an attempt that was left; Dask kills it after four fifths."""


class Connection(Block):
    """A client; and its loop, and the cluster behind it, if they are our own.

    Parameters
    ----------
    address_or_client : str, Client or None
        As given to the runner.
    local_cluster : dict
        Options for a cluster that is started.
    look : callable
        Called again and again meanwhile; what it raises ends it.
    """

    def __init__(
        self, address_or_client: Any, local_cluster: dict[str, Any], look: Callable[[], object]
    ) -> None:
        from distributed import Client
        from distributed.utils import LoopRunner

        self.has_left_attempts = False  # whether workers may still be at some
        self.client: Client = None  # until it is open
        self._cluster: LocalCluster | None = None
        self._starting: asyncio.Future[LocalCluster]
        self._loop_runner: LoopRunner | None = None
        if isinstance(address_or_client, Client):
            self.client = address_or_client
            return
        self._loop_runner = LoopRunner()
        with _ctrl_c_held_up():
            self._loop_runner.start()
        opening = self._open(address_or_client, local_cluster)
        try:
            wait_for(asyncio.run_coroutine_threadsafe(opening, self._loop_runner.loop.asyncio_loop), look)
        except Exception:
            self.close()
            raise
        except BaseException:
            # In a thread of its own: workers that are about to start can only be ended once they have.
            Thread(target=self.close, daemon=HAS_DAEMONS).start()
            raise

    async def _open(self, address: str | None, local_cluster: dict[str, Any]) -> None:
        import dask
        from dask.utils import parse_timedelta
        from distributed import Client

        if address is None:
            await self._start_cluster(local_cluster)
        self.client = Client(address or self._cluster, asynchronous=True, set_as_default=False)
        step_seconds = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
        try:
            # Dask has this limit for each of three steps, but none for one between them.
            await asyncio.wait_for(self.client, 3 * step_seconds)
        except TimeoutError:
            raise TimeoutError(
                f"the Dask scheduler at {address} takes connections, but does not answer; it is stopped, or "
                "what listens there is another program"
            ) from None

    async def _start_cluster(self, local_cluster: dict[str, Any]) -> None:
        import dask
        from distributed import LocalCluster

        options: dict[str, Any] = {
            "n_workers": usable_cpus(),
            "threads_per_worker": 1,
            "dashboard_address": ":0",
            **local_cluster,
        }
        preload = options.get("preload") or dask.config.get("distributed.worker.preload")  # a name, or a list
        options["preload"] = [call.__name__, *([preload] if isinstance(preload, str) else preload)]
        preload_argv = options.get("preload_argv") or dask.config.get("distributed.worker.preload-argv")
        if preload_argv and not isinstance(preload_argv[0], str):  # for each its own
            options["preload_argv"] = [[], *preload_argv]
        options["scheduler_kwargs"] = {
            "allowed_failures": 0,  # what is lost is ours to repeat
            **(options.get("scheduler_kwargs") or {}),
        }
        self._cluster = LocalCluster(**options, asynchronous=True)
        self._starting = asyncio.ensure_future(self._cluster)
        try:
            await asyncio.shield(self._starting)
        except RuntimeError as error:  # as that of "Nanny failed to start"
            if isinstance(error.__cause__, TypeError):
                error.add_note(f"What DaskRunner is given goes to dask's LocalCluster: {error.__cause__}.")
            else:  # a worker has printed why
                error.add_note(
                    'In a script, a run on a new cluster stands below `if __name__ == "__main__":`.'
                )
            raise

    def replace_workers(self) -> None:
        """Start others for workers that a cluster of our own has given up.

        Dask does that for one that has died and is not back after 15 s, as on a busy machine.
        """
        cluster = self._cluster  # its lost ones are still in `worker_spec`
        if cluster is not None and len(cluster.workers) < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def close(self) -> None:
        if self._loop_runner is None:
            return
        if self.client is not None:
            self.client.close()
        if self._cluster is not None:
            self._cluster.sync(self._end_workers)
            self._cluster.close()
        self._loop_runner.stop()

    async def _end_workers(self) -> None:
        """End workers sooner than Dask, which gives those at an attempt 4 s, or 30 in this process."""
        from distributed import Nanny, Status

        assert self._cluster is not None
        with suppress(Exception):
            await self._starting  # until then Dask cannot end them
        if not self.has_left_attempts:
            return
        workers = list(self._cluster.workers.values())
        closing = [
            worker.close(
                timeout=END_SECONDS, **({} if isinstance(worker, Nanny) else {"executor_wait": False})
            )
            for worker in workers
        ]
        ends = await asyncio.gather(*closing, return_exceptions=True)
        for worker, end in zip(workers, ends, strict=True):
            if isinstance(end, Exception):  # a busy machine takes longer to end one that was killed
                worker.status = Status.closed  # or an older Dask would wait for its end for ever


def wait_for(future: futures.Future[Any], look: Callable[[], object]) -> Any:
    """Wait for what a loop does in its thread; what `look`, called again and again, raises ends that."""
    try:
        while not future.done():
            futures.wait([future], HEAR_SECONDS)
            look()
        return future.result()
    finally:
        future.cancel()


@contextmanager
def _ctrl_c_held_up() -> Iterator[None]:
    """Hold up a Ctrl-C; threads that are started meanwhile, and workers that these start, hear of none."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # a thread that starts it hears of them again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
