"""From `Process.run` to what real servers get: interrupted runs, and secrets on every runner."""

from __future__ import annotations

import base64
import html
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager

import pytest
from programs import started, wait_until
from servers import mail_server, page_of, serving

from processes import (
    EmailChannel,
    Process,
    ProcessExecutionReport,
    SlackChannel,
    SMTPConfig,
    Task,
    TaskDependency,
    TaskReportEntry,
    TaskStatus,
    WebhookChannel,
    WebhookConfig,
)
from processes.error_data import ErrorData

pytestmark = pytest.mark.usefixtures("no_proxies", "no_authorities")


# Ctrl-C

SCRIPT = """
import sys, time
from pathlib import Path
from processes import EmailChannel, Process, SMTPConfig, Task, TaskDependency, WebhookChannel, WebhookConfig

how, runner, port, url = sys.argv[1:]

def quick():
    return "done"

def sleep():
    for _ in range(600):
        time.sleep(0.1)  # a Ctrl-C just before a sleep begins does not end that one

def long():
    Path("began").touch()
    sleep()

mail = EmailChannel(SMTPConfig(("127.0.0.1", int(port)), "a@example.org", ["b@example.org"], timeout=30))
hook = WebhookChannel(WebhookConfig(url))
first = [TaskDependency("quick")]
rest = [("long", long), ("after", quick)]
tasks = [Task("quick", quick), *(Task(name, func, dependencies=first) for name, func in rest)]
process = Process(tasks, "nightly", runner=runner)
to = {"notify": [mail, hook], "max_workers": None if runner == "sequential" else 1}
try:
    if how == "run":
        process.run(**to)
    elif how == "stream":
        for entry in process.stream(**to):
            Path("entered").touch()
    else:
        with process.stream(**to) as stream:
            next(stream)
            Path("entered").touch()
            sleep()  # what the user does with each entry
except KeyboardInterrupt:
    print("interrupted")
    Path("came-out").touch()
    sys.exit(42)
"""


@pytest.fixture
def script(tmp_path):
    """Start the script, wait until its long task runs and it is at its entries, and press Ctrl-C."""

    @contextmanager
    def interrupted(*arguments):
        (tmp_path / "nightly.py").write_text(SCRIPT, encoding="utf-8")
        with started(
            [sys.executable, "nightly.py", *map(str, arguments)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as program:
            wait_until((tmp_path / "began").exists, 60)
            if arguments[0] != "run":  # between `stream()` and its block nobody would hear it
                wait_until((tmp_path / "entered").exists, 60)
            os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to all of them
            yield program

    return interrupted


@pytest.mark.parametrize(
    ("how", "runner"),
    [
        ("run", "sequential"),
        ("run", "process"),
        ("stream", "thread"),
        ("with", "process"),
    ],
)
def test_ctrl_c_sends_the_partial_report_and_comes_out(script, how, runner):
    with mail_server() as ((_, port), inbox), serving() as server:
        with script(how, runner, port, server.url()) as program:
            out, err = program.communicate(timeout=120)
    assert (program.returncode, out, err) == (42, "interrupted\n", "")
    (body,) = server.bodies
    statuses = {name: entry["status"] for name, entry in body["entries"].items()}
    assert statuses == {"quick": "success", "long": "pending", "after": "pending"}
    assert body["entries"]["quick"]["result"] == "'done'"
    (message,) = inbox.mails
    assert "nightly" in message["Subject"]
    assert "Not run" in page_of(message)


def test_ctrl_c_is_not_held_up_by_a_slow_server_and_the_rest_is_sent_later(script, tmp_path):
    with serving() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        with script("run", "thread", silent.getsockname()[1], server.url()) as program:
            wait_until((tmp_path / "came-out").exists)
            assert server.requests == []
            silent.close()  # only now does the mail server hang up
            _, err = program.communicate(timeout=120)
    assert program.returncode == 42
    assert "EmailChannel could not send the report" in err
    assert len(server.requests) == 1


def test_a_streams_report_is_sent_at_its_end():
    with serving() as server:
        hook = WebhookChannel(WebhookConfig(server.url()))
        process = Process([Task("one", abs, args=(-1,)), Task("two", abs, args=(-2,))], "nightly")
        with process.stream(notify=[hook]) as stream:
            assert next(stream).name == "one"
            assert server.requests == []
            assert [entry.name for entry in stream] == ["two"]
            assert len(server.requests) == 1
        for _ in process.stream(notify=[hook], notify_on="error"):
            pass
    (body,) = server.bodies
    assert [entry["result"] for entry in body["entries"].values()] == ["1", "2"]


# Secrets

TOKEN = "sk-L1ve/4f9a'8c\"2e+é"  # with what each spelling writes differently
PIECES = ("L1ve", "4f9a", '8c"2e')


class Client:
    """Shows its token, as careless classes do."""

    def __init__(self, token):
        self.token = token

    def __repr__(self):
        return f"Client(token={self.token!r}, timeout=3)"


def in_a_local_variable(number):
    api_token = TOKEN
    headers = {"Authorization": f"Bearer {api_token}"}
    client = Client(api_token)
    data = api_token.encode()
    raise PermissionError(f"401 for {api_token} {headers} {client} {data} row {number}")


def in_an_argument(user, password, session):
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    url = f"https://example.org/login?key={urllib.parse.quote(password, safe='')}"
    text = json.dumps({"user": user, "sent": password})
    raise ConnectionError(f"{user} cannot log in: {password!r} {session} {encoded} {url} {text}")


def in_a_keyword(*, config, **more):
    used = config["database"]["credentials"]["value"]
    raise RuntimeError(f"no connection with {used}") from KeyError(used)


def returned(access_token):
    return {
        "rows": 3,
        "used": [("how", access_token), {"deep": {"deeper": access_token.encode()}}],
        "client": Client(access_token),
        "json": json.dumps([access_token]),
        "url": "https://h/?x=" + urllib.parse.quote(access_token),
    }


def passed_on(value):
    raise LookupError(f"row 7 of {value['rows']} is missing")


TASKS = [
    Task("local", in_a_local_variable, args=(7,)),
    Task(
        "positional", in_an_argument, args=("ann", TOKEN, {"headers": {"Authorization": f"Bearer {TOKEN}"}})
    ),
    Task("keyword", in_a_keyword, kwargs={"config": {"database": {"credentials": {"value": TOKEN}}}, "n": 1}),
    Task("result", returned, args=(TOKEN,)),
    Task("handed", passed_on, dependencies=[TaskDependency("result", True)]),
]


def spelled(token):
    """Each way in which a token can be spelled."""
    data = token.encode()
    basic = base64.b64encode(b"ann:" + data).decode()
    return [
        token,
        repr(token)[1:-1],
        repr(data)[2:-1],
        json.dumps(token)[1:-1],
        urllib.parse.quote(token),
        urllib.parse.quote(token, safe=""),
        basic[8:-4],
        html.escape(token),
    ]


@pytest.mark.usefixtures("shared_workers")
@pytest.mark.parametrize(
    ("runner", "filters"),
    [
        ("sequential", {}),
        ("thread", {}),
        ("process", {}),
        ("process", {"only_errors": True}),
        ("process", {"tasks": ["local", "handed", "result"]}),
    ],
    ids=str,
)
def test_no_server_gets_a_secret_whatever_the_runner(runner, filters):
    with mail_server() as (host, inbox), serving() as server:
        channels = [
            EmailChannel(SMTPConfig(host, "a@example.org", ["b@example.org"])),
            WebhookChannel(WebhookConfig(server.url())),
            SlackChannel(server.url()),
        ]
        report = Process(list(TASKS), "nightly").run(runner=runner)
        assert {entry.status.name for entry in report.entries.values()} == {"ERRORED", "SUCCESS"}
        report.notify(*channels, **filters)
        assert len(inbox.mails) == 1
        assert len(server.requests) == 2
    hook, slack = (body.decode() for _, _, body in server.requests)
    sent = {
        "mail": inbox.mails[0].get_content(),
        "mail as read": page_of(inbox.mails[0]),
        "webhook": hook,
        "webhook as read": "\n".join(strings_in(json.loads(hook))),
        "chat": slack,
    }
    for where, text in sent.items():
        assert "<redacted>" in text or "&lt;redacted&gt;" in text, where
        for secret in (*spelled(TOKEN), *PIECES):
            assert secret not in text, where
    assert "row 7" in sent["mail as read"]
    assert "row 7 of 3 is missing" in sent["webhook as read"]


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings_in(member)


# What is sent is data


def hostile(text):
    payload = text
    raise ValueError(f"{text} {payload}")


def test_markup_in_names_values_and_exceptions_stays_text(runner):
    markup = '</td></table><script>alert("x")</script>{{ 7777*7 }}","status":"success'
    process = Process([Task("<b>bold</b>", hostile, args=(markup,))], "<i>nightly</i>")
    with mail_server() as (host, inbox), serving() as server:
        mail = EmailChannel(SMTPConfig(host, "a@example.org", ["b@example.org"]))
        process.run(runner=runner, notify=[mail, WebhookChannel(WebhookConfig(server.url()))])
    page = inbox.mails[0].get_content()
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "54439" not in page
    assert markup in page_of(inbox.mails[0])
    (entry,) = server.bodies[0]["entries"].values()
    assert entry["status"] == "errored"
    assert entry["error"]["exception"] == f"{markup} {markup}"


def test_names_that_are_no_utf8_are_spelled_out():
    name = "caf\udce9"  # as os.listdir gives the name of a file
    error = ErrorData(name, name, (), {}, exception="no such file", downstream_impact=[f"below-{name}"])
    report = ProcessExecutionReport(
        {
            name: TaskReportEntry(name, name, (), {}, TaskStatus.ERRORED, 0.1, 1, None, error),
            "below": TaskReportEntry(f"below-{name}", name, (), {}, TaskStatus.SKIPPED, 0.0, 0),
        },
        name,
    )
    with mail_server() as (host, inbox), serving() as server:
        report.notify(
            EmailChannel(SMTPConfig(host, "a@example.org", ["b@example.org"])),
            WebhookChannel(WebhookConfig(server.url())),
            SlackChannel(server.url()),
        )
    spelled_out = r"caf\udce9"
    assert spelled_out in inbox.mails[0]["Subject"]
    assert page_of(inbox.mails[0]).count(spelled_out) >= 5
    hook, slack = server.bodies
    assert hook["process_name"] == spelled_out
    assert list(hook["entries"]) == [spelled_out, f"below-{spelled_out}"]
    assert hook["entries"][spelled_out]["function"] == spelled_out
    assert hook["entries"][spelled_out]["error"]["downstream_impact"] == [f"below-{spelled_out}"]
    assert slack["text"].count(spelled_out) == 2


def test_a_run_notifies_on_errors_only_where_that_is_wanted():
    with serving() as server:
        to = [WebhookChannel(WebhookConfig(server.url()))]
        Process([Task("fine", abs, args=(-1,))]).run(notify=to, notify_on="error")
        assert server.requests == []
        Process([Task("bad", hostile, args=("x",))]).run(notify=to, notify_on="error")
        assert len(server.requests) == 1
