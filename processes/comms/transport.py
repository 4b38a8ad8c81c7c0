"""Sends a JSON body over HTTP: the one way out for webhooks and chats."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ..exceptions import ProcessesError
from ..retry import exponential_backoff
from .deadline import Deadline
from .webhook import check_url

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from .webhook import WebhookConfig

FIRST_DELAY = 0.5  # seconds; doubled with each further attempt, and drawn by chance from zero on
MAX_DELAY = 30.0
MAX_ASKED_DELAY = 60.0  # that a server can ask for by Retry-After; the caller of notify waits all the time
MAX_REDIRECTS = 5
SHOWN_OF_ANSWER = 500  # characters
SIGNATURE_HEADER = "X-Signature-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REPEATABLE = (301, 302, 307, 308)  # 303 says that the body has arrived and something else is to be fetched


class WebhookError(ProcessesError):
    """A webhook did not take the report.

    Parameters
    ----------
    message : str
        What happened.
    status : int or None
        The HTTP status of the answer; None if there was none.
    retry_after : float or None
        The seconds after which the server asks to be called again; None if it does not.
    """

    def __init__(
        self, message: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may do better."""
        return self.status == 429 or (self.status or 0) >= 500


class NoAnswerError(WebhookError):
    """There was no connection, or it broke off."""

    is_transient = True


def post_json(config: WebhookConfig, body: dict[str, Any]) -> None:
    """Send a JSON object to a webhook.

    Raises
    ------
    WebhookError
        If there was no connection, or the answer was not 2xx, in the last attempt that was granted; or if
        the server asks to be left alone for longer than a minute.
    TypeError, ValueError
        If the body holds what JSON does not know.
    """
    data = json.dumps(body, allow_nan=False).encode()
    wait_after = exponential_backoff(FIRST_DELAY, maximum=MAX_DELAY)
    attempt = 1
    while True:
        try:
            return _post(config, data)
        except WebhookError as error:
            if not error.is_transient or attempt > config.retries:
                raise
            delay = wait_after(attempt) if error.retry_after is None else error.retry_after
            if delay > MAX_ASKED_DELAY:
                raise
        time.sleep(delay)
        attempt += 1


def seconds_to_wait(retry_after: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header, a number or a date, asks for; None if it says nothing."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


def describe_url(url: str) -> str:
    """Return a URL without what may be a secret in it: its path and query often are."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" + ("/…" if len(parts.path) > 1 else "")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to us: urllib would turn the POST into a GET, and follow to any host."""

    def http_error_302(self, *_: Any, **__: Any) -> None:
        """Return no answer: it is then an error like others, with its Location."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _post(config: WebhookConfig, data: bytes) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "processes", **config.headers}
    if config.secret is not None:
        headers[SIGNATURE_HEADER] = hmac.new(config.secret.encode(), data, hashlib.sha256).hexdigest()
    url = config.url
    for _ in range(MAX_REDIRECTS + 1):
        request = urllib.request.Request(url, data, headers, method="POST")  # noqa: S310 - the scheme was checked
        location = _send(request, config.timeout)
        if location is None:
            return
        url = _redirected(url, location)
    raise WebhookError(f"{describe_url(config.url)} redirects more than {MAX_REDIRECTS} times; check its URL")


def _redirected(url: str, location: str) -> str:
    """Return where a Location leads to from a URL; refuse what is elsewhere or cannot be called."""
    try:
        target = urljoin(url, location)
        if _origin(target) != _origin(url):
            raise WebhookError(
                f"{describe_url(url)} redirects to {describe_url(target)}, another scheme, host or port: the "
                "report is not sent there unasked. If that is where it shall go, put it into WebhookConfig"
            )
        check_url(target)
    except ValueError as error:
        raise WebhookError(f"{describe_url(url)} redirects to a URL that cannot be used: {error}") from error
    return target


class _Watched(urllib.request.AbstractHTTPHandler):
    """Lets a deadline make the connections, and an answer count that comes early."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        deadline = self._deadline

        class Connection(http_class):  # type: ignore[misc]
            def __init__(self, *args: Any, **more: Any) -> None:
                super().__init__(*args, **more)
                self._create_connection = deadline.connect  # no public way

            def send(self, data: Any) -> None:
                if self.sock is None:
                    self.connect()
                # A server may answer and hang up before it has read the body: its answer counts all the same.
                with suppress(BrokenPipeError, ConnectionResetError):
                    super().send(data)

        return super().do_open(Connection, req, **options)


class _WatchedHTTP(_Watched, urllib.request.HTTPHandler):
    pass


class _WatchedHTTPS(_Watched, urllib.request.HTTPSHandler):
    pass


def _send(request: urllib.request.Request, timeout: float) -> str | None:
    """Send a request; return None if it was taken, and a Location if it is to be sent there."""
    target = request.host
    with Deadline(timeout) as deadline:
        # Proxies are taken from the environment, as every HTTP client does.
        opener = urllib.request.build_opener(_NoRedirects, _WatchedHTTP(deadline), _WatchedHTTPS(deadline))
        try:
            with opener.open(request, timeout=timeout):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return _location_or_raise(_where(request, target), error)
        except (OSError, HTTPException) as error:
            where = _where(request, target)
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if deadline.passed:
                raise NoAnswerError(
                    f"{where} did not answer in full within {deadline.seconds:g} s"
                ) from error
            if isinstance(reason, TimeoutError):
                raise NoAnswerError(
                    f"{where} did not answer within {timeout:g} s; is it up? (timeout=…)"
                ) from error
            if isinstance(reason, ssl.SSLCertVerificationError):
                why = reason.verify_message.rstrip(".")
                raise WebhookError(
                    f"{where} cannot prove who it is, so nothing was sent: {why}. The environment variable "
                    "SSL_CERT_FILE can name an authority of your own"
                ) from error
            raise NoAnswerError(f"{where} could not be reached: {reason!r}") from error


def _where(request: urllib.request.Request, target: str) -> str:
    """Describe where a request for a target was sent; urllib puts a proxy in the target's place."""
    described = describe_url(request.full_url)
    if request.host == target:
        return described
    return f"{described} (through the proxy {request.host.rpartition('@')[2]})"


def _location_or_raise(where: str, error: urllib.error.HTTPError) -> str:
    """Return where an answer that is not 2xx redirects to; raise what it means otherwise."""
    location = error.headers.get("Location")
    if error.code in _REPEATABLE and location:
        return str(location)
    asked = seconds_to_wait(error.headers.get("Retry-After"), datetime.now(UTC))
    asks = "" if asked is None else f" and asks to be called again in {asked:.0f} s"
    raise WebhookError(
        f"{where} answered {error.code} {error.reason}{asks}: {_start_of(error) or 'an empty body'}",
        error.code,
        asked,
    ) from None


def _start_of(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(4 * SHOWN_OF_ANSWER).decode("utf-8", "replace").strip()
    except (OSError, HTTPException):  # the answer broke off: its status says enough
        return ""
    return text if len(text) <= SHOWN_OF_ANSWER else f"{text[:SHOWN_OF_ANSWER]}…"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
