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
from contextlib import suppress
from itertools import islice, pairwise, repeat
from types import MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING

from ..failure import bounded_repr
from .parameters import named_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ..execution_report import ProcessExecutionReport, TaskReportEntry
    from .content import ReportContent

REDACTED = "<redacted>"
SHORTEST = 6  # characters; a shorter value may stand anywhere by chance: only under its name it is replaced
SHORTEST_IN_BASE64 = 8  # as a part of that would be less than a secret
MAX_VALUES = 200_000  # looked at in one report, about half a second; those of failed tasks come first
MAX_TEXT = 100_000  # characters of one value that is searched for names
MAX_MEMBERS = 10_000  # looked at in one container


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SECRET_WORDS = _set_of(
    "password passwords passwd passphrase pwd pw secret secrets token tokens credential credentials creds "
    "authorization auth bearer cookie cookies jwt otp apikey apikeys accesskey secretkey privatekey "
    "sessionid csrf xsrf"
)
_SECRET_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "credentials")
_KINDS_OF_KEY = _set_of(
    "api access secret private encryption signing auth account master license ssh hmac shared session "
    "deploy app storage subscription service"
)
_SECRET_PAIRS = frozenset(
    {(kind, key) for kind in _KINDS_OF_KEY for key in ("key", "keys")}
    | {("session", "id"), ("connection", "string")}
)
# Each secret name has one of them in it, so that texts without any need no closer look.
_HINTS = _set_of("pass pw secret token cred auth bearer cookie jwt otp key session connection srf")
# What tells something about a secret, without being one: token_count, password_field, auth_method.
_HARMLESS_ENDINGS = _set_of(
    "count counts length len limit size type types expiry expires ttl url uri endpoint method policy field "
    "name names file path dir"
)
_COUNTED = _set_of("max min num n total prompt completion input output")  # …_tokens
# They may well be somebody's password, but hiding them everywhere would tell more than it hides.
_COMMON_VALUES = _set_of(
    "default string object unknown localhost required optional negotiate disabled enabled anonymous "
    "missing invalid expired <redacted> redacted"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

_NAMED = re.compile(
    r"""
    (?P<name> (?<![\w.-]) (?P<flag> --? (?=\w) )? [\w.-]++ )
    (?P<sign> \\*["']? \s* (?: = (?!=) | : ) \s* | ["'] ,\s* (?=["']) | > | (?(flag) [ ]++ (?!-) | (?!) ) )
    (?P<value>
        (?P<escaped> \\+["'] [^"'\n]* ["'] ) |
        (?P<quoted> (?:[rRbBuUfF]{1,2})? (?: "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' ) )
      | (?P<cut> ["'][^\n]* )
      | (?P<group> [\[({] [^\[\](){}\n]* [\])}] | <[^<>\n]*> )
      | (?P<bare> (?P<scheme> (?:Bearer|Basic|Digest|Token|Negotiate)\s+ )? [^\s,;&"'\[\](){}<>]+ )
    )
    """,
    re.VERBOSE,
)
_QUOTED = re.compile(r""""((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'""")
_IN_URL = re.compile(r"(?<=://)([^\s/:@'\"]*:)([^\s/@'\"]+)(?=@)")
_SOURCE_LINE = re.compile(r'(?m)^[ \t|+]*File ".*", line \d+.*\n(?![ \t|+]*File ")(.+\n?)')
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
        self._own = [words for words in (tuple(_words(name)) for name in names) if words]
        self._hints = (*_HINTS, *(words[0] for words in self._own))
        self._known: dict[str, bool] = {}  # whether a name is a secret's
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    @classmethod
    def for_report(
        cls, report: ProcessExecutionReport, content: ReportContent
    ) -> Redactor | TransparentRedactor:
        """Return what takes a report's secrets out, or leaves them where `content` wants that."""
        if not content.redact:
            return TransparentRedactor()
        redactor = cls(content.redact_names)
        redactor._learn_report(report)
        return redactor

    # What is a secret

    def is_secret(self, name: str) -> bool:
        """Tell whether a name is like a secret's."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._judge(name)
        return known

    def _judge(self, name: str) -> bool:
        words = _words(name)
        if not words:
            return False
        if any(_stand_in(own, words) for own in self._own):
            return True
        if words[-1] in _HARMLESS_ENDINGS or (words[-1] == "tokens" and words[0] in _COUNTED):
            return False
        return (
            words[-1] == "pass"
            or not _SECRET_WORDS.isdisjoint(words)
            or not _SECRET_PAIRS.isdisjoint(pairwise(words))
            or "".join(words).endswith(_SECRET_ENDINGS)
        )

    def _learn_report(self, report: ProcessExecutionReport) -> None:
        # A report that was filtered keeps the whole one: tasks that are left out know secrets, too.
        whole: ProcessExecutionReport = report.whole or report
        parameters: Mapping[str, Sequence[str]] = whole.parameters
        entries = sorted(whole.entries.values(), key=lambda entry: entry.error is None)
        roots: list[tuple[str, object]] = []
        for entry in entries:
            roots += _arguments(entry, parameters.get(entry.name, ()))
            if entry.error is not None:
                roots += entry.error.traced_vars.items()
        roots += [("", entry.result) for entry in entries]
        self.learn(roots)
        for entry in entries:
            if entry.error is not None:
                self._learn_text(entry.error.exception)
                self._learn_traceback(entry.error.traceback_str)

    def learn(self, values: Iterable[tuple[str, object]]) -> None:
        """Look for secrets in named values and all that is in them, the nearest first."""
        pending = deque((name, value, False) for name, value in values)
        seen: dict[tuple[int, bool], object] = {}  # holds what it names, so that no id is given twice
        for _ in range(MAX_VALUES):
            if not pending:
                break
            name, value, inside = pending.popleft()
            secret = inside or self.is_secret(name)
            kind = type(value)
            if kind is str:
                self._learn_string(value, secret)  # type: ignore[arg-type]
                parsed = _parsed(value)  # type: ignore[arg-type]
                if parsed is not None:
                    pending.append((name, parsed, inside))
            elif kind in (bytes, bytearray):
                if secret:
                    self._add(value.decode("utf-8", "replace"))  # type: ignore[attr-defined]
            elif kind in (int, float):
                if secret:
                    self._add(bounded_repr(value))
            elif value is not None and kind is not bool and (id(value), secret) not in seen:
                seen[id(value), secret] = value
                pending.extend((key, member, secret) for key, member in _members(value))
        self._pattern = None

    def _learn_string(self, text: str, secret: bool) -> None:
        if secret:
            self._add_repr_or_text(text)
        if len(text) <= MAX_TEXT:
            self._learn_text(text)

    def _learn_text(self, text: str, source: bool = False) -> None:
        for match in self._named(text):
            if self._is_masked(match, source):
                if match["bare"]:
                    self._add(match["bare"])
                else:
                    self._add_quoted(match["value"].replace("\\", "") if match["escaped"] else match["value"])
        for match in _IN_URL.finditer(text):
            self._add(match[2])

    def _learn_traceback(self, text: str) -> None:
        for part, source in _parts(text):
            self._learn_text(part, source)

    def _add_repr_or_text(self, text: str) -> None:
        """Learn a secret that is either a value itself or, in a traced variable, the repr of one."""
        if _QUOTED.search(text):
            self._add_quoted(text)
        if not (text.startswith("<") and text.endswith(">")):  # <Session object at 0x7f…> is all common words
            self._add(text)

    def _add_quoted(self, text: str) -> None:
        for match in _QUOTED.finditer(text):
            literal = _parsed(match[0])
            self._add(literal if isinstance(literal, str) else match[1] or match[2] or "")

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
            or lower in _SECRET_WORDS
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
        if self.is_secret(name):
            return text if _harmless_literal(text) else REDACTED
        parsed = _parsed(text)
        if parsed is not None:
            clean = self.value(parsed)
            if clean != parsed:
                text = repr(clean)
        return self.text(text)

    def value(self, value: object, name: str = "") -> object:
        """Return a value in whose dicts, lists and tuples secrets are replaced by their names."""
        return self._clean(name, value, [0], ())

    def _clean(self, name: str, value: Any, count: list[int], outside: tuple[int, ...]) -> object:
        count[0] += 1
        kind = type(value)
        if self.is_secret(name):
            return value if value is None or kind is bool else REDACTED
        if kind is str:
            return self.text(value) if len(value) <= MAX_TEXT else value
        if kind not in (dict, list, tuple) or count[0] > MAX_MEMBERS or id(value) in outside:
            return value
        if len(outside) > 50 or len(value) > MAX_MEMBERS:
            return value
        outside = (*outside, id(value))
        if kind is dict:
            return {
                key: self._clean(_key(key), member, count, outside) for key, member in list(value.items())
            }
        if kind is tuple and _is_pair(value) and self.is_secret(_key(value[0])):
            return value[0], REDACTED
        return kind(self._clean("", member, count, outside) for member in value)

    def _mask_named(self, text: str, source: bool = False) -> str:
        pieces = []
        done = 0
        for match in self._named(text):
            if match.start() >= done and self._is_masked(match, source):
                quote = match["quoted"][-1] if match["quoted"] else ""
                pieces += [text[done : match.start("value")], quote, REDACTED, quote]
                done = match.end()
        return _IN_URL.sub(rf"\1{REDACTED}", "".join([*pieces, text[done:]]))

    def _named(self, text: str) -> Iterator[re.Match[str]]:
        """Find what looks like a name with its value; values are looked into for further names."""
        lower = text.lower()
        if not any(hint in lower for hint in self._hints):
            return
        position = 0
        while (match := _NAMED.search(text, position)) is not None:
            yield match
            position = match.start("value")

    def _is_masked(self, match: re.Match[str], source: bool) -> bool:
        if not self.is_secret(match["name"]) or _harmless_literal(match["value"]):
            return False
        before = match.string[max(0, match.start() - 2) : match.start()]
        if (
            "," in match["sign"]
        ):  # ('token', 'abc') is a pair, as is '--token', 'abc'; ['token', 'user'] are names
            return match["flag"] is not None or before in ("('", '("')
        if match["sign"] == ">":  # <token>abc</token>
            return before.endswith("<")
        if match["bare"] and not match["scheme"]:
            # Of source code it is an expression, and in "Invalid token: expired" a word.
            marked = "=" in match["sign"] or match["flag"] is not None
            return not source and (marked or any(map(str.isdigit, match["bare"])))
        return not (source and match["group"]) or _QUOTED.search(match["group"]) is not None

    def _mask_values(self, text: str) -> str:
        if not self._secrets:
            return text
        if self._pattern is None:
            self._pattern = re.compile(_pattern_of(sorted(self._secrets)))
        text = self._pattern.sub(REDACTED, text)
        return self._mask_cut_values(text) if "… " in text else text

    def _mask_cut_values(self, text: str) -> str:
        """Take out what is left of a secret where a text was shortened right in it."""
        pieces = []
        done = 0
        for match in _LEFT_OUT.finditer(text):
            before, after = text[done : match.start()], 0
            length = max((_overlap(before, secret) for secret in self._secrets), default=0)
            pieces += [before[:-length] + REDACTED if length else before, match[0]]
            if match["after"]:
                rest = text[match.end() :]
                after = max((_overlap(secret, rest[: len(secret)]) for secret in self._secrets), default=0)
                pieces += [REDACTED] if after else []
            done = match.end() + after
        return "".join([*pieces, text[done:]])


class TransparentRedactor:
    """Stands for a :class:`Redactor` where nothing shall be hidden."""

    def text(self, text: str) -> str:
        """Return the text itself."""
        return text

    def traceback(self, text: str) -> str:
        """Return the text itself."""
        return text

    def variable(self, name: str, text: str) -> str:  # noqa: ARG002
        """Return the text itself."""
        return text

    def value(self, value: object, name: str = "") -> object:  # noqa: ARG002
        """Return the value itself."""
        return value


# ---- Names and values -------------------------------------------------------------------------------------


def _words(name: str) -> list[str]:
    """Split ``apiKey``, ``API_KEY`` and ``X-Api-Key`` into words, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def _stand_in(some: tuple[str, ...], words: list[str]) -> bool:
    """Tell whether some words stand side by side among others."""
    return any(tuple(words[start : start + len(some)]) == some for start in range(len(words))) or (
        "".join(some) == "".join(words)
    )


def _arguments(entry: TaskReportEntry, names: Sequence[str]) -> Iterator[tuple[str, object]]:
    if entry.error is not None:
        yield from named_arguments(names, entry.error.args)
        yield from entry.error.kwargs.items()
    yield from named_arguments(names, entry.args)
    yield from entry.kwargs.items()


def _members(value: Any) -> list[tuple[str, object]]:
    """Return what is in a container or an object, by name; runs no code of the user's."""
    kind = type(value)
    if issubclass(kind, dict):
        return [(_key(key), member) for key, member in islice(list(dict.items(value)), MAX_MEMBERS)]
    if _is_pair(value):
        return [(_key(value[0]), value[1])]
    for container in (list, tuple, set, frozenset, deque):
        if issubclass(kind, container):
            fields = vars(kind).get("_fields")  # of a named tuple
            names = fields if isinstance(fields, tuple) else repeat("")
            return list(zip(names, islice(list(container.__iter__(value)), MAX_MEMBERS), strict=False))
    if issubclass(kind, (type, ModuleType)):
        return []
    return _attributes(value)


def _attributes(value: object) -> list[tuple[str, object]]:
    try:
        found = list(dict.items(object.__getattribute__(value, "__dict__")))[:MAX_MEMBERS]
    except (AttributeError, TypeError):  # it has none, or a strange one
        found = []
    for owner in type(value).__mro__:
        if "__slots__" in vars(owner):
            for name, slot in vars(owner).items():
                if type(slot) is MemberDescriptorType:
                    with suppress(AttributeError):  # a slot that is empty
                        found.append((name, slot.__get__(value)))
    return found


def _is_pair(value: object) -> bool:
    return type(value) is tuple and len(value) == 2 and isinstance(value[0], (str, bytes))


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return key if isinstance(key, str) else ""


def _parsed(text: str) -> object:
    """Return the value that a text is the repr of, where it is a string or a container; else None."""
    if text[:1] in tuple("'\"[({b") and len(text) <= MAX_TEXT:
        try:
            value: object = ast.literal_eval(text)
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
        for before in range(
            3
        ):  # bytes, modulo three, that stand before it, as the user's name in "user:password"
            whole = b64encode(bytes(before) + data).decode()
            ours = whole[
                (before * 8 + 5) // 6 : (before + len(data)) * 8 // 6
            ]  # what no neighbour has a bit in
            found |= {ours, ours.translate(_URL_SAFE)}
    return found


# ---- Texts ------------------------------------------------------------------------------------------------


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Give a traceback in parts, and of each whether it is a line of source code."""
    done = 0
    for match in _SOURCE_LINE.finditer(text):
        yield text[done : match.start(1)], False
        yield match[1], True
        done = match.end()
    yield text[done:], False


def _pattern_of(texts: Sequence[str]) -> str:
    """Return a regular expression for any of some sorted texts, the longest first.

    Those that begin alike share their beginning, so that thousands of them cost little more than one.
    """
    if len(texts) == 1:
        return re.escape(texts[0])
    first, last = texts[0], texts[-1]
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    start = first[:same]
    groups: dict[str, list[str]] = {}
    for text in texts:
        if len(text) > len(start):
            groups.setdefault(text[len(start)], []).append(text[len(start) :])
    choice = "|".join(_pattern_of(group) for group in groups.values())
    return f"{re.escape(start)}(?:{choice}){'?' if start in texts else ''}"


def _overlap(before: str, after: str) -> int:
    """Return how many characters at the end of one text begin another: a piece worth hiding, or 0."""
    start = after[: SHORTEST - 2]
    at = before.find(start, max(0, len(before) - len(after)))
    while at >= 0:
        if after.startswith(before[at:]):
            return len(before) - at
        at = before.find(start, at + 1)
    return 0
