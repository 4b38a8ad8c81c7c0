"""The context variables of threads on which a run calls functions."""

from __future__ import annotations

import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextvars import Context


def context_for_thread(context: Context | None = None) -> Context:
    """Copy a context, by default the current one, with what threads do not share.

    That is the context of `decimal`: a variable holds it, and a mere copy has the same object. What a task
    set there would hold for all that computes at the moment.
    """
    copied = copy_context() if context is None else context.copy()
    copied.run(_copy_decimal_context)
    return copied


def _copy_decimal_context() -> None:
    decimal: Any = sys.modules.get("decimal")
    # Another thread may be importing it. A copy of one of the user's own class would be of Python's.
    if hasattr(decimal, "setcontext") and type(found := decimal.getcontext()) is decimal.Context:
        decimal.setcontext(found.copy())
