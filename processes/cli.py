"""The command line: ``processes run``, ``processes graph``, ``processes demo``.

Exit status: 0 when all tasks succeeded, 1 when some did not or a file could not be written, 2 when nothing
could be run (wrong usage, a file that is not there, a module that cannot be imported), 130 after Ctrl-C.
"""

from __future__ import annotations

import errno
import json  # noqa: F401 - what reports need comes before any module of the user's can take its place
import os
import sys
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich.live  # noqa: F401 - as json: the progress line needs it

from .execution_report import ProcessExecutionReport
from .failure import exception_line
from .folders import make_folder_for
from .observers.progress import is_terminal
from .rendering.table import NAME_CHARACTERS, aligned, on_one_line, to_text
from .runners import RUNNERS
from .targets import find_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .process import Process

SOME_FAILED = 1
INTERRUPTED = 130  # what shells report of a program that SIGINT ended


class OutputFile(click.Path):
    """A file to be written at the end: what forbids that is said at the start."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Make the missing folders of the path, and refuse one that cannot be written."""
        value = value or os.curdir  # as pathlib reads an empty path
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if str(path) == "-":
            self.fail("'-' is no file: the table is printed on standard output", param, ctx)
        try:
            make_folder_for(path)
        except OSError as error:
            self.fail(f"{str(path.parent)!r} cannot be made: {error}", param, ctx)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            self.fail(f"{str(path)!r} cannot be written", param, ctx)
        return path.absolute()  # what is run may change the working directory


def _amounts(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """Take resources apart that are given as ``database=2``; the run refuses amounts that are none."""
    amounts = {}
    for text in texts:
        name, _, amount = text.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is no name and number, as in database=2", ctx, param
            ) from None
    return amounts


class Program(click.Group):
    """The commands; Ctrl-C ends each with a status of its own, where click gives that of a failure.

    What they print to may be full, or closed: that ends them with no more than one line.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                # What was printed is written now: at its end, Python could say no more of what cannot be.
                with suppress(AttributeError, ValueError):  # a file may have closed it, or put anything there
                    click.echo(nl=False)
        except OSError as error:
            if not _lose_output():
                raise
            if not _has_reader_left(error):
                click.echo(f"Error: standard output could not be written: {error}", err=True)
            sys.exit(SOME_FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            takes_arguments = error.ctx and any(one.name == "arguments" for one in error.ctx.command.params)
            if error.possibilities or not takes_arguments:
                raise
            hint = "Options of FILE_OR_MODULE itself come after a `--`."
            raise click.UsageError(f"No such option {error.option_name!r}. {hint}", error.ctx) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


def _has_reader_left(error: OSError) -> bool:
    """Tell whether output could not be written as its reader has read what it wanted."""
    # Windows says no more than that the argument is wrong: bpo-19612.
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def _lose_output() -> bool:
    """Tell whether nothing can be printed; if so, what Python would print at its end goes nowhere."""
    try:
        click.echo()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return True
    return False


workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many tasks run at a time.",
)
target_argument = click.argument("target", metavar="FILE_OR_MODULE[:NAME]")
target_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
ABOUT_TARGETS = """
    FILE_OR_MODULE is a Python file, or a module as in `import`. NAME in it is a Process, or a function
    without parameters that returns one; without NAME the module's only Process is taken, or its function
    `build`. It finds FILE_OR_MODULE and ARGUMENTS in `sys.argv`; those that look like options come after
    a `--`.
"""


@click.group(
    name="processes",
    cls=Program,
    epilog=ABOUT_TARGETS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="processes")
def main() -> None:
    """Run graphs of plain Python functions."""


@main.command(epilog=ABOUT_TARGETS)
@target_argument
@target_arguments
@click.option(
    "--runner", type=click.Choice(tuple(RUNNERS)), help="Where tasks run; wins over the process's own."
)
@workers_option
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show the progress on standard error. By default on a terminal only.",
)
@click.option(
    "--html", "html_path", type=OutputFile(), metavar="FILE", help="Write the report as a page for a browser."
)
@click.option(
    "--json", "json_path", type=OutputFile(), metavar="FILE", help="Write the whole report as JSON."
)
@click.option(
    "--trace",
    "trace_path",
    type=OutputFile(),
    metavar="FILE",
    help="Write who ran what, and when, for ui.perfetto.dev.",
)
@click.option(
    "--checkpoint",
    type=OutputFile(),
    metavar="FILE",
    help="Save each result to this file, and do not run again what an earlier run has saved there.",
)
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="NAME=AMOUNT",
    callback=_amounts,
    help="How much there is of what tasks name in their `resources`. May be given several times.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print which tasks would run with the checkpoint, and why; run none."
)
@click.option("--fail-fast", is_flag=True, help="End the run at the first failure.")
@click.option(
    "--capture-output", is_flag=True, help="Send what a task prints to its log file, if it has one."
)
@click.option("--only-errors", is_flag=True, help="Print only the tasks that did not succeed.")
def run(
    target: str,
    arguments: tuple[str, ...],
    runner: str | None,
    workers: int | None,
    progress: bool | None,
    html_path: Path | None,
    json_path: Path | None,
    trace_path: Path | None,
    checkpoint: Path | None,
    resources: dict[str, float],
    dry_run: bool,
    fail_fast: bool,
    capture_output: bool,
    only_errors: bool,
) -> None:
    """Run a process and print its report.

    A FILE is run as `python FILE ARGUMENTS` would, but for what stands below `if __name__ == "__main__":`,
    where it may run its process itself. Its folder is on the module path, and what it defines travels to
    worker processes by value. A MODULE is imported, by worker processes too.

    Without --runner, and where the process names none either, several workers are threads.

    Exit status: 0 when all tasks succeeded, 1 when some did not or a file could not be written, 2 when
    nothing could be run, 130 after Ctrl-C.
    """
    if html_path is not None:
        ProcessExecutionReport().to_html()  # what pages need, too
    if dry_run and checkpoint is None:
        raise click.UsageError("--dry-run asks what a checkpoint has: name one by --checkpoint FILE.")
    if checkpoint is not None and checkpoint in (html_path, json_path, trace_path):
        raise click.UsageError(f"The report would be written over the checkpoint {checkpoint}.")
    process = find_process(target, arguments)
    _check_not_run(process, target)
    if checkpoint is not None and dry_run:
        with _wrong_usage():
            why = process.dry_run(checkpoint)
        rows = [(on_one_line(name, NAME_CHARACTERS), reason) for name, reason in why.items()]
        _print("\n".join([f"{len(why)} of {len(process.tasks)} tasks would run.", *aligned(rows)]))
        return
    if progress is None:
        progress = is_terminal(sys.stderr)
    # Several workers were asked for: where nobody names a runner, a process of few tasks would take one.
    names_none = runner is None and process._configured_runner is None  # noqa: SLF001
    parallel = True if names_none and workers is not None and workers > 1 else None
    status = SOME_FAILED
    try:
        with _wrong_usage():
            process.run(
                parallel,
                workers,
                runner=runner,
                progress=progress,
                resources=resources,
                checkpoint=checkpoint,
                fail_fast=fail_fast,
                capture_output=capture_output,
            )
    except KeyboardInterrupt:
        status = INTERRUPTED
    report = process.report
    assert report is not None
    all_succeeded = len(report.successes) == len(report.entries)
    # The table comes last: its pipe may be closed.
    all_written = all(
        [  # each, whatever becomes of the others
            _is_written(html_path, report.to_html),
            _is_written(json_path, partial(report.to_json, indent=2)),
            _is_written(trace_path, report.to_chrome_trace),
        ]
    )
    if only_errors and all_succeeded:
        click.echo("All tasks succeeded.")
    else:
        _print(to_text(report, only_unsuccessful=only_errors))
    if status == INTERRUPTED or not (all_succeeded and all_written):
        sys.exit(status)


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """Have what a run refuses told as wrong usage."""
    try:
        yield
    except (TypeError, ValueError, OSError, ModuleNotFoundError) as error:  # Dask is not installed, say
        if isinstance(error, OSError) and error.filename is None:  # not of the checkpoint
            raise
        raise click.UsageError(str(error)) from error


@main.command(epilog=ABOUT_TARGETS)
@target_argument
@target_arguments
@click.option(
    "--format", "drawing", type=click.Choice(("mermaid", "dot")), default="mermaid", show_default=True
)
def graph(target: str, arguments: tuple[str, ...], drawing: str) -> None:
    """Draw a process's graph as text; no task is run."""
    process = find_process(target, arguments)
    _print((process.to_mermaid() if drawing == "mermaid" else process.to_dot()).removesuffix("\n"))


@main.command()
@workers_option
@click.option(
    "--compare/--no-compare",
    default=True,
    show_default=True,
    help="Run the same once more sequentially, to measure the speed-up.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Rank the packages in this folder instead of the standard library's.",
)
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", default=15, show_default=True, help="How many to print."
)
@click.option(
    "--json",
    "json_path",
    type=OutputFile(),
    metavar="FILE",
    default="processes-demo.json",
    show_default=True,
    help="Where the report is written.",
)
def demo(workers: int | None, compare: bool, root: Path | None, top: int, json_path: Path) -> None:
    """Rank the standard library's packages by how hard they are to maintain.

    A real CPU-bound graph of some 600 tasks: parse and tokenize each package, weigh its functions, find
    copied code, follow the imports, rank. It runs on worker processes, and then once more sequentially.

    Exit status: 0 when all tasks succeeded, both runs gave the same and the report is written, 1 otherwise.
    """
    from .demo.show import show_demo

    try:
        report, good = show_demo(root, workers=workers, compare=compare, top=top)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    if written := _is_written(json_path, partial(report.to_json, indent=2)):
        _print(f"The report is in {json_path}.")
    if not (good and written):
        sys.exit(SOME_FAILED)


def _check_not_run(process: Process, target: str) -> None:
    """Refuse a process that has run while its file was loaded: what it does would be done twice."""
    if process.report is not None:
        raise click.UsageError(
            f"{target!r} has run its process itself when it was loaded; let it do so below "
            '`if __name__ == "__main__":`, which is left out here'
        )


def _is_written(path: Path | None, write: Callable[[Path], object]) -> bool:
    """Write a report to a file, if one is wanted; say on standard error why that was not possible."""
    try:
        if path is not None:
            write(path)
    except (OSError, MemoryError) as error:
        click.echo(f"Error: {str(path)!r} could not be written: {exception_line(error)}", err=True)
        return False
    return True


def _print(text: str) -> None:
    """Print names and values of the user's; characters that the output cannot show are written as escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # there may be no standard output
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
