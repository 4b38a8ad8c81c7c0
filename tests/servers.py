"""Mail and web servers on this machine, for tests: good ones, and some that are not."""

from __future__ import annotations

import html
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER, PASSWORD = "robot", "hunter2-hunter2"


def server_context(authority, name="localhost") -> ssl.SSLContext:
    """A context for a server of this name, with a certificate of a `trustme.CA`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


# Mail


class Inbox:
    """Keeps what it gets; refuses recipients named nobody."""

    def __init__(self):
        self.mails = []
        self.envelopes = []
        self.logins = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.envelopes.append(envelope)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def authenticate(self, server, session, envelope, mechanism, login):
        self.logins.append((mechanism, session.ssl is not None))
        right = (login.login, login.password) == (USER.encode(), PASSWORD.encode())
        from aiosmtpd.smtp import AuthResult

        return AuthResult(success=right, handled=False)


@contextmanager
def mail_server(inbox=None, *, tls=None, implicit=False, host="localhost", port=0, **options):
    """Serve as a mail server; gives its address and its Inbox."""
    from aiosmtpd.controller import Controller  # here, because workers import this module

    class Listening(Controller):
        """Serves on a socket that is there already: a port that is free may be somebody's the next moment."""

        def _create_server(self):
            return self.loop.create_server(self._factory_invoker, sock=listener, ssl=self.ssl_context)

    inbox = inbox or Inbox()
    if tls is not None:
        options["ssl_context" if implicit else "tls_context"] = tls
    with socket.create_server(("127.0.0.1" if host == "localhost" else host, port)) as listener:
        port = listener.getsockname()[1]
        controller = Listening(
            inbox, host, port, authenticator=inbox.authenticate, ready_timeout=60, **options
        )
        controller.start()
        try:
            yield (host, port), inbox
        finally:
            controller.stop()


def page_of(message) -> str:
    """The text of a mail, as a reader sees it."""
    return html.unescape(message.get_content())


# Web


class WebServer(ThreadingHTTPServer):
    """Keeps what it gets, and gives the answers that it was told, the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers) or [(200, {}, b"ok")]
        self.requests = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self):
        return self.server_address[1]

    def url(self, path="/hook", scheme="http", host="127.0.0.1"):
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def bodies(self):
        return [json.loads(body) for _, _, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers, body))
        answers = self.server.answers
        status, headers, text = answers.pop(0) if len(answers) > 1 else answers[0]
        if status is None:
            return  # the connection is closed without an answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.server.requests.append(("GET " + self.path, self.headers, b""))
        self.send_error(405)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(*answers, tls=None) -> Iterator[WebServer]:
    """Serve as a web server."""
    with WebServer(*answers) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # a client that hangs up is what the test wants
        with at_work(server):
            yield server


@contextmanager
def at_work(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer, in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(60)


# Servers that fail


@contextmanager
def refusing(answer: bytes):
    """Answer one caller as soon as it has begun, and hang up with the rest unread; gives the address."""

    def answer_early():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_early)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(60)


@contextmanager
def dripping(answer: bytes, *, tls=None):
    """Answer one caller by some bytes, and then by one more each hundredth of a second; gives the address."""
    ended = threading.Event()

    def drip():
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            connection.sendall(answer)
            while not ended.wait(0.01):
                connection.sendall(b"x")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield ("localhost", listener.getsockname()[1])
        finally:
            ended.set()
            thread.join(60)
