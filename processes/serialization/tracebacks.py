"""Tracebacks as plain data, and made again of stubs: frames at the right place, with texts for variables."""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import islice
from types import CodeType, FunctionType, TracebackType

from ..failure import entries_of, local_variables, module_of_frame
from ..reprs import bounded_reprs

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    Frame = tuple[Any, ...]

FRAMES_WITH_VARIABLES: Final = 20  # the innermost: who debugs a failure seldom looks further up
VARIABLE_CHARACTERS: Final = 500  # of each of their variables


class VariableText(str):
    """The repr of a variable whose frame was left behind; a debugger shows it without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def frames_of(exceptions: Sequence[BaseException]) -> list[list[Frame]]:
    """Return the frames of each exception's traceback as plain data, the innermost of all with variables."""
    variables = _variables_of_frames(exceptions)
    return [[_frame(entry, variables) for entry in entries_of(one)] for one in exceptions]


def _frame(entry: TracebackType, variables: dict[int, dict[str, str]]) -> Frame:
    frame = entry.tb_frame
    code = frame.f_code
    # For each instruction, of two bytes: the lines and columns that it was made of, as far as they are known.
    # A line of -1 is one that is not, and an entry that was made by hand may tell no instruction: that is -1.
    position: Any = (None,) * 4
    if entry.tb_lasti >= 0:
        position = next(islice(code.co_positions(), entry.tb_lasti // 2, None), position)
    if None in position:
        line: int | None = entry.tb_lineno
        line = -1 if line is None else line
        position = (line, line, -1, -1)
    names = (code.co_filename, code.co_name, code.co_qualname)
    return names, position, module_of_frame(frame), variables.get(id(frame), {})


def _variables_of_frames(exceptions: Sequence[BaseException]) -> dict[int, dict[str, str]]:
    """Render the variables of the innermost frames; by the frame's id."""
    frames: dict[int, Any] = {}
    for one in exceptions:
        inner_first = reversed([entry.tb_frame for entry in entries_of(one)])
        frames.update((id(frame), frame) for frame in inner_first)
    values = {
        (key, name): value
        for key, frame in islice(frames.items(), FRAMES_WITH_VARIABLES)
        for name, value in local_variables(frame).items()
    }
    variables: dict[int, dict[str, str]] = {}
    for (key, name), text in bounded_reprs(values, VARIABLE_CHARACTERS).items():
        variables.setdefault(key, {})[name] = text
    return variables


def traceback_of_frames(frames: list[Frame]) -> TracebackType | None:
    """Make a traceback of what :func:`frames_of` has returned for an exception.

    A stub is the frame of a generator that has not begun. One that had been called would lead back to its
    callers, and an exception that is kept would keep the whole run. There are none, and no traceback, where
    Python is no CPython and has other code.
    """
    traceback = None
    if sys.implementation.name != "cpython":
        return None
    for names, position, module, variables in reversed(frames):
        function, instruction = _stub(*names, *position, module, tuple(variables))
        frame = function(*map(VariableText, variables.values())).gi_frame
        traceback = TracebackType(traceback, frame, instruction, position[0])
    return traceback


@lru_cache(maxsize=1024)  # recursion fails in the same place again and again
def _stub(
    file: str,
    name: str,
    qualname: str,
    line: int,
    end_line: int,
    column: int,
    end_column: int,
    module: str,
    variables: tuple[str, ...],
) -> tuple[Callable[..., Any], int]:
    """Make a generator function that bears a function's name and divides where the function failed.

    Return it, and the place of the division in its code.
    """
    import ast
    import opcode

    division = ast.BinOp(ast.Constant(1), ast.Div(), ast.Constant(0))
    arguments = [ast.arg(f"v{number}") for number in range(len(variables))]
    parameters = ast.arguments([], arguments, None, [], [], None, [])
    function = ast.FunctionDef("stub", parameters, [ast.Expr(ast.Yield()), ast.Expr(division)], [])
    if sys.version_info >= (3, 12):
        function.type_params = []
    function.lineno, function.end_lineno = max(line, 1), max(end_line, 1)
    function.col_offset, function.end_col_offset = column, end_column
    ast.fix_missing_locations(function)  # with those of the function
    compiled = compile(ast.Module([function], []), "", "exec", dont_inherit=True)
    code = next(constant for constant in compiled.co_consts if isinstance(constant, CodeType))
    division_at = 2 * code.co_code[::2].index(opcode.opmap["BINARY_OP"])
    # Names are put in afterwards: compilers refuse some that code, and dicts of variables, may have.
    code = code.replace(co_filename=file, co_name=name, co_qualname=qualname, co_varnames=variables)
    if line < 0:
        code = code.replace(co_linetable=b"")
    return FunctionType(code, {"__name__": module}), division_at
