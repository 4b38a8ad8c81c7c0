"""What all channels share: light imports, lazy names, what a run sends at its end."""

from __future__ import annotations

import signal
import sys
import threading

import pytest
from programs import output_of

import processes.comms
from processes import Process, ProcessExecutionReport, Task
from processes.comms import ReportChannel
from processes.comms.after_run import Notifier


class Recorder(ReportChannel):
    def __init__(self):
        self.sent = []

    def send_report(self, report, *, errors_only):
        self.sent.append((report, errors_only))


class Blocked(Recorder):
    """Sends when it is let, as over a slow line."""

    def __init__(self):
        super().__init__()
        self.let = threading.Event()

    def send_report(self, report, *, errors_only):
        assert self.let.wait(60)
        super().send_report(report, errors_only=errors_only)


def report_of(*functions) -> ProcessExecutionReport:
    return Process([Task(f"t{index}", func) for index, func in enumerate(functions)]).run(runner="sequential")


def fail():
    raise ValueError("no")


def test_every_public_name_is_there():
    for name in processes.comms.__all__:
        assert getattr(processes.comms, name).__name__ == name
    assert set(processes.comms.__all__) <= set(dir(processes.comms))
    with pytest.raises(AttributeError, match="has no attribute 'FaxChannel'"):
        processes.comms.FaxChannel  # noqa: B018


def test_importing_the_package_imports_no_library_for_mail_or_pages():
    script = "import sys, processes.comms; print(*sys.modules)"
    loaded = set(output_of([sys.executable, "-c", script]).split())
    assert loaded.isdisjoint({"jinja2", "smtplib", "urllib.request", "http.client", "email", "rich"})


def test_the_report_is_sent_always_or_on_errors():
    good, bad = report_of(int), report_of(int, fail)
    recorder = Recorder()
    Notifier([recorder], "always").send(good)
    Notifier([recorder], "error").send(good)
    Notifier([recorder], "error").send(bad)
    assert [list(report.entries) for report, _ in recorder.sent] == [["t0"], ["t0", "t1"]]


def test_after_an_interrupt_a_slow_channel_does_not_hold_up_the_caller(monkeypatch):
    monkeypatch.setattr(processes.comms.after_run, "INTERRUPT_SECONDS", 0.01)
    blocked, recorder = Blocked(), Recorder()
    process = Process([Task("interrupts", signal.raise_signal, args=(signal.SIGINT,))])
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential", notify=[blocked, recorder])
    assert recorder.sent == []
    blocked.let.set()
    for thread in threading.enumerate():
        if thread.name == "processes-notify":
            assert not thread.daemon
            thread.join(60)
    assert len(blocked.sent) == len(recorder.sent) == 1


def test_wrong_channels_are_refused_before_a_run():
    recorder = Recorder()
    assert Notifier([recorder], "error").channels == (recorder,)
    with pytest.raises(TypeError, match=r"write notify=\[Recorder\(…\)\]"):
        Notifier(recorder, "always")
    for value in (1, "x"):
        with pytest.raises(TypeError, match=rf"notify must be a list of channels, not {value!r}"):
            Notifier(value, "always")
    with pytest.raises(TypeError, match="must hold ReportChannel objects, not 'x'"):
        Notifier(["x"], "always")
    with pytest.raises(ValueError, match="notify_on must be 'always' or 'error', not 'never'"):
        Notifier([], "never")
    for value in (None, True):
        with pytest.raises(TypeError, match=f"notify_on must be str, not {value}"):
            Notifier([], value)


class Broken(ReportChannel):
    def send_report(self, report, *, errors_only):
        raise ConnectionError("no route to host")


def test_warnings_point_to_the_line_that_asked_for_the_report_to_be_sent():
    process = Process([Task("one", int)])

    def in_a_stream():
        for _ in process.stream(notify=[Broken()]):
            pass

    for notify in (
        lambda: process.run(notify=[Broken()]),
        lambda: process.run().notify(Broken()),
        in_a_stream,
    ):
        with pytest.warns(UserWarning, match="Broken could not send the report") as caught:
            notify()
        assert [warning.filename for warning in caught] == [__file__]


def test_a_channel_that_nobody_would_await_is_refused_before_anything_is_sent():
    class Awaited(Recorder):
        async def send_report(self, report, *, errors_only):
            super().send_report(report, errors_only=errors_only)

    ran, recorder = [], Recorder()
    process = Process([Task("one", lambda: ran.append(1))])
    with pytest.raises(TypeError, match=r"Awaited\.send_report is a coroutine function"):
        process.run(notify=[recorder, Awaited()])
    assert ran == []
    with pytest.raises(TypeError, match=r"Awaited\.send_report is a coroutine function"):
        report_of(int).notify(recorder, Awaited())
    assert recorder.sent == []
