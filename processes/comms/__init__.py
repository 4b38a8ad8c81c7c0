"""Where reports are sent to."""

from .base import ReportChannel

__all__ = ["ReportChannel"]
