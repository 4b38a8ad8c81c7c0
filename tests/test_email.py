"""Mails, sent to real servers on this machine, and how they look."""

from __future__ import annotations

import logging
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from programs import output_of
from servers import PASSWORD, USER, Inbox, dripping, mail_server, page_of, server_context

from processes import Process, ProcessExecutionReport, Task, TaskDependency, TaskReportEntry, TaskStatus
from processes.comms import (
    EmailChannel,
    HTMLEmailStyle,
    ReportContent,
    SMTPConfig,
    deadline,
    mail,
    render_report_html,
)
from processes.comms.deadline import Deadline
from processes.comms.languages import LANGUAGES, spelled_duration
from processes.comms.palettes import PALETTES


def refuse(api_token):
    headers = {"Authorization": f"Bearer {api_token}"}
    raise ConnectionError(f"401 <script>alert(1)</script> for {api_token} {len(headers)}")


def identity(value):
    return value


@pytest.fixture(scope="module")
def report():
    tasks = [
        Task("fine", identity, args=({"rows": 3, "note": "<i>x</i>"},)),
        Task("bad", refuse, args=("tok-abc-123456",)),
        Task("below", identity, dependencies=[TaskDependency("bad", True)]),
    ]
    return Process(tasks, "nightly é").run(runner="sequential")


def config(host, **more):
    return SMTPConfig(host, "reports@example.org", ["ann@example.org", "Bob <bob@example.org>"], **more)


def send(report, smtp_config, *, errors_only=False, style=None):
    EmailChannel(smtp_config, style).send_report(report, errors_only=errors_only)


# What is sent


def test_one_html_mail_goes_to_all_recipients(report):
    days = [time.strftime("%Y%m%d")]
    with mail_server() as (host, inbox):
        send(report, config(host))
    days.append(time.strftime("%Y%m%d"))
    (message,) = inbox.mails
    assert message.get_content_type() == "text/html"
    assert not message.is_multipart()
    assert message["Subject"] in [f"Process Execution Report nightly é | {day}" for day in days]
    assert message["To"] == "ann@example.org, Bob <bob@example.org>"
    assert message["From"] == "reports@example.org"
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.org>")
    assert inbox.envelopes[0].rcpt_tos == ["ann@example.org", "bob@example.org"]
    html = message.get_content()
    assert "Summary" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "&lt;i&gt;" in html
    assert "tok-abc" not in html
    assert max(map(len, inbox.envelopes[0].content.splitlines())) <= 998


def test_a_mail_of_failed_tasks_says_so_in_its_subject(report):
    with mail_server() as (host, inbox):
        report.notify(EmailChannel(config(host), HTMLEmailStyle(language="de")), only_errors=True)
    (message,) = inbox.mails
    assert message["Subject"].startswith("Fehlgeschlagene Aufgaben im Prozess nightly é | ")
    html = message.get_content()
    assert "Zusammenfassung" in html
    assert ">fine<" not in html


def test_a_line_break_in_the_processs_name_is_refused(report):
    injected = Process([Task("a", identity, args=(1,))], "x\r\nBcc: eve@example.org").run(runner="sequential")
    with mail_server() as (host, inbox):
        with pytest.raises(ValueError, match="cannot stand in a mail's subject"):
            send(injected, config(host))
    assert inbox.mails == []


def test_a_name_that_looks_like_an_encoded_header_stays_text(report):
    name = "=?utf-8?q?x=0D=0ABcc:_eve=40example.org?="
    with mail_server() as (host, inbox):
        send(replace(report, process_name=name), config(host))
    (message,) = inbox.mails
    assert message["Bcc"] is None
    assert f" = {name[1:]} | " in message["Subject"]
    assert name in page_of(message)


# Encryption and login


def test_starttls_and_login_work(report, authority, trusted):
    with mail_server(tls=server_context(authority), require_starttls=True) as (host, inbox):
        send(report, config(host, secure=(), credentials=(USER, PASSWORD)))
    assert len(inbox.mails) == 1
    assert inbox.logins
    assert all(encrypted for _, encrypted in inbox.logins)


@pytest.mark.parametrize(
    ("port", "secure", "encryption"),
    [(465, None, "implicit"), (465, (), "implicit"), (587, (), "starttls"), (25, None, "none")],
)
def test_the_port_for_it_means_tls_from_the_start(port, secure, encryption):
    assert mail.encryption_of(config(("localhost", port), secure=secure)) == encryption


def test_tls_from_the_start_works(report, authority, trusted):
    with (
        mail_server(tls=server_context(authority), implicit=True, auth_require_tls=False) as (host, inbox),
        Deadline(5) as deadline,
        mail._open(config(host, credentials=(USER, PASSWORD)), "implicit", deadline) as server,
    ):
        server.send_message(EmailChannel(config(host)).message(report))
    assert len(inbox.mails) == 1
    assert inbox.logins


def test_a_mail_goes_through_port_465(report, authority, trusted):
    # An address of our own in 127.0.0.0/8, so that no other server stands there.
    address = f"127.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"
    try:
        socket.create_server((address, 465)).close()
    except OSError as error:
        pytest.skip(f"this user may not listen on port 465 of {address}: {error}")
    tls = server_context(authority, address)
    with mail_server(tls=tls, implicit=True, host=address, port=465, auth_require_tls=False) as (host, inbox):
        send(report, config(host, credentials=(USER, PASSWORD)))
    assert len(inbox.mails) == 1


def test_a_context_of_the_users_own_and_a_client_certificate_work(report, authority, tmp_path):
    server = server_context(authority)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    client = authority.issue_cert("client.example.org")
    client.private_key_pem.write_to_path(tmp_path / "key.pem")
    client.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = (str(tmp_path / "key.pem"), str(tmp_path / "cert.pem"), context)
    with mail_server(tls=server) as (host, inbox):
        send(report, config(host, secure=files))
    assert len(inbox.mails) == 1


def test_one_file_can_hold_key_and_certificate(report, authority, trusted, tmp_path):
    authority.issue_cert("client.example.org").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "both.pem"
    )
    with mail_server(tls=server_context(authority)) as (host, inbox):
        send(report, config(host, secure=(str(tmp_path / "both.pem"),)))
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(("name", "is_trusted"), [("localhost", False), ("other.example.org", True)])
def test_a_wrong_certificate_gets_neither_login_nor_mail(report, authority, request, name, is_trusted):
    if is_trusted:
        request.getfixturevalue("trusted")
    with mail_server(tls=server_context(authority, name)) as (host, inbox):
        with pytest.raises(ConnectionError, match=r"nothing was sent: [^.]+\. For an authority of your own"):
            send(report, config(host, secure=(), credentials=(USER, PASSWORD)))
    assert inbox.mails == inbox.logins == []


def test_a_server_that_lacks_what_is_asked_for_gets_nothing(report):
    with mail_server(enable_SMTPUTF8=False) as (host, inbox):
        with pytest.raises(ConnectionError, match="STARTTLS"):
            send(report, config(host, secure=(), credentials=(USER, PASSWORD)))
        with pytest.raises(ConnectionError, match=r"SMTPUTF8 capability\. Check .* addresses$"):
            send(report, SMTPConfig(host, "reports@example.org", ["müller@example.org"]))
    assert inbox.mails == inbox.logins == []


def test_addresses_beyond_ascii_get_mails_of_a_server_that_takes_them(report):
    addresses = ["m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller@example.org", "team@example.org"]
    with mail_server(enable_SMTPUTF8=True) as (host, inbox):
        send(report, SMTPConfig(host, "reports@example.org", [f"Team <{address}>" for address in addresses]))
    (envelope,) = inbox.envelopes
    assert envelope.rcpt_tos == addresses
    headers = envelope.content.decode().partition("\r\n\r\n")[0]
    assert all(f"Team <{address}>" in headers for address in addresses)


def test_credentials_over_a_connection_in_the_clear_work_with_a_warning(report):
    with mail_server(auth_require_tls=False) as (host, inbox):
        with pytest.warns(UserWarning, match="not encrypted") as caught:
            send(report, config(host, credentials=(USER, PASSWORD)))
    assert len(inbox.mails) == 1
    assert caught[0].filename == __file__


def test_a_refused_login_says_so_and_not_the_password(report, authority, trusted):
    with mail_server(tls=server_context(authority)) as (host, inbox):
        with pytest.raises(PermissionError, match="refuses the credentials: 535") as caught:
            send(report, config(host, secure=(), credentials=(USER, "wr0ng-password")))
    assert "wr0ng" not in str(caught.value)
    assert inbox.mails == []


def test_a_password_that_smtp_cannot_carry_is_refused_without_being_shown(report):
    with mail_server(auth_require_tls=False) as (host, _):
        with (
            pytest.warns(UserWarning, match="not encrypted"),
            pytest.raises(ValueError, match="ASCII") as caught,
        ):
            send(report, config(host, credentials=(USER, "pässwörd-x")))
    assert "pässw" not in repr(caught.value)


def test_a_python_built_without_ssl_has_all_names_and_sends_what_is_not_encrypted():
    script = (
        "import sys; sys.modules['_ssl'] = None\n"  # what such a one lacks
        "from processes import *\n"
        "config = SMTPConfig((sys.argv[1], int(sys.argv[2])), 'me@example.org', ['you@example.org'])\n"
        "Process([Task('t', int)]).run(notify=[EmailChannel(config)])"
    )
    with mail_server() as (host, inbox):
        output_of([sys.executable, "-W", "error", "-c", script, *map(str, host)])
        assert len(inbox.mails) == 1


# Servers that fail


def test_a_dead_server_is_an_error_that_says_where(report):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = unused.getsockname()
        with pytest.raises(ConnectionError, match=f"mail server 127.0.0.1:{host[1]} could not be reached"):
            send(report, config(host))


def test_a_hanging_server_is_left_after_the_timeout(report, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 1_000)  # it is about one answer
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.1 s"):
            send(report, config(silent.getsockname(), timeout=0.1))


def test_a_server_that_hangs_in_the_handshake_is_left_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent, Deadline(5) as deadline:
        with pytest.raises(TimeoutError):
            mail._open(config(silent.getsockname(), timeout=0.1), "implicit", deadline)


def test_a_server_that_drips_is_left_after_a_while(report, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 0.01)
    with dripping(b"220-") as host:
        with pytest.raises(TimeoutError, match=r"was not done within 0\.5 s"):
            send(report, config(host, timeout=50))


def test_a_server_that_drips_through_tls_is_left_after_a_while(authority, trusted):
    with dripping(b"220-", tls=server_context(authority)) as host, Deadline(0.05) as deadline:
        with pytest.raises(OSError):  # where it was cut off in the handshake: no mail server yet
            mail._open(config(host), "implicit", deadline)
        assert deadline.passed


def test_a_connection_that_is_made_when_the_time_is_over_is_shut_down():
    with socket.create_server(("127.0.0.1", 0)) as server, Deadline(0.001) as deadline:
        deadline._timer.join(60)
        assert deadline.passed
        with deadline.connect(server.getsockname(), 30) as connection:
            assert connection.recv(1) == b""  # the server has sent none


def test_a_server_that_hangs_up_is_an_error(report):
    with socket.create_server(("127.0.0.1", 0)) as rude:
        thread = threading.Thread(target=lambda: rude.accept()[0].close())
        thread.start()
        with pytest.raises(ConnectionError, match="did not take the mail"):
            send(report, config(rude.getsockname()))
        thread.join(60)


class Grumpy(Inbox):
    """Takes a mail, and does not say goodbye."""

    async def handle_QUIT(self, server, session, envelope):
        return "421 go away"


def test_a_mail_that_was_taken_is_sent_whatever_comes_after(report):
    with mail_server(Grumpy()) as (host, inbox):
        send(report, config(host))
    assert len(inbox.mails) == 1


def test_recipients_that_are_refused_are_named_and_the_others_get_their_mail(report):
    with mail_server() as (host, inbox):
        some = SMTPConfig(host, "a@example.org", ["ann@example.org", "nobody@example.org"])
        with pytest.raises(ConnectionError, match=r"refused some recipients.*nobody@example\.org"):
            send(report, some)
        none = SMTPConfig(host, "a@example.org", ["nobody@example.org"])
        with pytest.raises(ConnectionError, match=r"did not take the mail.*nobody@example\.org"):
            send(report, none)
    assert inbox.envelopes[0].rcpt_tos == ["ann@example.org"]


@pytest.mark.once
def test_a_mail_is_shortened_to_the_size_that_the_server_takes():
    tasks = [Task(f"bad{number}", fail_at_length, args=(number,)) for number in range(5)]
    long = Process(tasks, "long").run(runner="sequential")
    whole = len(EmailChannel(config(("localhost", 25))).message(long).as_bytes())
    for limit in (whole + 1_000, 20_000):
        with mail_server(data_size_limit=limit) as (host, inbox):
            send(long, config(host))
        (envelope,) = inbox.envelopes
        assert len(envelope.content) <= limit
        html = inbox.mails[0].get_content()
        assert ("Failed tasks without details" in html) == (limit < whole)
        assert "bad0" in html


def test_a_mail_that_no_shortening_makes_small_enough_is_refused(report):
    with mail_server(data_size_limit=2_000) as (host, inbox):
        with pytest.raises(ValueError, match="takes mails of 2000 bytes at most, and this one has"):
            send(report, config(host))
    assert inbox.mails == []


def test_a_mail_that_fails_does_not_keep_the_next_from_being_sent(report):
    with socket.socket() as unused, mail_server() as (host, inbox):
        unused.bind(("127.0.0.1", 0))
        with pytest.warns(UserWarning, match="EmailChannel could not send the report"):
            report.notify(EmailChannel(config(unused.getsockname())), EmailChannel(config(host)))
    assert len(inbox.mails) == 1


# Configuration


WRONG = [
    ({"mailhost": "localhost"}, TypeError, "mailhost must be a tuple"),
    ({"mailhost": ("localhost", "25")}, TypeError, "mailhost must be a tuple"),
    ({"mailhost": ("a\nb", 25)}, ValueError, "mailhost must be like"),
    ({"mailhost": ("mail..example.org", 25)}, ValueError, "mailhost must be like"),
    ({"mailhost": (f"{'m' * 64}.example.org", 25)}, ValueError, "mailhost must be like"),
    ({"mailhost": ("localhost", 0)}, ValueError, "mailhost must be like"),
    ({"fromaddr": None}, TypeError, "fromaddr: an address must be str"),
    ({"fromaddr": "a@b.c\nBcc: d@e.f"}, ValueError, "line break"),
    ({"toaddrs": "a@b.c"}, TypeError, "toaddrs must be a list"),
    ({"toaddrs": []}, ValueError, "at least one address"),
    ({"toaddrs": ["a@b.c\r\nX: y"]}, ValueError, "line break"),
    ({"toaddrs": ["a@b.c, d@e.f"]}, ValueError, "not one mail address"),
    ({"toaddrs": [""]}, ValueError, "not one mail address"),
    ({"toaddrs": ["a@b.c."]}, ValueError, "not one mail address"),
    ({"fromaddr": "Re\\ports <a@b.c>"}, ValueError, "not one mail address"),
    ({"fromaddr": ".:>\\"}, ValueError, "not one mail address"),
    ({"credentials": "user:password"}, TypeError, "credentials must be a tuple of two str"),
    ({"secure": True}, TypeError, "secure must be None"),
    ({"secure": ("a", "b", "c")}, TypeError, "secure must be None"),
    ({"timeout": -1}, ValueError, "timeout must be a positive number"),
]


def test_a_wrong_configuration_is_refused():
    for wrong, error, message in WRONG:
        with pytest.raises(error, match=message):
            SMTPConfig(**{"mailhost": ("localhost", 25), "fromaddr": "a@b.c", "toaddrs": ["d@e.f"], **wrong})


def test_addresses_are_taken_as_mail_programs_write_them():
    names = [
        "a",
        "<a@b.c>",
        "Reports <a@b.c>",
        "Ünïcode <a@b.c>",
        '"Reports, daily" <a@b.c>',
        "R. Eports <a@b.c>",
    ]
    for address in [*names, '"a"@b.c', "a@bücher.de", "a@b.c (a comment)"]:
        SMTPConfig(("localhost", 25), address, [address])


def test_a_file_that_is_missing_is_named(report):
    with mail_server() as (host, _), pytest.raises(ValueError, match=r"keyfile 'no\.pem'"):
        send(report, config(host, secure=("no.pem",)))


def test_a_configuration_does_not_print_its_password():
    assert PASSWORD not in repr(SMTPConfig(("h", 25), "a@b.c", ["d@e.f"], credentials=(USER, PASSWORD)))


def test_wrong_parts_of_a_channel_are_refused():
    good = config(("localhost", 25))
    with pytest.raises(TypeError, match="smtp_config must be an SMTPConfig"):
        EmailChannel("localhost")
    with pytest.raises(TypeError, match="style must be an HTMLEmailStyle"):
        EmailChannel(good, "slate")
    with pytest.raises(TypeError, match="content must be a ReportContent"):
        EmailChannel(good, None, True)
    with pytest.raises(ValueError, match=r"palette must be one of 'neutral', .*not 'pink'"):
        HTMLEmailStyle("pink")
    with pytest.raises(ValueError, match=r"language must be one of 'en', .*not 'tlh'"):
        HTMLEmailStyle(language="tlh")


# How it looks


def luminance(color):
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class Styles(HTMLParser):
    """Collects what a mail program could not show, and the texts that are hard to read."""

    def __init__(self):
        super().__init__()
        self.open, self.problems, self.texts = [], [], 0

    def handle_starttag(self, tag, attributes):
        if tag in ("style", "script", "link", "img", "iframe", "svg", "form"):
            self.problems.append(tag)
        if any(name.startswith("on") for name, _ in attributes):
            self.problems.append(attributes)
        if tag not in ("meta", "br"):
            declared = (one.partition(":") for one in dict(attributes).get("style", "").split(";"))
            self.open.append((tag, {name: value for name, _, value in declared}))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()[0] != tag:
            self.problems.append(f"</{tag}>")

    def handle_data(self, data):
        if not data.strip() or "body" not in [tag for tag, _ in self.open]:
            return
        self.texts += 1
        color = self.open[-1][1].get("color")
        grounds = [style["background-color"] for _, style in self.open if "background-color" in style]
        if color is None or contrast(color, grounds[-1]) < 4.5:
            self.problems.append(f"{color} on {grounds[-1]}: {data!r}")


@pytest.mark.parametrize("palette", PALETTES)
def test_every_text_is_readable_by_the_style_of_its_own_element_and_all_tags_match(report, palette):
    styles = Styles()
    styles.feed(render_report_html(report, HTMLEmailStyle(palette)))
    assert styles.problems == []
    assert styles.open == []
    assert styles.texts > 30


@pytest.mark.parametrize("name", PALETTES)
def test_every_colour_stands_out_from_its_ground(name):
    assert set(PALETTES) == {"neutral", "catppuccin", "neobones", "slate"}
    palette = PALETTES[name]
    for ground in (palette.page, palette.panel, palette.code):
        assert contrast(palette.text, ground) >= 7
        assert contrast(palette.muted, ground) >= 4.5
        assert (luminance(ground) < 0.2) == palette.is_dark
    for status in ("success", "errored", "skipped", "pending"):
        assert contrast(getattr(palette, status), palette.panel) >= 4.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_string_is_translated(language):
    assert set(LANGUAGES) == {"en", "es", "pt", "fr", "de", "it"}
    english, other = LANGUAGES["en"], LANGUAGES[language]
    assert set(other) == set(english)
    for key, text in other.items():
        assert text.strip() or key == "colon"
        assert re.findall(r"\{\w*\}", text) == re.findall(r"\{\w*\}", english[key])
    if language != "en":
        assert [key for key in english if other[key] == english[key]] in ([], ["colon"])


@pytest.mark.parametrize(
    ("language", "summary"),
    [
        ("en", "Summary"),
        ("es", "Resumen"),
        ("pt", "Resumo"),
        ("fr", "Résumé"),
        ("de", "Zusammenfassung"),
        ("it", "Riepilogo"),
    ],
)
def test_a_report_speaks_its_language_only(report, language, summary):
    html = render_report_html(report, HTMLEmailStyle(language=language))
    assert f">{summary}</h2>" in html
    for other, words in LANGUAGES.items():
        if other != language:
            for key in ("summary", "failures", "impact", "success"):
                assert f">{words[key]}<" not in html or words[key] in LANGUAGES[language].values()


def test_content_leaves_out_what_is_not_wanted(report):
    html = render_report_html(report, None, ReportContent(show_traceback=False, show_traced_vars=False))
    assert "Traceback" not in html
    assert "Variables" not in html
    assert "Arguments" not in html
    assert "ConnectionError" in html


def fail_at_length(number):
    text = "<&>" * 1_000 + f" end of {number}"
    raise ValueError("\n".join([text] * (30 if number < 30 else 1)))


@pytest.mark.once
def test_a_report_of_thousands_of_tasks_is_shortened_and_says_so(caplog):
    caplog.set_level(logging.CRITICAL + 1, logger="processes")  # pytest would keep all of their texts
    tasks = [
        *(Task(f"ok{number}", identity, args=(number,)) for number in range(1_000)),
        *(Task(f"bad{number}", fail_at_length, args=(number,)) for number in range(500)),
    ]
    report = Process(tasks, "large").run(runner="sequential")
    message = EmailChannel(config(("localhost", 25))).message(report)
    assert len(message.as_bytes()) < 8_000_000
    html = message.get_content()
    assert "Tasks that are not shown, to keep this message small: 1,000" in html
    assert re.search(r"Failed tasks without details, .*: 4\d\d", html)
    assert re.search(r"… [\d,]+ more characters …", html)
    assert "bad0" in html
    assert "end of 0" in html


def test_characters_that_no_page_can_hold_are_spelled_out(caplog):
    caplog.set_level(logging.CRITICAL + 1, logger="processes")  # xdist cannot send such a log to its master

    def strange():
        raise ValueError("a\x00b\x1b[31m\ud800")

    report = Process([Task("a", strange)]).run(runner="sequential")
    report.runner = "my\x1b[31m\ud800"
    html = EmailChannel(config(("localhost", 25))).message(report).get_content()
    assert "a\\x00b\\x1b[31m\\ud800" in html
    assert "my\\x1b[31m\\ud800" in html


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_a_duration_is_written_as_people_do():
    for seconds, text in [
        (0.0, "< 1 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1,0 s"),
        (59.94, "59,9 s"),
        (59.96, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (4_500_000, "1.250 h 0 min"),
        (float("inf"), "inf s"),
        (float("nan"), "nan s"),
    ]:
        assert spelled_duration("de", seconds) == text
    assert spelled_duration("en", 1.5) == "1.5 s"


PAGES = """<!DOCTYPE html><meta charset="utf-8"><title></title>{frames}<script>
const widthOf = (page) => page.documentElement.scrollWidth;
const brokenIn = (page) => {{
  let count = 0, cells = 0;
  for (const cell of page.querySelectorAll("td[width]:not([width$='%'])")) {{
    const text = cell.firstChild;
    cells++;
    for (const word of text.data.matchAll(/[^ ]+/g)) {{
      const range = page.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      count += range.getClientRects().length - 1;
    }}
  }}
  return `${{cells}}-${{count}}`;
}};
onload = () => document.title = [...document.querySelectorAll("iframe")].map(
    frame => `${{widthOf(frame.contentDocument)}}-${{brokenIn(frame.contentDocument)}}`).join(" ")
</script>"""


def seen_on_a_phone(folder: Path, mails: dict[str, str]) -> dict[str, list[int]]:
    """Let a browser show mails as a phone does; return each one's width, words that are whole, and others."""
    for name, page in mails.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    frames = "".join(f'<iframe src="{name}.html" width="390" height="900"></iframe>' for name in mails)
    (folder / "all.html").write_text(PAGES.format(frames=frames), encoding="utf-8")
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *(f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files", "--hide-scrollbars"),
            *("--dump-dom", (folder / "all.html").as_uri()),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    title = re.search(rb"<title>([\d -]+)</title>", done.stdout)
    assert title is not None
    measured = [[*map(int, one.split("-"))] for one in title[1].decode().split()]
    return dict(zip(mails, measured, strict=True))


def test_of_many_arguments_and_variables_the_first_hundred_are_shown_and_the_others_counted():
    def many(*numbers):
        locals_ = ", ".join(f"v{index}" for index in range(150))
        exec(f"def inner():\n    {locals_} = range(150)\n    raise ValueError\ninner()")

    report = Process([Task("many", many, args=tuple(range(120)))]).run(runner="sequential")
    page = render_report_html(report)
    assert re.findall(r">…</td>\s*<td[^>]*>(.*?)</td>", page) == ["+ 20", "+ 50"]
    shown = re.findall(r">(numbers|args\[\d+\]|v\d+)</td>", page)
    assert len(shown) == 200


@pytest.mark.once
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_on_a_phone_cuts_nothing_off_and_breaks_no_word_that_tells_how_a_task_ended(tmp_path):
    tasks = [
        Task("a_name_that_goes_on_" * 10, refuse, args=("tok-abc-123456" * 50,)),
        Task("below" * 30, identity, dependencies=[TaskDependency("a_name_that_goes_on_" * 10, True)]),
        Task("result", identity, args=("x" * 500,)),
    ]
    long = Process(tasks, "nightly" * 30).run(runner="sequential")
    ended = ProcessExecutionReport(
        {one.value: TaskReportEntry(one.value, "work", (), {}, one, 1.0, 1) for one in TaskStatus}
    )
    mails = {one: render_report_html(long, HTMLEmailStyle(one, "de")) for one in PALETTES}
    mails |= {one: render_report_html(ended, HTMLEmailStyle(language=one)) for one in LANGUAGES}
    seen = seen_on_a_phone(tmp_path, mails)
    assert seen == dict.fromkeys(PALETTES, [390, 3, 0]) | dict.fromkeys(LANGUAGES, [390, 4, 0])
