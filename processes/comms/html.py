"""`render_report_html`: the report as a page that mail clients show as it is meant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..rendering.table import in_order_of_attention
from ..rendering.templating import template
from ..visible import visible
from .content import ReportContent, checked_content
from .languages import DEFAULT_LANGUAGE, LANGUAGES, report_title, spelled_duration, spelled_number
from .palettes import DEFAULT_PALETTE, PALETTES
from .view import Limits, Viewer

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

# Mail servers commonly take 10 MB, and mail programs get slow far below; Base64 and escaping add to it.
MAX_ROWS = 500  # of the table; failed tasks come first
MAX_FAILURES = 50  # with all details
MAX_DETAILS = 600_000  # characters of their tracebacks and values together
MAX_NAMES = 50  # of skipped tasks, for one failure
MAX_CELL = 120  # characters of a result in the table
DIVISORS = (1, 4, 16, 64, 256)  # of these numbers, one after the other, until a mail is small enough
STATUSES = ("success", "errored", "skipped", "pending")  # as the summary has them


@dataclass
class HTMLEmailStyle:
    """How the report looks, and which language it speaks.

    Parameters
    ----------
    palette : str, default "neutral"
        The colours: ``"neutral"``, ``"catppuccin"``, ``"neobones"`` or ``"slate"``.
    language : str, default "en"
        ``"en"``, ``"es"``, ``"pt"``, ``"fr"``, ``"de"`` or ``"it"``.

    Raises
    ------
    ValueError
        If there is no such palette or language.
    """

    palette: str = DEFAULT_PALETTE
    language: str = DEFAULT_LANGUAGE

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse what there is not; done again before each report, as the fields can be changed."""
        if self.palette not in PALETTES:
            raise ValueError(f"palette must be one of {', '.join(map(repr, PALETTES))}, not {self.palette!r}")
        if self.language not in LANGUAGES:
            raise ValueError(
                f"language must be one of {', '.join(map(repr, LANGUAGES))}, not {self.language!r}"
            )


def checked_style(style: HTMLEmailStyle | None) -> HTMLEmailStyle:
    """Return what a channel was given as style, or the default; refuse all else."""
    if style is None:
        return HTMLEmailStyle()
    if not isinstance(style, HTMLEmailStyle):
        raise TypeError(f"style must be an HTMLEmailStyle or None, not {style!r}")
    return style


def render_report_html(
    report: ProcessExecutionReport,
    style: HTMLEmailStyle | None = None,
    content: ReportContent | None = None,
    *,
    errors_only: bool = False,
) -> str:
    """Render a report as the HTML page that :class:`EmailChannel` sends.

    All styles stand in the elements themselves, because mail clients drop style sheets. A large report is
    shortened: failed tasks come first, and lines say what was left out.

    Parameters
    ----------
    report : ProcessExecutionReport
        What to show.
    style : HTMLEmailStyle, optional
        Colours and language; None: neutral, English.
    content : ReportContent, optional
        What to show and what to hide; None: everything but secrets.
    errors_only : bool, default False
        Whether the title says that only failed tasks are shown.

    Returns
    -------
    str
        A whole page.
    """
    return render_page(report, checked_style(style), checked_content(content), errors_only=errors_only)


def render_page(
    report: ProcessExecutionReport,
    style: HTMLEmailStyle,
    content: ReportContent,
    *,
    errors_only: bool,
    divisor: int = 1,
) -> str:
    """Render a report as :func:`render_report_html` does, in less room where `divisor` is more than 1."""
    style.check()
    words, palette = LANGUAGES[style.language], PALETTES[style.palette]
    number = partial(spelled_number, style.language)
    entries = list(report.entries.values())
    rows = MAX_ROWS // divisor
    shown = entries if len(entries) <= rows else in_order_of_attention(report)[:rows]
    failed = [entry for entry in entries if entry.error is not None]
    limits = Limits(MAX_CELL, left_out=words["more_characters"], number=number).divided(divisor)
    viewer = Viewer(report, content, limits)
    failures = viewer.failures(failed[: max(1, MAX_FAILURES // divisor)], room=MAX_DETAILS // divisor)
    counts = Counter(entry.status.value for entry in entries)
    return template("processes.comms", "report.html.j2").render(
        title=report_title(style.language, errors_only),
        language=style.language,
        words=words,
        colors=palette,
        report=report,
        process_name=visible(report.process_name),
        runner=visible(report.runner),
        scheme="only dark" if palette.is_dark else "only light",  # dark mail programs shall not mix colours
        counts=counts,
        shown_statuses=[one for one in STATUSES if counts[one] or one in ("success", "errored")],
        failures=failures,
        failures_left_out=len(failed) - len(failures),
        tasks=[viewer.task(entry, with_error=False) for entry in shown],
        tasks_left_out=len(entries) - len(shown),
        number=number,
        duration=partial(spelled_duration, style.language),
        max_names=MAX_NAMES,
        # Of the column that tells how tasks ended, in pixels: no word in it is broken, be it German.
        status_width=22 + 8 * max(len(word) for status in STATUSES for word in words[status].split()),
    )
