"""Keeps secrets out of what leaves the machine.

A secret is known by its name: a variable, parameter, keyword, key, attribute or header called ``password``,
``token`` and so on. What stands under such a name is replaced there; and the values found that way are
replaced wherever else they stand, because an exception's text and a traceback's source line repeat them.
"""

from __future__ import annotations

import ast
import json
import re
from base64 import b64encode
from collections import deque
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from operator import length_hint
from types import FunctionType
from typing import TYPE_CHECKING

from ..failure import DICTS, bounded_repr
from .named_values import (
    MAX_MEMBERS,
    arguments_of,
    globals_of,
    is_pair,
    key_of,
    members_of,
    results_passed,
)
from .needles import Needles
from .secret_names import SECRET_WORDS, SecretNames, set_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ..execution_report import ProcessExecutionReport
    from .content import ReportContent

REDACTED = "<redacted>"
SHORTEST = 6  # characters; a shorter value may stand anywhere by chance: only under its name it is replaced
SHORTEST_PIECE = 4  # of a secret that was cut
SHORTEST_IN_BASE64 = 8  # as a part of that would be less than a secret
MAX_VALUES = 200_000  # looked at in one report, about half a second; those of failed tasks come first
MAX_TEXT = 100_000  # characters of one value that is searched for names
MAX_ALL_TEXTS = 5_000_000  # characters that are searched in one report, one to two seconds
MAX_DEPTH = 50  # containers in containers, of a value that is cleaned

_SOURCE_FILES = (".py", ".pyw", ".pyx")
_LINE_NUMBER = re.compile(r"\d{1,7}(?!\w)")  # as in auth.py:3, or a port
# They may well be somebody's password, but hiding them everywhere would tell more than it hides.
_COMMON_VALUES = set_of(
    "default string object unknown localhost required optional negotiate disabled enabled anonymous "
    "missing invalid expired <redacted> redacted"
)
_NAMED = re.compile(
    r"""
    (?P<name> (?<![\w.-]) (?P<flag> --? (?=\w) )? [\w.-]++ (?P<header> (?<=(?i:authorization)) )? )
    (?P<sign> \\*["']? \s* (?: = (?!=) | : ) \s* | ["'] ,\s* (?=["']) | > | (?(flag) [ ]++ (?!-) | (?!) ) )
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
# What Python takes for a backslash, and warns of.
_NO_ESCAPE = re.compile(r"""(?<!\\)(?:\\\\)*\\(?=[^\\'"abfnrtvxuUN\n0-7]|[4-7][0-7]{2})""")
_ABSOLUTE_PATH = re.compile(r"""[bBrRuU]?\\*["']?(?:/|[A-Za-z]:[\\/])""")  # or the repr of one
_END_OF_BARE = re.compile(r"[\s,;&\"'\[\](){}<>]|\Z")
_REST_OF_QUOTED = {quote: re.compile(rf"(?:[^{quote}\\\n]|\\.)*+({quote}?)") for quote in "\"'"}
# What stands between user: and the last @, or before the @ alone where that is as long as tokens are. A quote
# may be part of it, but not before a comma or a bracket: there the URL has ended.
_IN_URL = re.compile(r"(?<=://)([^\s/:'\"]*:|(?=[\w.~%+=-]{12,}@))((?:[^\s/'\"]|['\"](?![,:;)\]}>]))+)(?=@)")
# In a query a key is one to an API, and who has the signature may do what the URL says; a path is neither.
_IN_QUERY = re.compile(r"(?<=[?&;])((?:key|appid|sig|(?:[\w-]*-)?[Ss]ignature)=)([\w%~+=-]{20,}+)(?![./])")
_SOURCE_LINE = re.compile(r'(?m)^[ \t|+]*File "(?>.*", line \d+).*\n(?![ \t|+]*File ")(.+\n?)')
_URL_SAFE = str.maketrans("+/", "-_")  # the other alphabet of Base64
_LEFT_OUT = re.compile(r"""["']?\n?… \d+ more (?:characters|bytes)(?P<after> …\n)?""")


class Redactor:
    """Knows the secrets of one report, and takes them out of texts and values.

    Parameters
    ----------
    names : iterable of str, default ()
        Names of secrets beside the usual ones.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = SecretNames(names)
        self._secrets: set[str] = set()
        self._needles: Needles | None = None
        self._room = MAX_ALL_TEXTS

    @classmethod
    def for_report(
        cls, report: ProcessExecutionReport, content: ReportContent
    ) -> Redactor | TransparentRedactor:
        """Return what takes a report's secrets out, or leaves them where `content` wants that."""
        if not content.redact:
            return TransparentRedactor()
        # A report that was filtered keeps the whole one: tasks that are left out know secrets, too.
        whole: ProcessExecutionReport = report.whole or report
        redactor = whole.redactors.get(content.redact_names)
        if redactor is None:
            redactor = cls(content.redact_names)
            redactor._learn_report(whole)
            whole.redactors[content.redact_names] = redactor
        return redactor

    # What is a secret

    def is_secret(self, name: str, value: object = None) -> bool:
        """Tell whether a name is like a secret's.

        A path under the environment's PWD is none, nor is a line's number behind the name of a file.
        """
        if name not in self._names:
            return False
        if name.endswith(_SOURCE_FILES):
            return _LINE_NUMBER.match(str(value)) is None
        return not (name == "PWD" and not self._names.is_own(name) and _ABSOLUTE_PATH.match(key_of(value)))

    def _learn_report(self, whole: ProcessExecutionReport) -> None:
        parameters: Mapping[str, Sequence[str]] = whole.parameters
        entries = sorted(whole.entries.values(), key=lambda entry: entry.error is None)
        for entry in entries:
            if entry.error is not None:
                self._learn_text(entry.error.exception)
                for part, source in _parts(entry.error.traceback_str):
                    self._learn_text(part, source)
        roots: list[tuple[str, object]] = []
        for entry in entries:
            names = parameters.get(entry.name, ())
            roots += arguments_of(entry, names)
            roots += [one for one in results_passed(whole, entry, names) if self.is_secret(*one)]
            if entry.error is not None:
                roots += entry.error.traced_vars.items()
            if entry.name in whole.bound:
                roots.append(("", whole.bound[entry.name]))
        roots += [("", entry.result) for entry in entries]
        self.learn(roots)

    def learn(self, values: Iterable[tuple[str, object]]) -> None:
        """Look for secrets in named values and all that is in them, the nearest first."""
        pending = deque((name, value, False) for name, value in values)
        seen: dict[tuple[int, bool], object] = {}  # holds what it names, so that no id is given twice
        for looked_at in range(MAX_VALUES):
            if not pending:
                break
            name, value, inside = pending.popleft()
            secret = inside or self.is_secret(name, value)
            kind = type(value)
            if kind in (int, float):
                if secret:
                    self._add(bounded_repr(value))
                continue
            if value is None or kind is bool or (id(value), secret) in seen:
                continue
            seen[id(value), secret] = value
            if kind is str:
                has_room = secret or len(value) <= self._room  # type: ignore[arg-type]
                self._learn_string(value, secret)  # type: ignore[arg-type]
                if has_room and (parsed := _parsed(value)) is not None:  # type: ignore[arg-type]
                    pending.append((name, parsed, inside))
            elif kind in (bytes, bytearray):
                if secret:
                    self._add(value.decode("utf-8", "replace"))  # type: ignore[attr-defined]
            elif (room := MAX_VALUES - looked_at - len(pending)) > 0:  # more would only take memory
                pending.extend((key, member, secret) for key, member in islice(members_of(value), room))
                if kind is FunctionType:
                    pending.extend((key, member, False) for key, member in globals_of(value))
        self._needles = None

    def _learn_string(self, text: str, secret: bool) -> None:
        if secret:
            self._add_repr_or_text(text)
        if len(text) <= MAX_TEXT:
            self._learn_text(text)

    def _learn_text(self, text: str, source: bool = False) -> None:
        if len(text) > self._room:
            return
        self._room -= len(text)
        masked = [named for named in self._named(text) if self._is_masked(named, source)]
        whole = 0
        for named, following in zip_longest(masked, masked[1:]):
            if not named.is_bare:
                self._add_quoted(named.value.replace("\\", "") if named.match["escaped"] else named.value)
                continue
            # A secret name within a bare value marks the rest of it. All these rests together may be much
            # longer than the text, so only the first is learned whole: the others end at the next such name.
            stop = named.end if following is None else min(named.end, following.match.start())
            value = text[named.start : stop]
            self._add(value if stop == named.end else value.rstrip("|:/"))
            if stop < named.end > whole:
                self._add(named.value)
                whole = named.end
        for match in chain(_IN_URL.finditer(text), _IN_QUERY.finditer(text)):
            self._add(match[2])

    def _add_repr_or_text(self, text: str) -> None:
        """Learn a secret that is either a value itself or, in a traced variable, the repr of one."""
        self._add_quoted(text)
        if not (text.startswith("<") and text.endswith(">")):  # <Session object at 0x7f…> is all common words
            self._add(text)

    def _add_quoted(self, text: str) -> None:
        for quoted in _quoted(text):
            literal = _parsed(quoted)
            self._add(literal if isinstance(literal, str) else quoted[1:-1])

    def _add(self, text: str) -> None:
        """Learn a secret, its parts between white space, and how they look in a repr or a URL."""
        for part in {text.strip(), *re.split(r"[\s;,]+", text)}:
            for value in (part, part.partition("=")[2].rstrip("=")):  # cookies are name=value; name=value
                if len(value) >= SHORTEST and not self._is_common(value):
                    self._secrets.update(_spellings(value))

    def _is_common(self, text: str) -> bool:
        lower = text.lower()
        return (
            lower in _COMMON_VALUES
            or lower in SECRET_WORDS
            or set(text) <= set("*•xX.-")
            or _harmless_literal(text)
        )

    # Taking it out

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._mask_values(self._mask_named(text))

    def traceback(self, text: str) -> str:
        """Return a traceback without secrets; in its source lines, ``token=token`` is no secret."""
        return self._mask_values("".join(self._mask_named(part, source) for part, source in _parts(text)))

    def variable(self, name: str, text: str) -> str:
        """Return a traced variable's repr without secrets."""
        if self.is_secret(name, text):
            return text if _harmless_literal(text) else REDACTED
        parsed = _parsed(text)
        if parsed is not None:
            clean = self.value(parsed)
            if clean != parsed:
                text = repr(clean)
        return self.text(text)

    def value(self, value: object, name: str = "", most: int = MAX_MEMBERS) -> object:
        """Return a value in whose dicts, lists and tuples secrets are replaced by their names.

        Of all that is in it, the first `most` are looked at.
        """
        return self._clean(name, value, iter(range(most)), ())

    def _clean(self, name: str, value: Any, numbers: Iterator[int], outside: tuple[int, ...]) -> object:
        if next(numbers, None) is None:
            return value
        kind = type(value)
        if self.is_secret(name, value):
            return value if value is None or kind is bool else REDACTED
        if kind is str:
            return self.text(value) if len(value) <= MAX_TEXT else value
        if kind not in (*DICTS, list, tuple) or len(value) > MAX_MEMBERS:
            return value
        if id(value) in outside or len(outside) > MAX_DEPTH:
            return value
        outside = (*outside, id(value))
        left = length_hint(numbers)
        if kind in DICTS:
            items = list(value.items())
            clean = [
                (key, self._clean(key_of(key), member, numbers, outside)) for key, member in items[:left]
            ]
            return kind([*clean, *items[left:]])
        if kind is tuple and is_pair(value) and self.is_secret(key_of(value[0]), value[1]):
            return value[0], REDACTED
        return kind([*(self._clean("", one, numbers, outside) for one in value[:left]), *value[left:]])

    def _mask_named(self, text: str, source: bool = False) -> str:
        pieces = []
        done = 0
        for named in self._named(text):
            match = named.match
            if match.start() >= done and self._is_masked(named, source):
                quote = match["quoted"][-1] if match["quoted"] else ""
                pieces += [text[done : named.start], quote, REDACTED, quote]
                done = named.end
        text = _IN_URL.sub(rf"\1{REDACTED}", "".join([*pieces, text[done:]]))
        return _IN_QUERY.sub(rf"\1{REDACTED}", text)

    def _named(self, text: str) -> Iterator[_Named]:
        """Find what looks like a name with its value; values are looked into for further names."""
        lower = text.lower()
        if not any(hint in lower for hint in self._names.hints):
            return
        end = last_digit = 0  # of a bare value; the values of names within it share them
        position = 0
        while (match := _NAMED.search(text, position)) is not None:
            position = match.start("value")
            if match["bare"] is None:
                yield _Named(match, match.end())
                continue
            if match.end() >= end:
                end = _END_OF_BARE.search(text, match.end()).start()  # type: ignore[union-attr]
                digits = (at for at in range(end - 1, match.end() - 1, -1) if text[at].isdigit())
                last_digit = next(digits, -1)
            yield _Named(match, end, is_bare=True, has_digit=last_digit >= match.end())

    def _is_masked(self, named: _Named, source: bool) -> bool:
        match = named.match
        before = match.string[max(0, match.start() - 2) : match.start()]
        after = match.string[named.end : named.end + 1]
        # Between semicolons PWD is the password of a database, which may begin like a path.
        is_in_list = match["name"] == "PWD" and ";" in before + after
        opening = None if is_in_list else match.string[named.start : named.start + 20]
        if not self.is_secret(match["name"], opening) or named.is_harmless or self._is_place(named):
            return False
        # ('token', 'abc') is a pair, as is '--token', 'abc'; ['token', 'user'] are names.
        if "," in match["sign"]:
            return match["flag"] is not None or before in ("('", '("')
        if match["sign"] == ">":  # <token>abc</token>
            return before.endswith("<")
        if named.is_bare and (match["scheme"] or "").strip().lower() not in _SCHEMES:
            # Of source code it is an expression, and in "Invalid token: expired" a word.
            marked = "=" in match["sign"] or match["flag"] is not None
            return not source and (marked or named.has_digit)
        return not (source and match["group"]) or any(_quoted(match["group"]))

    def _is_place(self, named: _Named) -> bool:
        """Tell whether it is a port of a host, or a line of a file: auth.example.org:443, auth.js:10."""
        match, name = named.match, named.match["name"]
        last = name.rpartition(".")[2]  # of self.token, that it is a secret
        is_in_url = match.string[max(0, match.start() - 3) : match.start()] == "://"
        return (
            match["sign"] == ":"
            and _LINE_NUMBER.match(match.string, named.start) is not None
            and (is_in_url or (last != name and last not in self._names))
            and not self._names.is_own(name)
        )

    def _mask_values(self, text: str) -> str:
        if not self._secrets:
            return text
        if self._needles is None:
            self._needles = Needles(self._secrets)
        pieces = []
        done = 0
        for start, end in self._needles.spans(text):
            pieces += [text[done:start], REDACTED]
            done = end
        text = "".join([*pieces, text[done:]])
        return self._mask_cut_values(text, self._needles) if "… " in text else text

    def _mask_cut_values(self, text: str, needles: Needles) -> str:
        """Take out what is left of a secret where a text was shortened right in it."""
        pieces = []
        done, is_cut = 0, False
        for match in chain(_LEFT_OUT.finditer(text), [None]):
            piece = text[done : match.start() if match else len(text)]
            if is_cut and (length := needles.backwards.overlap(piece[::-1], SHORTEST_PIECE)):
                pieces.append(REDACTED)
                piece = piece[length:]
            if match and (length := needles.overlap(piece, SHORTEST_PIECE)):
                piece = piece[:-length] + REDACTED
            pieces.append(piece)
            if match:
                pieces.append(match[0])
                done, is_cut = match.end(), match["after"] is not None
        return "".join(pieces)


class TransparentRedactor:
    """Stands for a :class:`Redactor` where nothing shall be hidden."""

    def text(self, text: str) -> str:
        """Return the text itself."""
        return text

    traceback = text

    def variable(self, name: str, text: str) -> str:  # noqa: ARG002
        """Return the text itself."""
        return text

    def value(self, value: object, name: str = "", most: int = 0) -> object:  # noqa: ARG002
        """Return the value itself."""
        return value


# ---- Names and values -------------------------------------------------------------------------------------


def _parsed(text: str) -> object:
    """Return the value that a text is the repr of, where it is a string or a container; else None."""
    if text[:1] in tuple("'\"[({b") and len(text) <= MAX_TEXT:
        try:
            value: object = ast.literal_eval(_NO_ESCAPE.sub(r"\\\g<0>", text))
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
        return value
    return None


def _harmless_literal(text: str) -> bool:
    return text.rstrip(",;)") in ("None", "True", "False", "''", '""', "str", "bytes", "int", REDACTED)


def _spellings(text: str) -> set[str]:
    """Return how a secret looks in a repr, in JSON, in a URL and in Base64."""
    from urllib.parse import quote

    data = text.encode("utf-8", "surrogatepass")
    found = {text, repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1]}
    once = repr(f"{text}'\"")[1:-4]  # as in the repr of a text with both quotes, and in the repr of that
    found |= {once, repr(f"{once}'\"")[1:-4]}
    for json_text in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        found |= {json_text, repr(json_text)[1:-1], json.dumps(json_text)[1:-1]}
    found |= {quote(data, safe=""), quote(data)}
    if len(data) >= SHORTEST_IN_BASE64:
        # By how many bytes, modulo three, stand before it, as the user's name in "user:password".
        for before in range(3):
            whole = b64encode(bytes(before) + data).decode()
            # Without the characters in which a neighbour has a bit.
            ours = whole[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
            found |= {ours, ours.translate(_URL_SAFE)}
    return found


# ---- Texts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Named:
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
        return self.end - self.start <= len(REDACTED) and _harmless_literal(self.value)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Give a traceback in parts, and of each whether it is a line of source code."""
    done = 0
    for match in _SOURCE_LINE.finditer(text):
        yield text[done : match.start(1)], False
        yield match[1], True
        done = match.end()
    yield text[done:], False


def _quoted(text: str) -> Iterator[str]:
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
