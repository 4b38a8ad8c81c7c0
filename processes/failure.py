"""A failure as plain data: what was raised, its traceback as text, and the variables of one frame.

All of it is rendered where the frames are, because source positions and variables do not travel. That may
run the user's code (``__str__``, ``__repr__``, ``__dir__``): it is bounded in time and size as reprs are.

Worker processes import this module before their first task: it imports what it needs inside functions.
"""

from __future__ import annotations

from itertools import islice

from .reprs import (
    ATOMS,
    MAX_CHARACTERS,
    NeedsThreadError,
    behind_type,
    cut,
    name_of_class,
    render_all,
    repr_job,
    unprintable,
    with_stand_ins,
)

TYPE_CHECKING: bool = False  # typing itself would take longer to import than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from traceback import TracebackException
    from types import FrameType, TracebackType
    from typing import Any, Final

MAX_VARIABLES: Final = 200  # of one frame; a module's frame can have thousands
MAX_MESSAGE: Final = 20_000  # characters of one exception's text, and of each note
MAX_TRACEBACK: Final = 1_000_000  # characters; the middle of a longer one is left out
MAX_GROUP_WIDTH: Final = 1_000  # members of a group that the traceback shows (Python's own default is 15)
MAX_GROUP_DEPTH: Final = 100  # groups in groups that it shows (Python's own default is 10)
MAX_TOLD: Final = 1_000  # exceptions; of more, those that several groups share are told once

_EXCEPTION: Final = 0  # keys of what is rendered beside the variables, whose keys are their names
_TRACEBACK: Final = 1

# What a class can define so that rendering one of its exceptions runs the user's code.
_HOOKS: Final = {
    *("__getattr__", "__getattribute__", "__class__", "__dict__"),
    *("__str__", "__repr__", "__bool__", "__len__"),
    *("__cause__", "__context__", "__suppress_context__", "__traceback__", "__notes__", "args", "exceptions"),
}
HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made by a class statement


class Failure:
    """What there is to say about a raised exception, as plain strings.

    Attributes
    ----------
    exception : str
        What ``str()`` of the exception gives.
    traceback_str : str
        The formatted traceback, with causes, contexts, notes and members of groups.
    traced_vars : dict of str to str
        The traced frame's variables, by name, each as its repr (bounded).
    traced_vars_location : str
        ``file:line in function`` of that frame; empty when there is none.
    """

    __slots__ = ("exception", "traceback_str", "traced_vars", "traced_vars_location")

    def __init__(
        self, exception: str, traceback_str: str, traced_vars: dict[str, str], traced_vars_location: str
    ) -> None:
        self.exception = exception
        self.traceback_str = traceback_str
        self.traced_vars = traced_vars
        self.traced_vars_location = traced_vars_location


def describe_failure(exception: BaseException, frame_filter: str | None = None) -> Failure:
    """Render an exception, whatever it holds.

    Takes about a second at most, and raises nothing but what a signal has led to meanwhile.

    Parameters
    ----------
    exception : BaseException
        As it was caught; see :func:`drop_leading_frames`.
    frame_filter : str or None, default None
        Traces the variables of the innermost frame whose file name or function's qualified name contains
        this. Where no frame does, and for None, it is the innermost frame of all.
    """
    try:
        try:
            return _describe(exception, frame_filter)
        except MemoryError:
            let_go_of_variables(exception)
            return _describe(exception, frame_filter)
    except Exception as error:  # out of memory, say: better a poor description than none
        from .interrupt import is_of_signal

        if is_of_signal(error):
            raise
        name = name_of_class(type(exception))
        text = f"{name} (which could not be described: {name_of_class(type(error))})"
        return Failure(f"<unprintable {name} object>", f"{text}\n", {}, "")


def let_go_of_variables(exception: BaseException) -> None:
    """Free what the frames of an exception hold; where memory is short, they are what holds it."""
    from contextlib import suppress

    for one in chain_of(exception):
        for entry in entries_of(one):
            with suppress(RuntimeError):  # of a frame that still runs: ours
                entry.tb_frame.clear()


def drop_leading_frames(exception: BaseException, modules: Collection[str]) -> None:
    """Let an exception's traceback begin at the first frame that is in none of these modules, given by name.

    It becomes None when no frame is left.
    """
    traceback = traceback_of(exception)
    while traceback is not None and module_of_frame(traceback.tb_frame) in modules:
        traceback = traceback.tb_next
    BaseException.with_traceback(exception, traceback)


def module_of_frame(frame: FrameType) -> str:
    """Return the name of the module that a frame is in; "?" if its globals, which may be any, tell none."""
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else "?"


def traceback_of(exception: BaseException) -> TracebackType | None:
    """Return an exception's traceback without running code of its class."""
    traceback: TracebackType | None = vars(BaseException)["__traceback__"].__get__(exception)
    return traceback


def entries_of(exception: BaseException) -> Iterator[TracebackType]:
    """Give the entries of an exception's traceback, from the outermost frame on."""
    entry = traceback_of(exception)
    while entry is not None:
        yield entry
        entry = entry.tb_next


def beginning_of(exception: BaseException) -> str:
    """Tell where an exception's traceback begins: in the task's own function; empty if it has none."""
    outermost = traceback_of(exception)
    return "" if outermost is None else _location(outermost)


def chain_of(exception: BaseException) -> Iterator[BaseException]:
    """Give an exception, and then all that it leads to: its cause, its context, its members, and theirs.

    No code of their classes is run.
    """
    pending: list[BaseException | None] = [exception]
    seen = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if issubclass(type(one), BaseExceptionGroup):
            pending += vars(BaseExceptionGroup)["exceptions"].__get__(one)
        pending += (vars(BaseException)[link].__get__(one) for link in ("__cause__", "__context__"))


def exception_text(exception: BaseException) -> str:
    """Return what ``str()`` of an exception gives, bounded in time and size; never raises."""
    return exception_texts([exception])[0]


def exception_texts(exceptions: list[BaseException]) -> list[str]:
    """Return :func:`exception_text` of several exceptions; they share the time that one would have."""
    texts = render_all({number: _text_job(one) for number, one in enumerate(exceptions)})
    return [texts.get(number, unprintable(one)) for number, one in enumerate(exceptions)]


def exception_line(exception: BaseException) -> str:
    """Return an exception's type and text, as in ``ValueError: no rows``; never raises."""
    return behind_type(exception, exception_text(exception))


def notes_of(exception: BaseException) -> list[str]:
    """Return the notes of an exception, without calling code of the user's."""
    try:
        notes = object.__getattribute__(exception, "__dict__").get("__notes__")
    except Exception:  # of a class that has its own idea of `__dict__`
        return []
    return [note for note in notes if type(note) is str] if type(notes) is list else []


# ---- A failure -------------------------------------------------------------------------------------------


def _describe(exception: BaseException, frame_filter: str | None) -> Failure:
    location, variables = _traced_frame(exception, frame_filter)
    jobs: dict[str | int, Callable[[bool], str]] = {
        _EXCEPTION: _text_job(exception),
        _TRACEBACK: lambda threaded: _traceback_text(exception, threaded),
    }
    for name, value in variables.items():
        jobs[name] = repr_job(value, MAX_CHARACTERS)
    texts = render_all(jobs)
    text = texts.get(_EXCEPTION, unprintable(exception))
    traceback_str = texts[_TRACEBACK] if _TRACEBACK in texts else _bare_traceback(exception, text)
    return Failure(text, traceback_str, with_stand_ins(variables, texts), location)


def _traced_frame(exception: BaseException, frame_filter: str | None) -> tuple[str, dict[str, object]]:
    """Return the location and the variables of the frame to trace."""
    innermost = match = None
    for innermost in entries_of(exception):
        code = innermost.tb_frame.f_code
        if frame_filter is not None and (
            frame_filter in code.co_filename or frame_filter in code.co_qualname
        ):
            match = innermost
    traced = match or innermost
    if traced is None:
        return "", {}
    return _location(traced), local_variables(traced.tb_frame)


def _location(entry: TracebackType) -> str:
    code = entry.tb_frame.f_code
    return f"{code.co_filename}:{entry.tb_lineno} in {code.co_name}"


def local_variables(frame: FrameType) -> dict[str, object]:
    """Return a frame's variables by name, without the interpreter's own; at most MAX_VARIABLES."""
    try:
        variables = dict(frame.f_locals)
    except Exception:  # exec() takes any mapping for its variables, also one that raises
        return {}
    # A comprehension's iterator is called ".0".
    names = (name for name in variables if type(name) is str and name[:1] != "." and name != "__builtins__")
    return {name: variables[name] for name in islice(names, MAX_VARIABLES)}


def _text_job(exception: BaseException) -> Callable[[bool], str]:
    return lambda threaded: _exception_text(exception, threaded)


def _exception_text(exception: BaseException, threaded: bool) -> str:
    if not threaded and not _is_plain(exception):
        raise NeedsThreadError
    try:
        return cut(str(exception), MAX_MESSAGE)
    except BaseException:
        if not threaded:
            raise
        return unprintable(exception)


def _traceback_text(exception: BaseException, threaded: bool) -> str:
    if not threaded and not _are_plain(exception):
        raise NeedsThreadError
    try:
        described = _told_once(exception) if _is_told_often(exception) else _told(exception)
        _make_bearable(described)
        return _cut_middle("".join(described.format()), MAX_TRACEBACK)
    except BaseException:
        if not threaded:
            raise
        return _bare_traceback(exception, _exception_text(exception, threaded))


def _told(exception: BaseException, **options: Any) -> TracebackException:
    from traceback import TracebackException

    return TracebackException(
        type(exception),
        exception,
        traceback_of(exception),
        compact=True,
        max_group_width=MAX_GROUP_WIDTH,
        max_group_depth=MAX_GROUP_DEPTH,
        **options,
    )


def _is_told_often(exception: BaseException) -> bool:
    """Tell whether Python would tell more than MAX_TOLD exceptions, each member as often as it is met."""
    seen = {id(exception)}  # causes and contexts are told once
    pending = [exception]
    for _ in range(MAX_TOLD):
        if not pending:
            return False
        one = pending.pop()
        for link in (one.__cause__, one.__context__):
            if link is not None and id(link) not in seen:
                seen.add(id(link))
                pending.append(link)
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
    return bool(pending)


def _told_once(exception: BaseException) -> TracebackException:
    """Tell an exception as Python does, but for members that were members before: these get one line.

    Where each of some nested groups holds the one before twice, Python's text doubles with each.
    """
    seen: set[int] = set()  # Python's own; who gives it one adds causes, contexts and members himself
    members: set[int] = set()
    root = _told(exception, _seen=seen)
    pending = [(root, exception)]
    while pending:  # in Python's order: a cause or a context is told where it is met first
        told, one = pending.pop()
        told.__cause__ = told.__context__ = told.exceptions = None
        cause, context = one.__cause__, one.__context__
        if cause is not None and id(cause) not in seen:
            told.__cause__ = _told(cause, _seen=seen)
            pending.append((told.__cause__, cause))
        elif context is not None and not one.__suppress_context__ and id(context) not in seen:
            told.__context__ = _told(context, _seen=seen)
            pending.append((told.__context__, context))
        if not isinstance(one, BaseExceptionGroup):
            continue
        told.exceptions = [_told(member, _seen=seen) for member in one.exceptions]
        for told_member, member in zip(told.exceptions, one.exceptions, strict=True):
            if id(member) not in members:
                members.add(id(member))
                pending.append((told_member, member))
                continue
            told_member.stack.clear()
            told_member.__notes__ = ["(shown elsewhere in this traceback)"]
            told_member.__cause__ = told_member.__context__ = told_member.exceptions = None
    return root


def _make_bearable(described: TracebackException) -> None:
    """Bound the texts and notes of exceptions, which are copied several times, and what frames cost."""
    pending: list[TracebackException | None] = [described]
    while pending:
        one = pending.pop()
        if one is None:
            continue
        _format_once(one.stack)
        if len(str(one)) > MAX_MESSAGE:
            one._str = cut(str(one), MAX_MESSAGE)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
        notes: Any = one.__notes__
        if isinstance(notes, list):
            one.__notes__ = [cut(note, MAX_MESSAGE) if type(note) is str else note for note in notes]
        pending += [one.__cause__, one.__context__, *(one.exceptions or ())]


def _format_once(stack: Any) -> None:
    """Let frames at one place be formatted once: Python does it for each, even if it leaves them out."""
    format_frame = stack.format_frame_summary
    known: dict[Any, Any] = {}

    def formatted(frame: Any, **options: Any) -> Any:
        place = (frame.filename, frame.name, frame.lineno, frame.end_lineno, frame.colno, frame.end_colno)
        if place not in known:
            known[place] = format_frame(frame, **options)
        return known[place]

    stack.format_frame_summary = formatted


def _bare_traceback(exception: BaseException, text: str) -> str:
    """Format a traceback without source lines and chain, for exceptions that defeat the traceback module."""
    lines = []
    for entry in entries_of(exception):
        code = entry.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {entry.tb_lineno}, in {code.co_name}')
    if lines:
        lines.insert(0, "Traceback (most recent call last):")
    lines.append(f"{name_of_class(type(exception))}: {text}\n")
    return _cut_middle("\n".join(lines), MAX_TRACEBACK)


def _are_plain(exception: BaseException) -> bool:
    """Tell whether rendering an exception, and what it is chained to, runs builtin code only."""
    return all(_is_plain(one) for one in chain_of(exception))  # before it is asked what it leads to


def _is_plain(exception: BaseException) -> bool:
    """Tell whether rendering an exception by itself runs builtin code only."""
    kind = type(exception)
    if type(kind) is not type or issubclass(kind, (AttributeError, ImportError, SyntaxError)):
        return False  # their text shows more than `args`, and suggests names out of what dir() gives
    if isinstance(exception, OSError) and not {type(exception.filename), type(exception.filename2)} <= ATOMS:
        return False
    if any(c.__flags__ & HEAP_TYPE and not _HOOKS.isdisjoint(vars(c)) for c in kind.__mro__):
        return False
    if not isinstance(exception, BaseExceptionGroup) and not ATOMS.issuperset(map(type, exception.args)):
        return False
    notes = vars(exception).get("__notes__", [])
    return type(notes) is list and all(type(note) is str for note in notes)


def _cut_middle(text: str, room: int) -> str:
    half = room // 2
    if len(text) <= room:
        return text
    return f"{text[:half]}\n… {len(text) - 2 * half} more characters …\n{text[-half:]}"
