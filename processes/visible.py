"""Texts of other people's such that nothing that shows them obeys them."""

from __future__ import annotations


def visible(text: str) -> str:
    """Spell out what neither mail, page nor terminal shall get: control characters, lone surrogates."""
    if text.isascii() and text.isprintable():
        return text
    return without_surrogates(text.translate(_SPELLED))


def without_surrogates(text: str) -> str:
    """Spell out lone surrogates, as names of files that are no UTF-8 have: few readers take any."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_SPELLED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
# They turn the text behind them around, so that a name may look like another one.
_SPELLED |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
