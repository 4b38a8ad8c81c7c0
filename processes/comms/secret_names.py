"""Which names are those of secrets: ``password``, ``apiKey``, ``X-Auth-Token`` and so on."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from .named_values import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def set_of(words: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(words.split())


SECRET_WORDS = set_of(
    "password passwords passwd passphrase passcode passkey pwd pw secret secrets token tokens "
    "credential credentials creds authorization auth bearer cookie cookies jwt otp "
    "apikey apikeys accesskey secretkey privatekey sessionid csrf xsrf"
)
_SECRET_ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "token", "apikey", "credentials"),
    *("sessionid", "sessid"),
)
_KINDS_OF_KEY = set_of(
    "api access secret private encryption signing auth account master license ssh hmac shared session "
    "deploy app storage subscription service"
)
_SECRET_PAIRS = frozenset(
    {(kind, key) for kind in _KINDS_OF_KEY for key in ("key", "keys")}
    | {("session", "id"), ("connection", "string")}
)
# Each secret name has one of them in it, so that texts without any need no closer look.
_HINTS = set_of("pass pw secret token cred auth bearer cookie jwt otp key sess connection srf")
# What tells something about a secret, without being one: token_count, password_field, auth_method.
_HARMLESS_ENDINGS = set_of(
    "count counts length len limit size type types expiry expires ttl url uri endpoint method policy field "
    "name names file path dir host hostname server port domain scope scopes algorithm issuer audience"
)
_HARMLESS_NAMES = set_of("XDG_SESSION_ID")  # counts logins
_COUNTED = set_of("max min num n total prompt completion input output")  # …_tokens
_SOURCE_FILES = (".py", ".pyw", ".pyx")
LINE_NUMBER = re.compile(r"\d{1,7}(?!\w)")  # as in auth.py:3, or a port
_ABSOLUTE_PATH = re.compile(r"""[bBrRuU]?\\*["']?(?:/|[A-Za-z]:[\\/])""")  # or the repr of one
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


class SecretNames:
    """Those of the usual secrets, and others.

    Attributes
    ----------
    hints : tuple of str
        Texts of which each secret name has one in it, in lower case.
    """

    def __init__(self, others: Iterable[str]) -> None:
        self._own = [words for words in (tuple(_words(name)) for name in others) if words]
        self.hints = (*_HINTS, *(words[0] for words in self._own))
        self._known: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._judge(name)
        return known

    def covers(self, name: str, value: object = None) -> bool:
        """Tell whether a value is a secret by its name.

        A path under the environment's PWD is none, nor is a line's number behind the name of a file.
        """
        if name not in self:
            return False
        if name.endswith(_SOURCE_FILES):
            return LINE_NUMBER.match(str(value)) is None
        return not (name == "PWD" and not self.is_own(name) and _ABSOLUTE_PATH.match(key_of(value)))

    def is_own(self, name: str) -> bool:
        """Tell whether one of the other names makes it one."""
        words = _words(name)
        return any(_stand_in(own, words) for own in self._own)

    def _judge(self, name: str) -> bool:
        words = _words(name)
        if not words:
            return False
        if self.is_own(name):
            return True
        if words[-1] in _HARMLESS_ENDINGS or name in _HARMLESS_NAMES:
            return False
        if words[-1] == "tokens" and words[0] in _COUNTED:
            return False
        return (
            words[-1] == "pass"
            or not SECRET_WORDS.isdisjoint(words)
            or not _SECRET_PAIRS.isdisjoint(pairwise(words))
            or "".join(words).endswith(_SECRET_ENDINGS)
        )


def _words(name: str) -> list[str]:
    """Split ``apiKey``, ``API_KEY`` and ``X-Api-Key`` into words, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def _stand_in(some: tuple[str, ...], words: list[str]) -> bool:
    """Tell whether some words stand side by side among others."""
    return any(tuple(words[start : start + len(some)]) == some for start in range(len(words))) or (
        "".join(some) == "".join(words)
    )
