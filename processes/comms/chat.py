"""The report as a short message in a chat: Slack, Microsoft Teams, Discord."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from .base import ReportChannel
from .content import ReportContent, checked_content
from .view import Limits, Viewer
from .webhook import WebhookConfig

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport

SHOWN_FAILURES = 10
SHOWN_OF_EXCEPTION = 200  # characters
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

    def __init__(
        self, url: str, content: ReportContent | None = None, *, timeout: float = 5, retries: int = 0
    ) -> None:
        self.webhook_config = WebhookConfig(url, timeout=timeout, retries=retries)
        self.content = checked_content(content)

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        from .transport import post_json

        self.webhook_config.check()
        post_json(self.webhook_config, self.payload(_lines(report, self.content, errors_only)))

    @abstractmethod
    def payload(self, lines: list[str]) -> dict[str, Any]:
        """Return the body of the message; the first of the plain lines is its title."""


class SlackChannel(ChatChannel):
    """Sends a short message to a Slack channel, by an incoming webhook.

    Parameters are those of :class:`ChatChannel`: ``SlackChannel(url, content=None, *, timeout=5,
    retries=0)``. See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
    """

    def payload(self, lines: list[str]) -> dict[str, Any]:
        lines = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in lines]
        # Zero-width spaces keep * _ ~ ` from being formatting: Slack knows no escape for them.
        lines = [re.sub(r"([*_~`])", "\u200b\\1\u200b", line) for line in lines]
        return {
            "text": "\n".join([f"*{lines[0]}*", *lines[1:]]),
            "unfurl_links": False,
            "unfurl_media": False,
        }


class TeamsChannel(ChatChannel):
    """Sends a short message to a Microsoft Teams channel or chat, as an Adaptive Card.

    The URL is that of a Teams workflow ("Post to a channel when a webhook request is received") or of an
    older connector. Parameters are those of :class:`ChatChannel`.
    """

    def payload(self, lines: list[str]) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [
            {"type": "TextBlock", "text": _MARKDOWN.sub(r"\\\1", line), "wrap": True, "spacing": "Small"}
            for line in lines
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

    MAX_CONTENT = 2000  # characters that Discord takes

    def payload(self, lines: list[str]) -> dict[str, Any]:
        text = ""
        for index, line in enumerate(lines):
            line = _MARKDOWN.sub(r"\\\1", line)
            line = line if index else f"**{line}**\n"
            if len(text) + len(line) > self.MAX_CONTENT - 2:
                text += "…"
                break
            text += line if index == 0 else f"{line}\n"
        return {"content": text.rstrip("\n"), "allowed_mentions": {"parse": []}}


def _lines(report: ProcessExecutionReport, content: ReportContent, errors_only: bool) -> list[str]:
    """Put a report into a few plain lines."""
    title = "Failed Tasks in Process" if errors_only else "Process Execution Report"
    name = f"{title}: {report.process_name}" if report.process_name else title
    errored, skipped = report.errored, report.skipped
    pending = len(report.entries) - len(report.successes) - len(errored) - len(skipped)
    counted = (("failed", len(errored)), ("skipped", len(skipped)), ("not run", pending))
    counts = [f"{count} {what}" for what, count in counted if count]
    if not errors_only:
        counts.append(f"{len(report.successes)} succeeded")
    lines = [name, f"{', '.join(counts)}; {report.elapsed_seconds:.1f} s"]
    viewer = Viewer(report, content, Limits(message=SHOWN_OF_EXCEPTION))
    for entry in list(errored.values())[:SHOWN_FAILURES]:
        text = " ".join(viewer.headline(entry).split())
        impact = len(entry.error.downstream_impact) if entry.error is not None else 0
        lines.append(f"✗ {entry.name}: {text}" + (f" (skips {impact} more)" if impact else ""))
    if len(errored) > SHOWN_FAILURES:
        lines.append(f"… and {len(errored) - SHOWN_FAILURES} more failed tasks")
    return [" ".join(line.split()) for line in lines]
