"""The colours of a report, as sets that are readable: each text stands out from its ground by 4.5 to 1."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PALETTE = "neutral"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours, as ``#rrggbb``.

    Parameters
    ----------
    page, panel, code : str
        Grounds: of all, of the boxes on it, of tracebacks and values in these.
    border : str
        Lines between them.
    text, muted : str
        Writing on each of the grounds.
    success, errored, skipped, pending : str
        Writing on `panel` that tells how a task ended.
    is_dark : bool, default False
        Whether the grounds are dark.
    """

    page: str
    panel: str
    code: str
    border: str
    text: str
    muted: str
    success: str
    errored: str
    skipped: str
    pending: str
    is_dark: bool = False


PALETTES = {
    "neutral": Palette(
        page="#f3f4f6",
        panel="#ffffff",
        code="#f6f7f9",
        border="#d5d9e0",
        text="#1c2128",
        muted="#59636e",
        success="#1a7f37",
        errored="#c4232d",
        skipped="#9a6700",
        pending="#59636e",
    ),
    "catppuccin": Palette(
        page="#1e1e2e",
        panel="#262637",
        code="#181825",
        border="#45475a",
        text="#cdd6f4",
        muted="#a6adc8",
        success="#a6e3a1",
        errored="#f38ba8",
        skipped="#f9e2af",
        pending="#a6adc8",
        is_dark=True,
    ),
    "neobones": Palette(
        page="#e5ede6",
        panel="#f1f6f1",
        code="#e0e9e1",
        border="#b4c6b7",
        text="#202e18",
        muted="#4b5a45",
        success="#3a6314",
        errored="#a0264d",
        skipped="#7d4700",
        pending="#4b5a45",
    ),
    "slate": Palette(
        page="#0f172a",
        panel="#1e293b",
        code="#131c2f",
        border="#475569",
        text="#e2e8f0",
        muted="#a3b1c6",
        success="#4ade80",
        errored="#fb8585",
        skipped="#fbbf24",
        pending="#a3b1c6",
        is_dark=True,
    ),
}
