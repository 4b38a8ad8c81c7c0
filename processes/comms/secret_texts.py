"""Finds what stands under the name of a secret in a text: ``token=abc``, ``"password": "abc"`` and so on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .secret_names import LINE_NUMBER, set_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .secret_names import SecretNames

REDACTED = "<redacted>"

_NAMED = re.compile(
    r"""
    (?P<name> (?<![\w.-]) (?P<flag> --? (?=\w) )? [\w.-]++ (?P<header> (?<=(?i:authorization)) )? )
    (?P<sign>
        \\*["']? (?: \] | %5[Dd] )? \s* (?: = (?!=) | : | %3[Dd] ) \s*
      | ["'] ,\s* (?=["'])
      | >
      | (?(flag) [ ]++ (?!-) | (?!) )
    )
    (?P<value>
        (?P<escaped> \\+["'] [^"'\n]* ["'] ) |
        (?P<quoted> (?:[rRbBuUfF]{1,2})? (?: "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' ) )
      | (?P<cut> ["'][^\n]* )
      | (?P<group> [\[({] [^\[\](){}\n]* [\])}] | <[^<>\n]*> )
      | (?P<bare>
            (?P<scheme> (?:Bearer|Basic|Digest|Token|Negotiate)\s+ | (?(header) [A-Za-z-]++[ ]++ | (?!) ) )?
            (?= [^\s,;&"'\[\](){}<>] )
        )
    )
    """,
    re.VERBOSE,
)
_SCHEMES = set_of("bearer basic digest token negotiate")  # of another one the value must look like a secret
_QUOTE = re.compile("[\"']")
_END_OF_BARE = re.compile(r"[\s,;&\"'\[\](){}<>]|\Z")
_REST_OF_QUOTED = {quote: re.compile(rf"(?:[^{quote}\\\n]|\\.)*+({quote}?)") for quote in "\"'"}
_SOURCE_LINE = re.compile(r'(?m)^[ \t|+]*File "(?>.*", line \d+).*\n(?![ \t|+]*File ")(.+\n?)')
# What stands between user: and the last @, or before the @ alone where that is as long as tokens are. A quote
# may be part of it, but not before a comma or a bracket: there the URL has ended.
_IN_URL = re.compile(r"(?<=://)([^\s/:'\"]*:|(?=[\w.~%+=-]{12,}@))((?:[^\s/'\"]|['\"](?![,:;)\]}>]))+)(?=@)")
# In a query a key is one to an API, and who has the signature may do what the URL says; a path is neither.
_IN_QUERY = re.compile(r"(?<=[?&;])((?:key|appid|sig|(?:[\w-]*-)?[Ss]ignature)=)([\w%~+=-]{20,}+)(?![./])")
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)((?:\s|\\+[rn])*[\w+/=]{16,}(?:[\w+/=\s]|-(?!-)|\\+[rn])*+)"
)
BY_LOOKS = (_IN_URL, _IN_QUERY, _PRIVATE_KEY)
"""What they find is a secret from their second group on, whatever its name is."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A name in a text, with the value that it marks.

    Parameters
    ----------
    match : re.Match
        Of the name, and of the value, if that is not bare.
    end : int
        Where the value ends.
    is_bare : bool
        Whether the value stands in no quotes or brackets, and ends with the unbroken text.
    has_digit : bool
        Whether a bare value has one.
    """

    match: re.Match[str]
    end: int
    is_bare: bool = False
    has_digit: bool = False

    @property
    def start(self) -> int:
        """Where the value starts."""
        return self.match.start("value")

    @property
    def value(self) -> str:
        """The value as a text."""
        return self.match.string[self.start : self.end]

    @property
    def is_harmless(self) -> bool:
        """Whether the value tells nothing; a long one, which may share its end with others, is not copied."""
        return self.end - self.start <= len(REDACTED) and is_harmless(self.value)


def marked(text: str, names: SecretNames, source: bool = False) -> Iterator[Marked]:
    """Find names of secrets with their values in a text, or in a line of `source` code."""
    return (named for named in _named(text, names) if _is_secret(named, names, source))


def _named(text: str, names: SecretNames) -> Iterator[Marked]:
    """Find what looks like a name with its value; values are looked into for further names."""
    lower = text.lower()
    if not any(hint in lower for hint in names.hints):
        return
    end = last_digit = 0  # of a bare value; the values of names within it share them
    position = 0
    while (match := _NAMED.search(text, position)) is not None:
        position = match.start("value")
        if match["bare"] is None:
            yield Marked(match, match.end())
            continue
        if match.end() >= end:
            end = _END_OF_BARE.search(text, match.end()).start()  # type: ignore[union-attr]
            digits = (at for at in range(end - 1, match.end() - 1, -1) if text[at].isdigit())
            last_digit = next(digits, -1)
        yield Marked(match, end, is_bare=True, has_digit=last_digit >= match.end())


def _is_secret(named: Marked, names: SecretNames, source: bool) -> bool:
    match = named.match
    before = match.string[max(0, match.start() - 2) : match.start()]
    after = match.string[named.end : named.end + 1]
    # Between semicolons PWD is the password of a database, which may begin like a path.
    is_in_list = match["name"] == "PWD" and ";" in before + after
    opening = None if is_in_list else match.string[named.start : named.start + 20]
    if not names.covers(match["name"], opening) or named.is_harmless or _is_place(named, names):
        return False
    # ('token', 'abc') is a pair, as is '--token', 'abc'; ['token', 'user'] are names.
    if "," in match["sign"]:
        return match["flag"] is not None or before in ("('", '("')
    if match["sign"] == ">":  # <token>abc</token>
        return before.endswith("<")
    if named.is_bare and (match["scheme"] or "").strip().lower() not in _SCHEMES:
        # Of source code it is an expression, and in "Invalid token: expired" a word.
        is_marked = not match["sign"].rstrip().endswith(":") or match["flag"] is not None
        return not source and (is_marked or named.has_digit)
    return not (source and match["group"]) or any(quoted(match["group"]))


def _is_place(named: Marked, names: SecretNames) -> bool:
    """Tell whether it is a port of a host, or a line of a file: auth.example.org:443, auth.js:10."""
    match, name = named.match, named.match["name"]
    last = name.rpartition(".")[2]  # of self.token, that it is a secret
    is_in_url = match.string[max(0, match.start() - 3) : match.start()] == "://"
    return (
        match["sign"] == ":"
        and LINE_NUMBER.match(match.string, named.start) is not None
        and (is_in_url or (last != name and last not in names))
        and not names.is_own(name)
    )


def is_harmless(text: str) -> bool:
    """Tell whether a literal tells nothing, whatever its name is."""
    return text.rstrip(",;)") in ("None", "True", "False", "''", '""', "str", "bytes", "int", REDACTED)


def parts_of(text: str) -> Iterator[tuple[str, bool]]:
    """Give a traceback in parts, and of each whether it is a line of source code."""
    done = 0
    for match in _SOURCE_LINE.finditer(text):
        yield text[done : match.start(1)], False
        yield match[1], True
        done = match.end()
    yield text[done:], False


def quoted(text: str) -> Iterator[str]:
    """Find what stands in quotes, with them, each within one line."""
    position = 0
    open_to = {'"': 0, "'": 0}  # where the line ends on which no further quote of a kind is closed
    while (match := _QUOTE.search(text, position)) is not None:
        position = match.end()
        if position > open_to[match[0]]:
            rest = _REST_OF_QUOTED[match[0]].match(text, position)
            assert rest is not None
            if rest[1]:
                yield text[match.start() : rest.end()]
                position = rest.end()
            else:
                open_to[match[0]] = rest.end()
