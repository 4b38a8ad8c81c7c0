"""The snippets of docs/notifications.md run, with servers on this machine in place of those they name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from servers import PASSWORD, mail_server, page_of, server_context, serving
from test_docs import snippets_of

pytestmark = pytest.mark.usefixtures("no_proxies", "trusted")

SNIPPETS = [snippet.code for snippet in snippets_of("docs/notifications.md").values()]
SECRET = "the-secret-of-the-hook"


def snippet_with(text: str) -> str:
    (found,) = [code for code in SNIPPETS if text in code]
    return found


def run(code, folder, **environment):
    """Run a snippet as a script, in a folder of its own, and return what it prints."""
    (folder / "snippet.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "snippet.py"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_there_is_no_snippet_that_no_test_runs():
    assert len(SNIPPETS) == 4


def test_the_first_snippet_sends_mails_and_webhooks_that_prove_where_they_come_from(tmp_path, authority):
    code = snippet_with("EmailChannel(")
    tls = server_context(authority)
    with mail_server(tls=tls, require_starttls=True) as ((_, port), inbox), serving(tls=tls) as server:
        code = code.replace('"mail.example.org", 587', f'"localhost", {port}')
        code = code.replace("https://hooks.example.org", server.url("", "https", "localhost"))
        assert ".example.org/" not in code
        run(code, tmp_path, MAIL_PASSWORD=PASSWORD, HOOK_SECRET=SECRET)
    assert [envelope.rcpt_tos for envelope in inbox.envelopes] == [["ann@example.org"]] * 2
    assert "Résumé" in page_of(inbox.mails[0])
    assert [list(body["entries"]) for body in server.bodies] == [["load", "check"], ["check"]]
    names = {}
    exec(snippet_with("def is_from_us"), names)
    for path, headers, body in server.requests:
        assert path == "/nightly"
        assert names["is_from_us"](SECRET, body, headers)
        assert not names["is_from_us"]("another", body, headers)


def test_the_chat_snippet_sends_a_message(tmp_path, authority):
    with serving(tls=server_context(authority)) as server:
        code = snippet_with("SlackChannel(")
        url = server.url("", "https", "localhost")
        run(code.replace("https://hooks.slack.com", url), tmp_path)
    assert "*Process Execution Report: nightly*\n1 failed" in server.bodies[0]["text"]


@pytest.mark.skipif(os.name == "nt", reason="the program that it starts is a shell script here")
def test_the_channel_of_ones_own_starts_its_program(tmp_path):
    program = tmp_path / "notify-send"
    program.write_text('#!/bin/sh\nprintf "%s|%s" "$1" "$2" > note\n')
    program.chmod(0o755)
    run(snippet_with("ReportChannel"), tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (tmp_path / "note").read_text() == "nightly|1 of 1 tasks failed"
