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
from itertools import chain, islice, zip_longest
from operator import length_hint
from types import FunctionType
from typing import TYPE_CHECKING

from ..reprs import DICTS, bounded_repr
from .named_values import (
    MAX_MEMBERS,
    arguments_of,
    globals_of,
    is_pair,
    key_of,
    members_of,
    results_passed,
    variables_of,
)
from .needles import Needles
from .secret_names import SECRET_WORDS, SecretNames, set_of
from .secret_texts import BY_LOOKS, REDACTED, is_harmless, marked, parts_of, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from ..execution_report import ProcessExecutionReport
    from .content import ReportContent

SHORTEST = 6  # characters; a shorter value may stand anywhere by chance: only under its name it is replaced
SHORTEST_PIECE = 4  # of a secret that was cut
SHORTEST_IN_BASE64 = 8  # as a part of that would be less than a secret
MAX_VALUES = 200_000  # looked at in one report, about half a second; those of failed tasks come first
MAX_VARIABLES = 20_000  # of all frames of all failures
MAX_TEXT = 100_000  # characters of one value that is searched for names
MAX_ALL_TEXTS = 5_000_000  # characters that are searched in one report, one to two seconds
MAX_DEPTH = 50  # containers in containers, of a value that is cleaned

# They may well be somebody's password, but hiding them everywhere would tell more than it hides.
_COMMON_VALUES = set_of(
    "default string object unknown localhost required optional negotiate disabled enabled anonymous "
    "missing invalid expired <redacted> redacted"
)
# What Python takes for a backslash, and warns of.
_NO_ESCAPE = re.compile(r"""(?<!\\)(?:\\\\)*\\(?=[^\\'"abfnrtvxuUN\n0-7]|[4-7][0-7]{2})""")
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
        self._added: set[str] = set()  # they were learned from: thousands of tasks may have the same token
        self._needles = Needles(())  # finds the secrets, as soon as all are learned
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

    def _learn_report(self, whole: ProcessExecutionReport) -> None:
        parameters: Mapping[str, Sequence[str]] = whole.parameters
        entries = sorted(whole.entries.values(), key=lambda entry: entry.error is None)
        for entry in entries:
            if entry.error is not None:
                self._learn_text(entry.error.exception)
                for part, source in parts_of(entry.error.traceback_str):
                    self._learn_text(part, source)
        variables = chain.from_iterable(map(variables_of, whole.exceptions.values()))
        roots: list[tuple[str, object]] = list(islice(variables, MAX_VARIABLES))
        for entry in entries:
            names = parameters.get(entry.name, ())
            roots += arguments_of(entry, names)
            roots += [one for one in results_passed(whole, entry, names) if self._names.covers(*one)]
            if entry.error is not None:
                roots += entry.error.traced_vars.items()
            if entry.name in whole.bound:
                roots.append(("", whole.bound[entry.name]))
        roots += [("", entry.result) for entry in entries]
        self.learn(roots)

    def learn(self, values: Iterable[tuple[str, object]]) -> None:
        """Look for secrets in named values and all that is in them, the nearest first."""
        pending: deque[tuple[str, Any, bool]] = deque((name, value, False) for name, value in values)
        seen: dict[tuple[int, bool], object] = {}  # holds what it names, so that no id is given twice
        for looked_at in range(MAX_VALUES):
            if not pending:
                break
            name, value, inside = pending.popleft()
            secret = inside or self._names.covers(name, value)
            kind = type(value)
            if kind in (int, float):
                if secret:
                    self._add(bounded_repr(value))
                continue
            if value is None or kind is bool or (id(value), secret) in seen:
                continue
            seen[id(value), secret] = value
            if issubclass(kind, str):
                text = str.__str__(value)
                if secret:
                    self._add_repr_or_text(text)
                is_searched = len(text) <= MAX_TEXT and self._learn_text(text)
                if (secret or is_searched) and (parsed := _parsed(text)) is not None:
                    pending.append((name, parsed, inside))
            elif issubclass(kind, (bytes, bytearray)):
                if secret:
                    self._add(str(value, "utf-8", "replace"))
            elif (room := MAX_VALUES - looked_at - len(pending)) > 0:  # more would only take memory
                pending.extend((key, member, secret) for key, member in islice(members_of(value), room))
                if kind is FunctionType:
                    pending.extend((key, member, False) for key, member in globals_of(value))
        self._needles = Needles(self._secrets)

    def _learn_text(self, text: str, source: bool = False) -> bool:
        """Look for secrets under their names in a text; False where there were too many texts before."""
        if len(text) > self._room:
            return False
        self._room -= len(text)
        found = list(marked(text, self._names, source))
        whole = 0
        for named, following in zip_longest(found, found[1:]):
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
        for pattern in BY_LOOKS:
            for match in pattern.finditer(text):
                self._add(match[2])
        return True

    def _add_repr_or_text(self, text: str) -> None:
        """Learn a secret that is either a value itself or, in a traced variable, the repr of one."""
        self._add_quoted(text)
        if not (text.startswith("<") and text.endswith(">")):  # <Session object at 0x7f…> is all common words
            self._add(text)

    def _add_quoted(self, text: str) -> None:
        for part in quoted(text):
            literal = _parsed(part)
            self._add(literal if isinstance(literal, str) else part[1:-1])

    def _add(self, text: str) -> None:
        """Learn a secret, its parts between white space, and how they look in a repr or a URL."""
        if text in self._added:
            return
        self._added.add(text)
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
            or is_harmless(text)
        )

    # Taking it out

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._masked(text, self._marked_spans(text))

    def traceback(self, text: str) -> str:
        """Return a traceback without secrets; in its source lines, ``token=token`` is no secret."""
        spans = []
        offset = 0
        for part, source in parts_of(text):
            spans += [(offset + start, offset + end) for start, end in self._marked_spans(part, source)]
            offset += len(part)
        return self._masked(text, spans)

    def variable(self, name: str, text: str) -> str:
        """Return a traced variable's repr without secrets."""
        if self._names.covers(name, text):
            return text if is_harmless(text) else REDACTED
        parsed = _parsed(text)
        clean = self.value(parsed)
        return self.text(text if clean == parsed else repr(clean))

    def value(self, value: object, name: str = "", most: int = MAX_MEMBERS) -> object:
        """Return a value in whose dicts, lists and tuples secrets are replaced by their names.

        Of all that is in it, the first `most` are looked at.
        """
        return self._clean(name, value, iter(range(most)), ())

    def _clean(self, name: str, value: Any, numbers: Iterator[int], outside: tuple[int, ...]) -> object:
        if next(numbers, None) is None:
            return value
        kind = type(value)
        if self._names.covers(name, value):
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
        if kind is tuple and is_pair(value) and self._names.covers(key_of(value[0]), value[1]):
            return value[0], REDACTED
        return kind([*(self._clean("", one, numbers, outside) for one in value[:left]), *value[left:]])

    def _marked_spans(self, text: str, source: bool = False) -> Iterator[tuple[int, int]]:
        """Find where secrets are that a text itself tells by their names or looks."""
        for named in marked(text, self._names, source):
            quote = (named.match["quoted"] or "")[-1:]  # it stays, with what is before it
            yield text.index(quote, named.start) + len(quote), named.end - len(quote)
        for pattern in BY_LOOKS:
            yield from (match.span(2) for match in pattern.finditer(text))

    def _masked(self, text: str, spans: Iterable[tuple[int, int]]) -> str:
        """Take out what stands at some spans, and the secrets that are known.

        Both are looked for in the text as it is: of a known secret, its name may mark only the first part.
        """
        pieces = []
        done = 0
        known = self._needles.spans(text) if self._secrets else ()
        for start, end in sorted([*spans, *known]):
            if start >= done:
                pieces += [text[done:start], REDACTED]
            done = max(done, end)
        text = "".join([*pieces, text[done:]])
        return self._mask_cut_values(text) if "… " in text else text

    def _mask_cut_values(self, text: str) -> str:
        """Take out what is left of a secret where a text was shortened right in it."""
        needles, pieces = self._needles, []
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


def _spellings(text: str) -> set[str]:
    """Return how a secret looks in a repr, in JSON, in HTML, in a URL and in Base64."""
    from html import escape
    from urllib.parse import quote

    data = text.encode("utf-8", "surrogatepass")
    found = {text, ascii(text)[1:-1], repr(data)[2:-1]}
    for once in _in_reprs(text):
        found |= {once, *_in_reprs(once)}
    for json_text in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        found |= {json_text, repr(json_text)[1:-1], json.dumps(json_text)[1:-1]}
    found |= {quote(data, safe=""), quote(data), escape(text)}
    if len(data) >= SHORTEST_IN_BASE64:
        # By how many bytes, modulo three, stand before it, as the user's name in "user:password".
        for before in range(3):
            whole = b64encode(bytes(before) + data).decode()
            # Without the characters in which a neighbour has a bit.
            ours = whole[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
            found |= {ours, ours.translate(_URL_SAFE)}
    return found


def _in_reprs(text: str) -> set[str]:
    """Return how a text looks in the repr of one, which may hold both kinds of quotes."""
    return {repr(text)[1:-1], repr(f"{text}'\"")[1:-4]}
