"""`ReportContent`: what of a report a channel shows."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import check_bool
from ..reprs import brief_repr


@dataclass(frozen=True)
class ReportContent:
    """What a channel shows of each failed task, and what it hides.

    Parameters
    ----------
    show_traceback : bool, default True
        Show the traceback.
    show_traced_vars : bool, default True
        Show the values that the failed function had: its arguments and the traced variables.
    redact : bool, default True
        Put ``<redacted>`` in place of passwords, tokens and the like: of values under a name like a
        secret's, and of the same values wherever else they stand.
    redact_names : tuple of str, default ()
        Further names whose values are secrets, as in ``("customer_number",)``. Case, and whether words
        are joined by ``_``, ``-`` or a capital, does not matter; ``"iban"`` covers ``payer_iban`` too.

    Raises
    ------
    TypeError
        If a switch is no bool, or `redact_names` no tuple or list of str.
    """

    show_traceback: bool = True
    show_traced_vars: bool = True
    redact: bool = True
    redact_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for switch in ("show_traceback", "show_traced_vars", "redact"):
            check_bool(switch, getattr(self, switch))
        names: object = self.redact_names
        if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"redact_names must be a tuple of str, as in ('iban',), not {brief_repr(names)}")
        object.__setattr__(self, "redact_names", tuple(names))


def checked_content(content: ReportContent | None) -> ReportContent:
    """Return what a channel was given as content, or the default; refuse all else."""
    if content is None:
        return ReportContent()
    if not isinstance(content, ReportContent):
        raise TypeError(f"content must be a ReportContent or None, not {brief_repr(content)}")
    return content
