"""Shows on standard error how far a run is."""

from __future__ import annotations

import logging
import sys
from collections import deque
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

from ..clock import monotonic
from ..events import RunFinished, RunStarted, TaskFinished, TaskRetried, TaskStarted
from ..output_capture import Lines, StandInStream
from ..task_types import TaskStatus
from ..visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ..events import Event

BAR_WIDTH = 24
SHORT_NAME = 8  # columns that the process's name may take from the bar
REFRESHES_PER_SECOND = 8
PLAIN_SECONDS = 5.0  # between two plain lines at least, so that a log of hours stays readable
PLAIN_STEPS = 10  # plain lines at most, beside the last


class Progress:
    """Shows how many tasks have ended, failed, were skipped, and are under way.

    A task is under way from when it was given to its runner, where it may have to stand in line. On a
    terminal one line is redrawn in place, several times a second, by a thread of its own; events only
    count. Elsewhere (a file, a pipe) plain lines are written as the run goes on, and one at its end.

    Parameters
    ----------
    stream : TextIO, optional
        Where to write. Defaults to standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        # A program may have no standard error, or have closed it; then nobody looks.
        self._stream = StringIO() if getattr(stream, "closed", stream is None) else stream
        self._live: Live | None = None
        self._above: dict[str, _AboveLine] = {}  # what stands in `sys` meanwhile, by its name there
        self._begin(RunStarted("", (), ""))

    @property
    def can_redraw(self) -> bool:
        """Whether it redraws one line, and does not write several."""
        return self._terminal() is not None

    def __call__(self, event: Event) -> None:
        """Count what the event tells."""
        match event:
            case TaskStarted(name):
                self._running[name] = None
            case TaskRetried(name):
                self._running.pop(name, None)
            case TaskFinished(name, result):
                self._running.pop(name, None)
                self._done += 1
                self._failed += result.status is TaskStatus.ERRORED
                self._skipped += result.status is TaskStatus.SKIPPED
                if self._live is None:
                    self._write_at_times()
            case RunStarted():
                self._begin(event)
                self._live = self._start_live()
            case RunFinished(elapsed_seconds):
                self._running.clear()
                self._end(elapsed_seconds)

    def _begin(self, event: RunStarted) -> None:
        self._name = visible(event.process_name or "processes")
        self._total = len(event.tasks)
        self._done = self._failed = self._skipped = 0
        self._running: dict[str, None] = {}  # a dict keeps the order in which they started
        self._elapsed: float | None = None  # seconds; known at the end
        self._began = self._written_at = monotonic()
        self._written_done = 0

    def _end(self, elapsed_seconds: float) -> None:
        self._elapsed = elapsed_seconds
        if self._live is None:
            self._write()
        else:
            for name, above in self._above.items():
                above.end()
                for handler in [*_handlers_to(above)]:
                    handler.setStream(above.stream)
                if getattr(sys, name) is above:  # a task may have put something else there
                    setattr(sys, name, above.stream)
            self._above.clear()
            self._live.stop()
            self._live = None

    def _counts(self) -> str:
        """Put the counts into words, those that are zero left out."""
        counts = [f"{self._done}/{self._total} done"]
        named = (("failed", self._failed), ("skipped", self._skipped), ("under way", len(self._running)))
        counts += [f"{count} {word}" for word, count in named if count]
        return ", ".join(counts)

    def _seconds(self) -> float:
        return monotonic() - self._began if self._elapsed is None else self._elapsed

    # Plain lines

    def _write_at_times(self) -> None:
        if (self._done - self._written_done) * PLAIN_STEPS >= self._total:
            now = monotonic()
            if now - self._written_at >= PLAIN_SECONDS and self._done < self._total:
                self._written_at, self._written_done = now, self._done
                self._write()

    def _write(self) -> None:
        print(f"{self._name}: {self._counts()}, {self._seconds():.1f} s", file=self._stream, flush=True)

    # The line that moves

    def _start_live(self) -> Live | None:
        console = self._terminal()
        if console is None:
            return None
        from rich.live import Live

        live = Live(
            console=console,
            get_renderable=lambda: self._render(console.width),
            refresh_per_second=REFRESHES_PER_SECOND,
            redirect_stdout=False,  # Rich takes what is printed for its own markup, and finds errors in it
            redirect_stderr=False,
        )
        live.start(refresh=True)
        for name in ("stdout", "stderr"):
            stream: Any = getattr(sys, name)
            # What goes to a file or a pipe stays untouched, and what another run's progress has taken.
            if is_terminal(stream) and type(stream) is not _AboveLine:
                above = self._above[name] = _AboveLine(stream, console)
                setattr(sys, name, above)
                # Handlers of logging hold the streams themselves, and would write behind the line.
                for handler in [*_handlers_to(stream)]:
                    handler.setStream(above)
        return live

    def _terminal(self) -> Console | None:
        if not is_terminal(self._stream):
            return None
        from rich.console import Console

        console = Console(file=self._stream)
        can_move = console.is_interactive  # which heeds TERM and what else the environment says of it
        return console if can_move and not console.options.ascii_only else None

    def _render(self, width: int) -> Text:
        from rich.text import Text

        counts = f"{self._counts()}, {self._seconds():.1f} s  "
        # On a narrow terminal the name is shortened, and then the bar, before anything of the counts is lost.
        room = width - len(counts) - 1  # the last column says that names of tasks are left out
        name = Text()
        name_room = max(room - BAR_WIDTH - 2, min(room - 1, SHORT_NAME))
        if name_room > 1:
            name = Text(self._name, "bold")
            name.truncate(name_room, overflow="ellipsis")
            name.append(" ")
        bar_width = max(0, min(BAR_WIDTH, room - name.cell_len - 1))
        filled = bar_width * self._done // max(self._total, 1)
        return Text.assemble(
            name,
            ("━" * filled, "red" if self._failed else "green"),
            ("─" * (bar_width - filled), "bright_black"),
            " " if bar_width else "",
            counts,
            # The run's thread changes the names meanwhile; a list of them is made at one stroke. No more are
            # shown than may have room: for thousands rich would take the time of many calls.
            (visible(", ".join(list(self._running)[:width])[:width]), "bright_black"),
            no_wrap=True,
            overflow="ellipsis",
        )


class _AboveLine(StandInStream):
    """Stands for a stream of the program's: prints whole lines above the one that moves.

    It is for this process what :mod:`processes.runners.pool.above_line` is for workers.

    Parameters
    ----------
    stream : TextIO
        The stream, which gets all that comes after the end.
    console : Console
        The terminal with the line that moves.
    """

    def __init__(self, stream: TextIO, console: Console) -> None:
        from rich.ansi import AnsiDecoder

        super().__init__(stream)
        self._console = console
        self._decoder = AnsiDecoder()
        self._whole: deque[str] = deque()  # lines that are to be shown
        self._lines: Lines | None = Lines(self._whole.extend)

    def lines(self) -> Lines | None:
        return self._lines

    def write(self, text: str) -> Any:
        """Write text; of a line that has no end yet nothing, as what moves would be drawn over it."""
        written = super().write(text)
        self._show()
        return written

    def end(self) -> None:
        """Write the line that was begun, and hand on all that comes later."""
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()
            self._show()

    def _show(self) -> None:
        """Show the lines that are whole, all at once: with each time the line that moves is drawn."""
        shown = []
        with suppress(IndexError):  # there are no more; another thread may take some
            while True:
                shown.append(self._decoder.decode_line(self._whole.popleft()))
        if shown:
            from rich.text import Text

            self._console.print(Text("\n").join(shown), soft_wrap=True)


def is_terminal(stream: object) -> bool:
    """Tell whether a stream is a terminal; what a program has put in its place may not know."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and not getattr(stream, "closed", False) and isatty()


def _handlers_to(stream: object) -> Iterator[logging.StreamHandler[Any]]:
    """Find the handlers of logging that write to a stream."""
    loggers = [logging.root, *list(logging.Logger.manager.loggerDict.values())]  # other threads may add some
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            # A class of the user's may make a property of its stream, and take no other.
            if isinstance(handler, logging.StreamHandler) and vars(handler).get("stream") is stream:
                yield handler
