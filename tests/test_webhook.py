"""Webhooks and chats, sent to real servers on this machine."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import math
import re
import socket
import time
from datetime import UTC, datetime

import pytest
from patience import patient
from servers import dripping, refusing, server_context, serving

from processes import Process, ProcessExecutionReport, Task, TaskDependency, TaskResult
from processes.comms import (
    DiscordChannel,
    ReportContent,
    SlackChannel,
    TeamsChannel,
    WebhookChannel,
    WebhookConfig,
    deadline,
    transport,
    webhook,
)
from processes.comms.transport import WebhookError


@pytest.fixture(autouse=True)
def short_delays(no_proxies, no_authorities, monkeypatch):
    monkeypatch.setattr(transport, "FIRST_DELAY", 0.001)


def explode():
    secret_token = "tok-abc-123456"
    raise ValueError(f"<b>bad</b> {secret_token} *bold* @everyone <!channel>")


def identity(value):
    return value


@pytest.fixture(scope="module")
def report():
    tasks = [
        Task("fine", identity, args=({"a": 1},)),
        Task("bad", explode),
        Task("below", identity, dependencies=[TaskDependency("bad", True)]),
    ]
    return Process(tasks, "nightly").run(runner="sequential")


def send(report, server, content=None, url=None, **config):
    channel = WebhookChannel(WebhookConfig(url or server.url(), **config), content)
    channel.send_report(report, errors_only=False)


def test_the_body_is_the_report(report):
    with serving() as server:
        send(report, server)
    path, headers, body = server.requests[0]
    sent = json.loads(body)
    assert path == "/hook"
    assert headers["Content-Type"] == "application/json"
    assert "X-Signature-SHA256" not in headers
    assert sent["process_name"] == "nightly"
    assert list(sent["entries"]) == list(report.entries)
    fine = sent["entries"]["fine"]
    assert fine.pop("elapsed_seconds") == report.entries["fine"].elapsed_seconds
    assert fine == {"status": "success", "function": "identity", "attempts": 1, "result": "{'a': 1}"}
    assert sent["entries"]["below"]["status"] == "skipped"
    error = sent["entries"]["bad"]["error"]
    assert set(error) == {
        "exception",
        "downstream_impact",
        "traceback",
        "traced_vars",
        "traced_vars_location",
    }
    assert error["downstream_impact"] == ["below"]
    assert error["exception"] == "<b>bad</b> <redacted> *bold* @everyone <!channel>"
    assert error["traced_vars"] == {"secret_token": "<redacted>"}
    assert b"tok-abc" not in body


def test_a_time_that_is_no_number_is_sent_as_text():
    results = {"fine": TaskResult.success(1, elapsed_seconds=math.nan)}
    report = ProcessExecutionReport.from_results(Process([Task("fine", identity)]), results)
    with serving() as server:
        send(report, server)
    assert json.loads(server.requests[0][2])["entries"]["fine"]["elapsed_seconds"] == "nan"


def test_content_leaves_out_what_is_not_wanted(report):
    with serving() as server:
        send(report, server, ReportContent(show_traceback=False, show_traced_vars=False))
    error = json.loads(server.requests[0][2])["entries"]["bad"]["error"]
    assert set(error) == {"exception", "downstream_impact"}


def test_the_report_can_be_nested_and_the_extra_payload_wins(report):
    with serving() as server:
        send(report, server, nest_under="report", extra_payload={"channel": "#x"})
        send(report, server, extra_payload={"process_name": "mine"})
        send(report, server, nest_under="report", extra_payload={"report": 1})
    first, second, third = (json.loads(body) for _, _, body in server.requests)
    assert set(first) == {"report", "channel"}
    assert first["report"]["process_name"] == "nightly"
    assert second["process_name"] == "mine"
    assert third == {"report": 1}


def test_the_signature_is_that_of_the_bytes_sent(report):
    with serving() as server:
        send(report, server, secret="shh-é", headers={"Authorization": "Bearer x", "X-Own": "1"})
    _, headers, body = server.requests[0]
    expected = hmac.new("shh-é".encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Signature-SHA256"] == expected
    assert headers["Authorization"] == "Bearer x"
    assert headers["X-Own"] == "1"


def test_an_answer_that_is_not_2xx_is_an_error_with_status_and_body(report):
    with (
        serving((404, {}, b"no such hook" + b"x" * 5000)) as server,
        pytest.raises(WebhookError, match=r"answered 404 Not Found: no such hookx+…$") as caught,
    ):
        send(report, server, retries=3)
    assert caught.value.status == 404
    assert len(str(caught.value)) < 700
    assert len(server.requests) == 1


def test_an_error_does_not_tell_the_urls_path(report):
    with serving((500, {}, b"")) as server, pytest.raises(WebhookError) as caught:
        send(report, server, url=server.url("/services/T0/SECRET?token=abc"))
    assert "SECRET" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_server_error_is_tried_again(report):
    with serving((503, {}, b""), (None, {}, b""), (204, {}, b"")) as server:
        send(report, server, retries=2, secret="s")
    assert len(server.requests) == 3
    assert len({body for _, _, body in server.requests}) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_come_back_later_is_called_then(report, status):
    with serving((status, {"Retry-After": "0.01"}, b"busy"), (200, {}, b"")) as server:
        began = time.monotonic()
        send(report, server, retries=1)
    assert len(server.requests) == 2
    assert time.monotonic() - began >= 0.01


def test_too_many_requests_are_tried_again_also_without_a_time(report):
    with serving((429, {}, b"busy"), (200, {}, b"")) as server:
        send(report, server, retries=1)
    assert len(server.requests) == 2


@pytest.mark.parametrize("retries", [0, 3])
def test_nobody_waits_for_an_hour(report, retries):
    with (
        serving((429, {"Retry-After": "3600"}, b"")) as server,
        pytest.raises(WebhookError, match="429 .* asks to be called again in 3600 s") as caught,
    ):
        send(report, server, retries=retries)
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


def test_a_time_to_come_back_is_a_number_or_a_date():
    now = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
    for text, seconds in [
        ("7", 7),
        ("-7", 0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 23 Nov 2026 12:00:30 +99999999999999", None),
        (None, None),
    ]:
        assert transport.seconds_to_wait(text, now) == seconds, text


def test_without_retries_it_is_not(report):
    with serving((503, {}, b"busy"), (200, {}, b"")) as server, pytest.raises(WebhookError, match="503"):
        send(report, server)
    assert len(server.requests) == 1


def test_a_dead_server_is_an_error_that_says_where(report):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(WebhookError, match=f"http://127.0.0.1:{port}/… could not be reached"):
            send(report, None, url=f"http://127.0.0.1:{port}/x", retries=1)


MEGABYTES = {"filler": "x" * 20_000_000}  # more than sockets hold


def test_an_answer_that_comes_before_the_body_is_read_counts(report):
    with refusing(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large") as (host, port):
        with pytest.raises(WebhookError, match="answered 413 Too Large: too large") as caught:
            send(report, None, url=f"http://{host}:{port}/x", extra_payload=MEGABYTES)
    assert caught.value.status == 413


def test_a_server_that_hangs_up_on_the_body_without_an_answer_was_not_reached(report):
    with refusing(b"") as (host, port):
        with pytest.raises(transport.NoAnswerError, match="could not be reached"):
            send(report, None, url=f"http://{host}:{port}/x", extra_payload=MEGABYTES)


def test_a_hanging_server_is_left_after_the_timeout(report, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 1_000)  # it is about one answer
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(WebhookError, match=r"did not answer within 0\.1 s"):
            send(report, None, url=url, timeout=0.1)


def test_a_server_that_drips_is_left_after_a_while(report, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 0.01)
    with dripping(b"HTTP/1.1") as (host, port):
        with pytest.raises(WebhookError, match=r"did not answer in full within 0\.5 s"):
            send(report, None, url=f"http://{host}:{port}/x", timeout=50)


def test_a_server_that_drips_through_tls_is_left_after_a_while(report, authority, trusted, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 0.01)
    with dripping(b"HTTP/1.1", tls=server_context(authority)) as (host, port):
        with pytest.raises(WebhookError, match=r"did not answer in full within 0\.5 s"):
            send(report, None, url=f"https://{host}:{port}/x", timeout=50)


@patient
def test_a_body_that_drips_does_not_hide_the_status(times, report, monkeypatch):
    monkeypatch.setattr(deadline, "TIMEOUTS", 1)
    with dripping(b"HTTP/1.1 500 Broken\r\nContent-Length: 100000\r\n\r\n") as (host, port):
        with pytest.raises(WebhookError, match="answered 500 Broken"):
            send(report, None, url=f"http://{host}:{port}/x", timeout=0.5 * times)


def test_a_body_that_does_not_come_does_not_hide_the_status(report):
    with refusing(b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nsome") as (host, port):
        with pytest.raises(WebhookError, match="answered 500 Broken: an empty body"):
            send(report, None, url=f"http://{host}:{port}/x")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_server_is_followed_by_the_same_post(report, status):
    with serving((status, {"Location": "/other"}, b""), (200, {}, b"")) as server:
        send(report, server, secret="s")
    (_, first, body), (path, second, again) = server.requests
    assert path == "/other"
    assert body == again
    assert first["X-Signature-SHA256"] == second["X-Signature-SHA256"]


@pytest.mark.parametrize(
    "target", ["http://localhost:{port}/x", "https://127.0.0.1:{port}/x", "file:///etc/passwd"]
)
def test_a_redirect_elsewhere_is_not_followed(report, target):
    with serving() as server:
        server.answers = [(307, {"Location": target.format(port=server.port)}, b""), (200, {}, b"")]
        with pytest.raises(WebhookError, match="another scheme, host or port"):
            send(report, server, secret="s", retries=2)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location", ["http://h:99999/", "http://[::1/", "/p\u00e2th", "/a b", "http://u@{host}/"]
)
def test_a_redirect_that_cannot_be_followed_is_the_servers_fault(report, location):
    with serving() as server:
        location = location.format(host=f"127.0.0.1:{server.port}")
        server.answers = [(307, {"Location": location}, b"")]
        with pytest.raises(
            WebhookError, match=rf"^http://127.0.0.1:{server.port}/… redirects to a URL that cannot"
        ):
            send(report, server)
    assert len(server.requests) == 1


def test_a_redirect_that_leads_nowhere_is_an_answer(report):
    with (
        serving((307, {}, b"nowhere")) as server,
        pytest.raises(WebhookError, match="answered 307 .*: nowhere$"),
    ):
        send(report, server)


def test_redirects_in_a_circle_end(report):
    with (
        serving((302, {"Location": "/hook"}, b"")) as server,
        pytest.raises(WebhookError, match="redirects more than 5 times"),
    ):
        send(report, server)


def test_https_works_with_a_certificate_that_is_trusted(report, authority, trusted):
    with serving(tls=server_context(authority, "localhost")) as server:
        send(report, server, url=server.url(scheme="https", host="localhost"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(("name", "is_trusted"), [("localhost", False), ("other.example.org", True)])
def test_a_wrong_certificate_gets_nothing(report, authority, request, name, is_trusted):
    if is_trusted:
        request.getfixturevalue("trusted")
    with serving(tls=server_context(authority, name)) as server:
        with pytest.raises(
            WebhookError, match=r"nothing was sent: [^.]+\. The environment variable SSL_CERT"
        ):
            send(report, server, url=server.url(scheme="https", host="localhost"), retries=2)
    assert server.requests == []


def test_a_result_that_is_huge_or_has_no_repr_is_bounded():
    class Unprintable:
        def __repr__(self):
            raise RuntimeError("no")

    tasks = [Task("huge", lambda: "x" * 10_000_000), Task("none", Unprintable)]
    with serving() as server:
        send(Process(tasks).run(runner="sequential"), server)
    (_, _, data), (body,) = server.requests[0], server.bodies
    assert len(data) < 10_000
    assert "more characters" in body["entries"]["huge"]["result"]
    assert "RuntimeError" in body["entries"]["none"]["result"]


def test_what_is_left_out_of_a_value_is_counted_with_what_was_when_it_was_rendered():
    def fail(text, rows):
        raise ValueError("x" * 30_000)

    tasks = [
        Task("text", lambda: "x" * 10_000),
        Task("rows", lambda: [7] * 10_000),
        Task("fails", fail, args=("y" * 9_000, [7] * 9_000)),
    ]
    report = Process(tasks).run(runner="sequential")
    with serving() as server:
        send(report, server)
    entries = server.bodies[0]["entries"]
    error = entries["fails"]["error"]
    texts = {
        entries["text"]["result"]: len(repr("x" * 10_000)),
        error["exception"]: 30_000,
        error["traced_vars"]["text"]: len(repr("y" * 9_000)),
    }
    for text, size in texts.items():
        shown, left_out = re.fullmatch(r"(.*)… (\d+) more characters", text).groups()
        assert len(shown) + int(left_out) == size
    rows = {entries["rows"]["result"]: 10_000, error["traced_vars"]["rows"]: 9_000}
    for text, size in rows.items():
        shown, left_out = re.fullmatch(r"(.*)… > (\d+) more characters", text).groups()
        assert size < len(shown) + int(left_out) <= 3 * size


def fail_at_length():
    raise ValueError("a line\n" * 1_500)


def test_of_many_failures_less_is_sent_of_each(monkeypatch):
    monkeypatch.setattr(webhook, "FULL_FAILURES", 10)  # a tenth of what it is
    with serving() as server:
        for count in (10, 30):
            tasks = [Task(f"t{number}", fail_at_length) for number in range(count)]
            send(Process(tasks).run(runner="sequential"), server)
    (_, _, few), (_, _, many) = server.requests
    assert len(many) < 2 * len(few)
    few, many = (body["entries"]["t7"]["error"]["traceback"] for body in server.bodies)
    assert "more characters" not in few
    head, count, tail = re.split(r"\n… (\d+) more characters …\n", many)
    assert len(head) + int(count) + len(tail) == len(few)
    assert many.startswith("Traceback (most recent call last)")


def test_a_proxy_is_taken_from_the_environment(report, monkeypatch):
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", "")
        send(report, None, url="http://hooks.example.org/hook")
    assert [path for path, _, _ in proxy.requests] == ["http://hooks.example.org/hook"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_error_names_the_proxy_without_its_password(report, monkeypatch, scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv(f"{scheme}_proxy", f"http://bob:hunter2@{proxy}")
        monkeypatch.setenv("no_proxy", "")
        where = rf"^{scheme}://hooks\.example\.org/… \(through the proxy {proxy}\) could not be reached"
        with pytest.raises(WebhookError, match=where) as caught:
            send(report, None, url=f"{scheme}://hooks.example.org/hook")
    assert "bob" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_answer_that_came_through_a_proxy_says_so(report, monkeypatch):
    with serving((407, {}, b"who are you?")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", "")
        where = rf"^http://hooks\.example\.org/… \(through the proxy 127.0.0.1:{proxy.port}\) answered 407 "
        with pytest.raises(WebhookError, match=where):
            send(report, None, url="http://hooks.example.org/hook")


def test_a_channel_that_fails_does_not_keep_the_next_from_being_served(report):
    with serving() as server:
        bad = WebhookChannel(WebhookConfig(server.url()))
        bad.webhook_config.extra_payload = {"x": object()}
        with pytest.warns(UserWarning, match="WebhookChannel could not send the report"):
            report.notify(bad, WebhookChannel(WebhookConfig(server.url())))
    assert len(server.requests) == 1


def test_a_warning_spells_out_what_a_terminal_would_take_as_a_command(report):
    with serving((400, {}, "line\x1b[2J\x9b2J\r\nline".encode())) as server:
        with pytest.warns(UserWarning, match="answered 400") as caught:
            report.notify(WebhookChannel(WebhookConfig(server.url())))
    assert "line\\x1b[2J\\x9b2J\\x0d\nline" in str(caught[0].message)


WRONG = [
    ({"url": 3}, TypeError, "url must be str"),
    ({"url": "ftp://h/x"}, ValueError, "scheme 'ftp'"),
    ({"url": "file:///etc/passwd"}, ValueError, "scheme 'file'"),
    ({"url": "https://"}, ValueError, "host None"),
    ({"url": "https://hooks..example.org/x"}, ValueError, "host 'hooks..example.org'"),
    ({"url": "https://h/\r\nX: y"}, ValueError, "line breaks"),
    ({"url": "https://h:99999/"}, ValueError, "cannot be read"),
    ({"url": "https://h:0/"}, ValueError, "must be like"),
    ({"url": "https://u:p@h/"}, ValueError, "Authorization"),
    ({"headers": []}, TypeError, "headers must be a dict"),
    ({"headers": {"X": 1}}, TypeError, "'X' is int"),
    ({"headers": {1: "x"}}, TypeError, "headers must be a dict of str to str"),
    ({"headers": {"X": "a\r\nY: b"}}, ValueError, "line break"),
    *(({"headers": {name: "b"}}, ValueError, "no name of an HTTP header") for name in ("X\r\nY", "", "é")),
    ({"headers": {"X": "\u20ac"}}, ValueError, "Latin-1"),
    ({"timeout": 0}, ValueError, "timeout must be a positive number"),
    ({"timeout": 1e6}, ValueError, "timeout must be a positive number of seconds, less than a million"),
    ({"timeout": "5"}, TypeError, "timeout must be a positive number"),
    ({"secret": b"x"}, TypeError, "secret must be str or None"),
    ({"secret": ""}, ValueError, "secret must not be empty"),
    ({"nest_under": 1}, TypeError, "nest_under must be str or None"),
    ({"extra_payload": []}, TypeError, "extra_payload must be a dict"),
    ({"extra_payload": {"at": datetime.now(UTC)}}, TypeError, "what JSON knows: .*datetime"),
    ({"extra_payload": {"x": [float("nan")]}}, ValueError, "what JSON knows"),
    ({"retries": -1}, ValueError, "retries must be a non-negative int"),
    ({"retries": True}, TypeError, "retries must be a non-negative int"),
]


def test_a_wrong_configuration_is_refused():
    for wrong, error, message in WRONG:
        with pytest.raises(error, match=message):
            WebhookConfig(**{"url": "https://h/", **wrong})


def test_what_is_changed_later_is_checked_again(report):
    config = WebhookConfig("https://h/")
    config.headers = {"X": "a\nb"}
    with pytest.raises(ValueError, match="line break"):
        WebhookChannel(config).send_report(report, errors_only=False)


def test_a_configuration_does_not_print_its_secrets():
    config = WebhookConfig(
        "https://h/T0KEN",
        {"Authorization": "b3arer"},
        secret="s3cret",
        extra_payload={"routing_key": "r0uting"},
    )
    assert not any(text in repr(config) for text in ("T0KEN", "b3arer", "s3cret", "r0uting"))


@pytest.mark.parametrize(
    "url", ["https://h/T0KEN\n", " https://h/T0KEN", "https://h/T0KEN/é", "'https://h/T0KEN'"]
)
def test_a_url_that_is_refused_is_not_shown(url):
    with pytest.raises(ValueError, match="^url must") as caught:
        WebhookConfig(url)
    assert "T0KEN" not in str(caught.value)


def test_wrong_parts_of_a_channel_are_refused():
    with pytest.raises(TypeError, match="webhook_config must be a WebhookConfig, not str"):
        WebhookChannel("https://h/")
    with pytest.raises(TypeError, match="content must be a ReportContent or None"):
        WebhookChannel(WebhookConfig("https://h/"), {})


# Chats


@pytest.mark.parametrize("channel", [SlackChannel, TeamsChannel, DiscordChannel])
def test_a_chat_gets_a_short_message_with_failures_first(report, channel):
    with serving() as server:
        channel(server.url()).send_report(report, errors_only=False)
    message = json.dumps(json.loads(server.requests[0][2]), ensure_ascii=False).replace("\\", "")
    assert message.index("nightly") < message.index("1 failed") < message.index("bad: ValueError")
    assert "1 skipped" in message
    assert "1 succeeded" in message
    assert "not run" not in message
    assert "tok-abc" not in message
    assert "Traceback" not in message


def test_slack_sees_no_markup_in_what_tasks_say(report):
    with serving() as server:
        SlackChannel(server.url()).send_report(report, errors_only=True)
    body = json.loads(server.requests[0][2])
    assert "&lt;!channel&gt;" in body["text"]
    assert "<" not in body["text"]
    assert body["text"].startswith("*Failed Tasks in Process: nightly*\n")


def fail_with_much(text):
    raise ValueError(text * 1_000)


@pytest.mark.parametrize("text", ["a", "*_`@<", "<!channel>", "ж", "漢", "😀", '"\\'])
def test_a_chat_gets_no_more_than_it_takes(text):
    tasks = [Task(f"{text * 100}{number}", fail_with_much, args=(text,)) for number in range(20)]
    report = Process(tasks, f"many {text}" * 300).run(runner="sequential")
    with serving() as server:
        for channel in (SlackChannel, TeamsChannel, DiscordChannel):
            channel(server.url()).send_report(report, errors_only=False)
    (slack, _, discord), (_, (_, _, teams_data), _) = server.bodies, server.requests
    assert 800 < len(slack["text"]) <= 4_000
    assert 800 < len(teams_data) <= 28_000
    assert 800 < len(discord["content"].encode("utf-16-le")) // 2 <= 2_000


def test_discord_mentions_nobody(report):
    with serving() as server:
        DiscordChannel(server.url()).send_report(report, errors_only=False)
    assert server.bodies[0]["allowed_mentions"] == {"parse": []}
    assert "\\@everyone" in server.bodies[0]["content"]


@pytest.mark.parametrize("channel", [SlackChannel, TeamsChannel, DiscordChannel])
def test_a_chat_channel_is_short(channel):
    assert len(inspect.getsource(channel).splitlines()) < 60


def test_a_chat_that_limits_its_rate_is_called_again(report):
    with serving((429, {"Retry-After": "0.01"}, b"rate_limited"), (200, {}, b"ok")) as server:
        SlackChannel(server.url(), retries=1).send_report(report, errors_only=False)
    assert len(server.requests) == 2


def test_teams_gets_an_adaptive_card(report):
    with serving() as server:
        TeamsChannel(server.url()).send_report(report, errors_only=False)
    body = json.loads(server.requests[0][2])
    (attachment,) = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"
    assert all(block["type"] == "TextBlock" and block["wrap"] for block in attachment["content"]["body"])


def test_a_chat_names_ten_failures_and_counts_the_others():
    tasks = [Task(f"task{number}", explode) for number in range(13)]
    text = ""
    with serving() as server:
        SlackChannel(server.url()).send_report(Process(tasks).run(runner="sequential"), errors_only=True)
        text = json.loads(server.requests[0][2])["text"]
    assert text.count("✗") == 10
    assert "and 3 more failed tasks" in text
