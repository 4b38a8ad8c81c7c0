"""Where reports are sent to: e-mail, webhooks, chats, and whatever derives from `ReportChannel`.

Names are imported when they are first used: a program that sends no mail imports no mail library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import ReportChannel

if TYPE_CHECKING:
    from .chat import DiscordChannel, SlackChannel, TeamsChannel
    from .content import ReportContent
    from .html import HTMLEmailStyle, render_report_html
    from .mail import EmailChannel, SMTPConfig
    from .webhook import WebhookChannel, WebhookConfig

_MODULE_OF = {
    "DiscordChannel": "chat",
    "EmailChannel": "mail",
    "HTMLEmailStyle": "html",
    "ReportContent": "content",
    "SMTPConfig": "mail",
    "SlackChannel": "chat",
    "TeamsChannel": "chat",
    "WebhookChannel": "webhook",
    "WebhookConfig": "webhook",
    "render_report_html": "html",
}

__all__ = [
    "DiscordChannel",
    "EmailChannel",
    "HTMLEmailStyle",
    "ReportChannel",
    "ReportContent",
    "SMTPConfig",
    "SlackChannel",
    "TeamsChannel",
    "WebhookChannel",
    "WebhookConfig",
    "render_report_html",
]


if not TYPE_CHECKING:  # else type checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
