"""`EmailChannel`: sends the report as an HTML mail."""

from __future__ import annotations

import smtplib
import socket
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from functools import partial
from typing import TYPE_CHECKING, Literal

from ..caller import warn_caller
from ..checks import check_timeout, is_host_name, is_int
from ..reprs import brief_repr
from ..visible import visible
from .base import ReportChannel
from .content import ReportContent, checked_content
from .deadline import Deadline
from .html import DIVISORS, HTMLEmailStyle, checked_style, render_page
from .languages import report_title

try:
    from ssl import SSLContext
except ImportError:  # a Python that was built without: it can send mails that are not encrypted
    SSLContext = None  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..execution_report import ProcessExecutionReport

IMPLICIT_TLS_PORT = 465  # RFC 8314: TLS from the first byte on

Encryption = Literal["none", "starttls", "implicit"]
Secure = tuple[()] | tuple[str] | tuple[str, str] | tuple[str, str, SSLContext]


@dataclass
class SMTPConfig:
    """Which server sends the mails, from whom and to whom.

    Parameters
    ----------
    mailhost : tuple of str and int
        The server's host name and port. On port 465 the connection is encrypted from its start.
    fromaddr : str
        The sender's address, as in ``"reports@example.org"`` or ``"Reports <reports@example.org>"``.
    toaddrs : list of str
        The recipients' addresses; all of them stand in the mail's ``To``.
    credentials : tuple of two str, optional
        User and password. Sent over a connection that is not encrypted, they cause a `UserWarning`.
    secure : tuple, optional
        Encrypt the connection by STARTTLS, and check the server's certificate and host name. ``()`` is all
        that most servers need. ``(keyfile, certfile)`` shows the server a certificate of ours;
        ``(keyfile,)`` is one file with both. A third member is an `ssl.SSLContext` of your own, as in
        ``("", "", context)``: for another authority, say. None: no STARTTLS.
    timeout : float, default 5
        Seconds to wait for the connection, and for each answer of the server; all of it together may take
        ten times as long.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If an address is none, `toaddrs` is empty, or a number is out of its range.
    """

    mailhost: tuple[str, int]
    fromaddr: str
    toaddrs: list[str]
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    secure: Secure | None = None
    timeout: float = 5

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse what cannot work; done again before each mail, as the fields can be changed."""
        _check_mailhost(self.mailhost)
        _check_address("fromaddr", self.fromaddr)
        if not isinstance(self.toaddrs, (list, tuple)):
            raise TypeError(f"toaddrs must be a list of addresses, not {brief_repr(self.toaddrs)}")
        if not self.toaddrs:
            raise ValueError("toaddrs must be a list of at least one address, and is empty")
        for address in self.toaddrs:
            _check_address("toaddrs", address)
        if self.credentials is not None and not _is_tuple_of(self.credentials, str, str):
            raise TypeError("credentials must be a tuple of two str, (user, password), or None")
        if self.secure is not None:
            _check_secure(self.secure)
        check_timeout(self.timeout)


class EmailChannel(ReportChannel):
    """Sends the report as one HTML mail to all recipients.

    Parameters
    ----------
    smtp_config : SMTPConfig
        The server, the sender and the recipients.
    style : HTMLEmailStyle, optional
        Colours and language; None: neutral, English.
    content : ReportContent, optional
        What to show and what to hide; None: everything but secrets.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    """

    def __init__(
        self,
        smtp_config: SMTPConfig,
        style: HTMLEmailStyle | None = None,
        content: ReportContent | None = None,
    ) -> None:
        if not isinstance(smtp_config, SMTPConfig):
            raise TypeError(f"smtp_config must be an SMTPConfig, not {type(smtp_config).__name__}")
        self.smtp_config = smtp_config
        self.style: HTMLEmailStyle = checked_style(style)
        self.content: ReportContent = checked_content(content)

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        self.smtp_config.check()
        _send(self.smtp_config, partial(self.message, report, errors_only=errors_only))

    def message(
        self, report: ProcessExecutionReport, *, errors_only: bool = False, max_bytes: int | None = None
    ) -> EmailMessage:
        """Return the mail that is sent for a report.

        Parameters
        ----------
        report : ProcessExecutionReport
            What to show.
        errors_only : bool, default False
            Whether the title says that only failed tasks are shown.
        max_bytes : int, optional
            How large it may be. Where that is too little, the mail is as small as it can be.

        Raises
        ------
        ValueError
            If the process's name holds a line break, which a subject cannot.
        """
        config = self.smtp_config
        # 7bit: not every server takes 8-bit bodies, and none takes lines of more than 998 bytes.
        message = EmailMessage(policy.SMTP.clone(cte_type="7bit", utf8=_is_international(config)))
        message["Subject"] = _subject(report.process_name, report_title(self.style.language, errors_only))
        message["From"] = config.fromaddr
        message["To"] = ", ".join(config.toaddrs)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=_domain(config.fromaddr))
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
        for divisor in DIVISORS:
            html = render_page(report, self.style, self.content, errors_only=errors_only, divisor=divisor)
            message.set_content(html, subtype="html")
            if max_bytes is None or len(message.as_bytes()) <= max_bytes:
                break
        return message


def _subject(process_name: str, title: str) -> str:
    if any(ord(character) < 32 or character in "\x7f\x85\u2028\u2029" for character in process_name):
        raise ValueError(
            f"the process's name {process_name!r} cannot stand in a mail's subject: take the line breaks and "
            "other control characters out of it"
        )
    named = f"{title} {process_name}" if process_name else title
    today = datetime.now().astimezone()
    # Parted: `email` would decode a name that looks like an encoded word, as in "=?utf-8?q?=0D=0ABcc:…?=".
    return visible(f"{named} | {today:%Y%m%d}").replace("=?", "= ?")


def _is_international(config: SMTPConfig) -> bool:
    """Tell whether an address is beyond ASCII: the mail is sent as UTF-8 then, if the server takes that."""
    addresses = getaddresses([config.fromaddr, *config.toaddrs])
    return not all(address.isascii() for _, address in addresses)


def _domain(address: str) -> str:
    """Return an address's domain, for the message's id; smtplib's own default may ask a name server."""
    domain = getaddresses([address])[0][1].rpartition("@")[2]
    return domain if domain.isascii() else "localhost"


def encryption_of(config: SMTPConfig) -> Encryption:
    """Tell how a connection is encrypted: not at all, after a while, or from its first byte on."""
    if config.mailhost[1] == IMPLICIT_TLS_PORT:
        return "implicit"
    return "none" if config.secure is None else "starttls"


def _send(config: SMTPConfig, make: Callable[..., EmailMessage]) -> None:
    """Send the message that `make` makes, and makes as small as `max_bytes` where the server needs that."""
    where = _where(config)
    encryption = encryption_of(config)
    if config.credentials is not None and encryption == "none":
        warn_caller(
            f"user and password are sent to {where} over a connection that is not encrypted; pass "
            "SMTPConfig(secure=()) for STARTTLS, or use port 465"
        )
    message = make()
    size = len(message.as_bytes())
    refused = None
    with Deadline(config.timeout) as deadline:
        try:
            with _open(config, encryption, deadline) as server:
                limit = _size_limit(server)
                if size > limit:
                    message = make(max_bytes=limit)
                    size = len(message.as_bytes())
                if size > limit:
                    raise ValueError(
                        f"{where} takes mails of {limit} bytes at most, and this one has {size} when it is "
                        "shortened as far as it can be"
                    )
                refused = server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            if refused is None:  # else the mail is sent, and the goodbye alone went wrong
                raise _explained(config, deadline, error) from error
        except UnicodeEncodeError:  # it holds the password: not to be chained
            raise ValueError(
                "SMTPConfig.credentials hold characters beyond ASCII, which SMTP cannot carry"
            ) from None
    if refused:
        raise ConnectionError(
            f"{where} refused some recipients, and has sent the mail to the others: {refused}"
        )


def _where(config: SMTPConfig) -> str:
    host, port = config.mailhost
    return f"mail server {host}:{port}"


def _open(config: SMTPConfig, encryption: Encryption, deadline: Deadline) -> smtplib.SMTP:
    """Connect to the server, encrypt the connection, and log in."""
    context = None if encryption == "none" else _context(config.secure or ())

    class Watched(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            return deadline.connect((host, port), timeout)

    name = socket.gethostname()
    # What smtplib would say by default is looked up in the DNS, which may take far longer than `timeout`.
    name = name if "." in name and name.isascii() else "[127.0.0.1]"
    if encryption == "implicit":

        class WatchedTLS(smtplib.SMTP_SSL, Watched):
            """Encrypts what `Watched` connects."""

        server: smtplib.SMTP = WatchedTLS(*config.mailhost, name, timeout=config.timeout, context=context)
    else:
        server = Watched(*config.mailhost, name, timeout=config.timeout)
    try:
        if encryption == "starttls":
            server.starttls(context=context)
        if config.credentials is not None:
            server.login(*config.credentials)
    except BaseException:
        server.close()
        raise
    return server


def _size_limit(server: smtplib.SMTP) -> float:
    """Return how many bytes a mail may have (RFC 1870); infinity where the server names no limit."""
    server.ehlo_or_helo_if_needed()
    limit = server.esmtp_features.get("size", "")
    return int(limit) if limit.isdecimal() and int(limit) else float("inf")


def _explained(config: SMTPConfig, deadline: Deadline, error: OSError | smtplib.SMTPException) -> OSError:
    """Return an error that says what another one means, and what to do."""
    where = _where(config)
    if deadline.passed:
        return TimeoutError(f"{where} was not done within {deadline.seconds:g} s")
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return TimeoutError(f"{where} did not answer within {config.timeout:g} s (SMTPConfig.timeout)")
    if (why := getattr(error, "verify_message", None)) is not None:  # ssl's SSLCertVerificationError
        return ConnectionError(
            f"{where} cannot prove who it is, so nothing was sent: {why.rstrip('.')}. For an "
            "authority of your own, pass SMTPConfig(secure=('', '', context))"
        )
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return PermissionError(f"{where} refuses the credentials: {_answer(error)}")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        reason = str(error).rstrip(".")
        return ConnectionError(f"{where}: {reason}. Check SMTPConfig: port, secure, credentials, addresses")
    if isinstance(error, smtplib.SMTPException):
        return ConnectionError(f"{where} did not take the mail: {error}")
    return ConnectionError(f"{where} could not be reached: {error}")


def _context(secure: Secure) -> SSLContext:
    """Return a context that checks certificate and host name, and knows the key and certificate files."""
    from ssl import create_default_context

    context = secure[2] if len(secure) == 3 else create_default_context()
    keyfile = secure[0] if secure else ""
    certfile = secure[1] if len(secure) > 1 else ""
    if keyfile or certfile:
        try:
            context.load_cert_chain(certfile or keyfile, keyfile or None)
        except OSError as error:
            raise ValueError(
                f"SMTPConfig.secure: keyfile {keyfile!r} and certfile {certfile!r} cannot be loaded: {error}"
            ) from error
    return context


def _answer(error: smtplib.SMTPResponseException) -> str:
    text = error.smtp_error
    return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"


def _check_mailhost(mailhost: object) -> None:
    if not isinstance(mailhost, tuple) or len(mailhost) != 2:
        raise TypeError(f"mailhost must be a tuple (host, port), not {brief_repr(mailhost)}")
    host, port = mailhost
    if not isinstance(host, str) or not is_int(port):
        raise TypeError(f"mailhost must be a tuple (host, port) of str and int, not {brief_repr(mailhost)}")
    good_host = host and host.isprintable() and " " not in host and is_host_name(host)
    if not good_host or not 0 < port < 65536:
        raise ValueError(f"mailhost must be like ('mail.example.org', 587), not {brief_repr(mailhost)}")


def _check_address(where: str, address: object) -> None:
    if not isinstance(address, str):
        raise TypeError(f"{where}: an address must be str, not {brief_repr(address)}")
    if not address.isprintable():
        raise ValueError(
            f"{where}: {brief_repr(address)} holds a line break or another control character; remove it"
        )
    found = [spec for _, spec in getaddresses([address])]
    if len(found) != 1 or " " in found[0] or found[0].replace('"', "") != _as_sent(address):
        raise ValueError(
            f"{where}: {brief_repr(address)} is not one mail address; write each recipient as one of the list"
        )


def _as_sent(address: str) -> str | None:
    """Return an address as the header of a mail has it, without quotes; None where it has none or several."""
    try:
        (found,) = policy.SMTP.header_factory("To", address).addresses
    except Exception:  # by text that is no address `email` is led to errors of many kinds
        return None
    return found.addr_spec.replace('"', "") or None


def _check_secure(secure: object) -> None:
    kinds = (str, str, SSLContext)
    if not any(_is_tuple_of(secure, *kinds[:length]) for length in range(4)):
        raise TypeError(
            "secure must be None, (), (keyfile,), (keyfile, certfile) or (keyfile, certfile, SSLContext), "
            f"not {brief_repr(secure)}"
        )


def _is_tuple_of(value: object, *kinds: type) -> bool:
    return isinstance(value, tuple) and len(value) == len(kinds) and all(map(isinstance, value, kinds))
