"""The report as a short message in a chat: Slack, Microsoft Teams, Discord."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..visible import visible
from .base import ReportChannel
from .content import ReportContent, checked_content
from .languages import DEFAULT_LANGUAGE, report_title
from .view import Limits, Viewer
from .webhook import WebhookConfig

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

SHOWN_FAILURES = 10
SHOWN_OF_EXCEPTION = 200  # characters
SHOWN_OF_NAME = 150
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:@])")


class ChatChannel(ReportChannel):
    """The base of the chat channels: a few lines, failures first, sent to an incoming webhook.

    Parameters
    ----------
    url : str
        The incoming webhook's URL. Whoever knows it can write to the chat.
    content : ReportContent, optional
        What to hide; None: secrets.
    timeout : float, default 5
    retries : int, default 0
        As of :class:`WebhookConfig`.

    Raises
    ------
    TypeError, ValueError
        As :class:`WebhookConfig` raises them.
    """

    MAX_CHARACTERS: ClassVar[int]
    """How long all lines together may be, as the service counts or less."""

    def __init__(
        self, url: str, content: ReportContent | None = None, *, timeout: float = 5, retries: int = 0
    ) -> None:
        self.webhook_config: WebhookConfig = WebhookConfig(url, timeout=timeout, retries=retries)
        self.content: ReportContent = checked_content(content)

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        from .transport import post_json

        self.webhook_config.check()
        lines = [self.escaped(line) for line in _lines(report, self.content, errors_only)]
        post_json(self.webhook_config, self.payload(_fitting(lines, self.MAX_CHARACTERS)))

    def escaped(self, line: str) -> str:
        """Return a line that the service shows as it is: no markup, no mention; most know Markdown."""
        return _MARKDOWN.sub(r"\\\1", line)

    @abstractmethod
    def payload(self, lines: list[str]) -> dict[str, Any]:
        """Return the body of the message; the first of the escaped lines is its title."""


class SlackChannel(ChatChannel):
    """Sends a short message to a Slack channel, by an incoming webhook.

    Parameters are those of :class:`ChatChannel`: ``SlackChannel(url, content=None, *, timeout=5,
    retries=0)``. See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
    """

    MAX_CHARACTERS = 3_000  # Slack advises 4000 at most

    def escaped(self, line: str) -> str:
        line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        # Zero-width spaces keep * _ ~ ` from being formatting: Slack knows no escape for them.
        return re.sub(r"([*_~`])", "\u200b\\1\u200b", line)

    def payload(self, lines: list[str]) -> dict[str, Any]:
        text = "\n".join([f"*{lines[0]}*", *lines[1:]])
        return {"text": text, "unfurl_links": False, "unfurl_media": False}


class TeamsChannel(ChatChannel):
    """Sends a short message to a Microsoft Teams channel or chat, as an Adaptive Card.

    The URL is that of a Teams workflow ("Post to a channel when a webhook request is received") or of an
    older connector. Parameters are those of :class:`ChatChannel`.
    """

    MAX_CHARACTERS = 4_000  # Teams takes 28 KB of JSON, where a character can take 6 bytes

    def payload(self, lines: list[str]) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [
            {"type": "TextBlock", "text": line, "wrap": True, "spacing": "Small"} for line in lines
        ]
        blocks[0] |= {"weight": "Bolder", "size": "Medium"}
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": blocks,
        }
        attachment = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": card,
        }
        return {"type": "message", "attachments": [attachment]}


class DiscordChannel(ChatChannel):
    """Sends a short message to a Discord channel, by a webhook; it mentions nobody.

    Parameters are those of :class:`ChatChannel`.
    See https://discord.com/developers/docs/resources/webhook#execute-webhook.
    """

    MAX_CHARACTERS = 1_990  # Discord takes 2000, and the title is set in bold

    def payload(self, lines: list[str]) -> dict[str, Any]:
        text = "\n".join([f"**{lines[0]}**", *lines[1:]])
        return {"content": text, "allowed_mentions": {"parse": []}}


def _lines(report: ProcessExecutionReport, content: ReportContent, errors_only: bool) -> list[str]:
    """Put a report into a few plain lines."""
    title = report_title(DEFAULT_LANGUAGE, errors_only)
    name = f"{title}: {_short(report.process_name)}" if report.process_name else title
    errored, skipped = report.errored, report.skipped
    pending = len(report.entries) - len(report.successes) - len(errored) - len(skipped)
    counted = (("failed", len(errored)), ("skipped", len(skipped)), ("not run", pending))
    counts = [f"{count} {what}" for what, count in counted if count]
    if not errors_only:
        counts.append(f"{len(report.successes)} succeeded")
    lines = [name, f"{', '.join(counts)}; {report.elapsed_seconds:.1f} s"]
    viewer = Viewer(report, content, Limits())
    for entry in list(errored.values())[:SHOWN_FAILURES]:
        impact = len(entry.error.downstream_impact) if entry.error is not None else 0
        skips = f" (skips {impact} more)" if impact else ""
        lines.append(f"✗ {_short(entry.name)}: {viewer.headline(entry, SHOWN_OF_EXCEPTION)}{skips}")
    if len(errored) > SHOWN_FAILURES:
        lines.append(f"… and {len(errored) - SHOWN_FAILURES} more failed tasks")
    return [visible(" ".join(line.split())) for line in lines]


def _short(name: str) -> str:
    return name if len(name) <= SHOWN_OF_NAME else f"{name[:SHOWN_OF_NAME]}…"


def _fitting(lines: list[str], room: int) -> list[str]:
    """Return the lines for which there is room, and a last one that tells of others."""
    fitting: list[str] = []
    for line in lines:
        room -= len(line.encode("utf-16-le")) // 2 + 1  # as JavaScript counts
        if room < 1 and fitting:
            return [*fitting, "…"]
        fitting.append(line)
    return fitting
