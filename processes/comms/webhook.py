"""`WebhookChannel`: sends the report as JSON to a URL."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..checks import check_retries, check_timeout, is_host_name
from ..rendering.json_text import jsonable
from ..visible import visible
from .base import ReportChannel
from .content import ReportContent, checked_content
from .view import ErrorView, Limits, TaskView, Viewer

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

FULL_FAILURES = 100
"""Where more tasks failed, less is shown of each, so that all together stay some megabytes."""


@dataclass
class WebhookConfig:
    """Where a webhook is, and how it is called.

    Parameters
    ----------
    url : str
        An http or https URL.
    headers : dict of str to str, default {}
        Further HTTP headers, as in ``{"Authorization": "Bearer …"}``.
    timeout : float, default 5
        Seconds to wait for the connection, and for each part of the answer; all of it together may take
        ten times as long.
    secret : str, optional
        Shared with the receiver: the header ``X-Signature-SHA256`` is then the hexadecimal HMAC-SHA256 of
        the body's bytes.
    extra_payload : dict, default {}
        Merged on top of the body; its keys win. JSON must know its values.
    nest_under : str, optional
        Put the report under this key of the body; None: at its top.
    retries : int, default 0
        How often the report is sent again at most, when there was no connection, no answer in time, or a 429
        or 5xx answer; after as long as the answer's Retry-After asks for, if that is no more than a minute,
        or else with growing delays (0.5 s, 1 s, 2 s, … at most).

    Raises
    ------
    TypeError
        If an argument is of the wrong type, or `extra_payload` holds a value that JSON does not know.
    ValueError
        If the URL is no http or https URL, a header cannot be sent, `secret` is empty, `extra_payload` holds
        itself or a number that JSON does not know, or a number is out of its range.
    """

    url: str = field(repr=False)  # like the others that are not shown: it may hold a secret
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 5
    secret: str | None = field(default=None, repr=False)
    extra_payload: dict[str, Any] = field(default_factory=dict, repr=False)
    nest_under: str | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse what cannot work; done again before each report, as the fields can be changed."""
        check_url(self.url)
        if not isinstance(self.headers, dict):
            raise TypeError(f"headers must be a dict of str to str, not {type(self.headers).__name__}")
        for name, value in self.headers.items():
            _check_header(name, value)
        check_timeout(self.timeout)
        for what, text in (("secret", self.secret), ("nest_under", self.nest_under)):
            if text is not None and not isinstance(text, str):
                raise TypeError(f"{what} must be str or None, not {type(text).__name__}")
        if self.secret == "":  # as of a variable of the environment that is not set
            raise ValueError("secret must not be empty: anybody could sign with that; None signs nothing")
        _check_payload(self.extra_payload)
        check_retries(self.retries)


class WebhookChannel(ReportChannel):
    """Sends the report as JSON, by HTTP POST.

    The body is ``{"process_name": …, "entries": {name: {"status", "function", "elapsed_seconds",
    "attempts", "result" (a repr, of successes), "error" (of failures)}}}``; ``"error"`` has ``exception``,
    ``downstream_impact`` and, as `content` wants, ``traceback``, ``traced_vars``, ``traced_vars_location``.

    Parameters
    ----------
    webhook_config : WebhookConfig
        Where to send it.
    content : ReportContent, optional
        What to show and what to hide; None: everything but secrets.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    """

    def __init__(self, webhook_config: WebhookConfig, content: ReportContent | None = None) -> None:
        if not isinstance(webhook_config, WebhookConfig):
            raise TypeError(f"webhook_config must be a WebhookConfig, not {type(webhook_config).__name__}")
        self.webhook_config = webhook_config
        self.content: ReportContent = checked_content(content)

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:  # noqa: ARG002
        from .transport import post_json

        self.webhook_config.check()
        post_json(self.webhook_config, self.payload(report))

    def payload(self, report: ProcessExecutionReport) -> dict[str, Any]:
        """Return the body, as a dict, that is sent for a report."""
        viewer = Viewer(report, self.content, Limits().divided(max(1, len(report.errored) // FULL_FAILURES)))
        body: dict[str, Any] = {
            "process_name": visible(report.process_name),
            "entries": {view.name: _plain(view) for view in map(viewer.task, report.entries.values())},
        }
        if self.webhook_config.nest_under is not None:
            body = {self.webhook_config.nest_under: body}
        return {**body, **self.webhook_config.extra_payload}


def check_url(url: object) -> None:
    """Refuse what is no plain http or https URL."""
    if not isinstance(url, str):
        raise TypeError(f"url must be str, not {type(url).__name__}")
    for index, character in enumerate(url):
        if not "!" <= character <= "~":
            raise ValueError(  # without the URL, which may hold a secret
                "url must not hold spaces, line breaks or non-ASCII characters; remove or quote the "
                f"{character!r} at index {index} of {len(url)} characters"
            )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url cannot be read: {error}") from None
    good_host = parts.hostname and is_host_name(parts.hostname)
    if parts.scheme not in ("http", "https") or not good_host or port == 0:
        raise ValueError(
            f"url must be like 'https://host/path', not one of scheme {parts.scheme!r} "
            f"and host {parts.hostname!r}"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "url must hold no user and password; send them by headers={'Authorization': 'Basic …'}"
        )


def _check_header(name: object, value: object) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(
            f"headers must be a dict of str to str; the value of {name!r} is {type(value).__name__}"
        )
    if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{name!r} is no name of an HTTP header; use letters, digits and '-'")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(
            f"the value of header {name!r} holds a line break or another control character; remove it"
        )
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"the value of header {name!r} holds characters beyond Latin-1; encode them"
        ) from None


def _check_payload(payload: object) -> None:
    if not isinstance(payload, dict):
        raise TypeError(f"extra_payload must be a dict, not {type(payload).__name__}")
    try:
        json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"extra_payload must hold only what JSON knows: {error}") from None


def _plain(task: TaskView) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "status": task.status,
        "function": task.function,
        "elapsed_seconds": jsonable(task.elapsed_seconds),
        "attempts": task.attempts,
    }
    if task.result is not None:
        plain["result"] = task.result
    if task.error is not None:
        plain["error"] = _plain_error(task.error)
    return plain


def _plain_error(error: ErrorView) -> dict[str, Any]:
    shown = {
        "exception": error.exception,
        "downstream_impact": error.downstream_impact,
        "traceback": error.traceback,
        "traced_vars": error.traced_vars,
        "traced_vars_location": error.traced_vars_location,
    }
    return {name: value for name, value in shown.items() if value is not None}
