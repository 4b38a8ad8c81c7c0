"""The report as a page, in a real browser: it is drawn, it can be used, and nothing in it does harm."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest
from servers import at_work

from processes.error_data import ErrorData
from processes.execution_report import ProcessExecutionReport, TaskReportEntry
from processes.measurements import TaskMetrics
from processes.task_types import TaskStatus

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser is installed: none of {', '.join(NAMES)}"),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--enable-logging=stderr", "--window-size=1280,900", "--dump-dom",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
SECONDS = 120  # a browser's start takes one or two

# It shows pages in a frame each, does there what a user would do, and writes down what came of it.
AROUND = """<!DOCTYPE html><link rel="icon" href="data:,"><pre id="answer"></pre>
<script>
onload = () => {
  const answers = [], loaded = [], frames = document.querySelectorAll("iframe");
  for (const [number, act] of ACTIONS.entries()) {
    const frame = frames[number], view = frame.contentWindow;
    answers.push(act(frame, view, frame.contentDocument));
    loaded.push(...view.performance.getEntriesByType("resource").map((entry) => entry.name));
  }
  document.querySelector("#answer").textContent = JSON.stringify({answers, loaded, harmed: window.harmed});
};
</script>
"""
FRAME = '<iframe src="/{}.html" width="1280" height="900" {}></iframe>'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        text = self.server.pages.get(self.path, b"")
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(pages):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.asked = pages, []
        with at_work(server):
            yield server


class Look(NamedTuple):
    """A page, and what is done there."""

    page: str
    action: str = "return null"
    sandbox: str = ""


@pytest.fixture
def look(tmp_path):
    """Show pages to the browser, which takes a second to start; gives what each action answers.

    And what they have loaded, complained of and done.
    """

    def look(*looks, flags=()):
        actions = ",".join(f"(frame, view, page) => {{ {one.action} }}" for one in looks)
        frames = [FRAME.format(number, one.sandbox) for number, one in enumerate(looks)]
        around = AROUND.replace("ACTIONS", f"[{actions}]") + "".join(frames)
        pages = {f"/{number}.html": one.page.encode() for number, one in enumerate(looks)}
        with serving({"/": around.encode(), **pages}) as server:
            done = subprocess.run(
                [BROWSER, *FLAGS, *flags, f"--user-data-dir={tmp_path / 'profile'}",
                 f"http://127.0.0.1:{server.server_address[1]}/"],
                capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS,
            )  # fmt: skip
            asked = sorted({*server.asked} - {"/", *pages})
        found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
        assert found, done.stderr
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return {**json.loads(html.unescape(found[1])), "said": said, "asked": asked}

    return look


def check_quiet(seen):
    """The pages have loaded nothing, their scripts have not failed, and nothing in them has run."""
    assert seen["said"] == []
    assert seen["loaded"] == []
    assert seen["asked"] == []
    assert seen.get("harmed") is None


def entry(name, status=TaskStatus.SUCCESS, **fields):
    return TaskReportEntry(name, "work", (), {}, status, 1.5, 1, **fields)


def ran(start, end, worker="process-1"):
    return TaskMetrics(1_000 + start, 1_000 + end, 0.25, 0.5, 2**20, worker, 7, "a")


@pytest.fixture
def report():
    data = ErrorData(
        "bad",
        "work",
        (1,),
        {"key": [2]},
        ["late"],
        "boom",
        "Traceback\nValueError: boom",
        {"n": "3"},
        "f.py:1",
    )
    return ProcessExecutionReport(
        {
            "good": entry("good", result=7),
            "bad": entry("bad", TaskStatus.ERRORED, error=data),
            "worse": entry("worse", TaskStatus.ERRORED, error=data),
            "late": entry("late", TaskStatus.SKIPPED),
            "none": entry("none", TaskStatus.PENDING),
        },
        "nightly",
        runner="process",
        elapsed_seconds=3.0,
        metrics={"good": ran(0, 1), "bad": ran(1, 2), "worse": ran(0.5, 0.5001, "process-2")},
        dependencies={"bad": ("good",), "late": ("bad", "good")},
    )


def test_the_look_sees_what_a_page_must_not_do(look):
    seen = look(
        Look(
            "<img src='/image.png' onerror='top.harmed = 1'><script>console.error('no');</script>"
            "<script src='http://127.0.0.1:9/x.js'></script>"
        )
    )
    assert seen["harmed"] == 1
    assert any("no" in line for line in seen["said"])
    assert [one.rpartition("/")[2] for one in seen["loaded"]] == ["image.png", "x.js"]
    assert seen["asked"] == ["/image.png"]


# The least contrast of any text on the page with what is behind it, as WCAG has it, and where that is.
CONTRAST = """
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const parts = (color) => color.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  const shape = element.namespaceURI.endsWith("svg") && element.parentElement.querySelector(":scope > rect");
  if (shape) return parts(view.getComputedStyle(shape).fill);
  for (let one = element; one; one = one.parentElement) {
    const color = parts(view.getComputedStyle(one).backgroundColor);
    if (color.length === 3) return color;
  }
};
let least = [99, ""], count = 0;
for (const element of page.body.querySelectorAll("*")) {
  const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
  const text = texts.map((node) => node.data).join("");
  if (!text.trim() || ["SCRIPT", "title"].includes(element.tagName)) continue;
  const style = view.getComputedStyle(element);
  const color = parts(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const [dark, light] = [luminance(color), luminance(behind(element))].sort((a, b) => a - b);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < least[0]) least = [ratio, `${element.tagName} ${text}`];
  count++;
}
return {least, count, page: view.getComputedStyle(page.body).backgroundColor};
"""


VISIBLE = """
const rows = () => [...page.querySelectorAll(".tasks tbody tr")];
const isShown = (row) => row.getClientRects().length;
const shown = () => rows().filter(isShown).map((row) => row.cells[1].textContent);
"""

# What can be done on a page, and what is there then.
USES = {
    "a failure is unfolded by a click, and by the link of its row": (
        """
        const failures = [...page.querySelectorAll(".failure")];
        const state = () => failures.map((failure) => failure.open);
        const states = [state()];
        failures[0].querySelector("summary").click();
        states.push(state());
        page.querySelector(`.tasks a[href="#failure-3"]`).click();
        states.push(state());
        return [...states, page.querySelector(":target").textContent.includes("ValueError: boom")];
        """,
        [[True, False], [False, False], [False, True], True],
    ),
    "tasks are filtered, searched and sorted": (
        VISIBLE
        + """
        const states = [shown()];
        page.getElementById("show-errored").click();
        states.push(shown());
        const find = page.getElementById("find");
        find.value = " GOOD ";
        find.dispatchEvent(new Event("input", {bubbles: true}));
        const found = page.getElementById("found");
        states.push(shown(), found.textContent);
        page.getElementById("show-success").click();
        states.push(found.textContent);
        page.getElementById("show-success").click();
        page.getElementById("show-errored").click();
        states.push(found.textContent);
        find.value = "";
        find.dispatchEvent(new Event("input", {bubbles: true}));
        states.push(found.textContent);
        const heads = [...page.querySelectorAll(".tasks thead button")];
        heads[0].click();
        states.push(shown());
        heads[0].click();
        states.push(shown());
        heads[1].click();
        states.push(shown(), heads.map((head) => head.parentElement.ariaSort));
        return states;
        """,
        [
            ["bad", "worse", "late", "none", "good"],
            ["late", "none", "good"],
            ["good"],
            "1 of 5",
            "0 of 5",
            "1 of 5",
            "",
            ["good", "bad", "worse", "late", "none"],
            ["none", "late", "worse", "bad", "good"],
            ["bad", "good", "late", "none", "worse"],
            [None, "ascending", *[None] * 9],
        ],
    ),
    "what a mouse can do a keyboard can": (
        """
        const can = [...page.querySelectorAll("a[href], button, input, summary, [tabindex='0']")];
        return can.filter((one) => one.tabIndex < 0).map((one) => one.getAttribute("href"));
        """,
        # The bars of the timeline: rows of the table have the same links, and there may be thousands.
        ["#task-1", "#task-2", "#task-3"],
    ),
    "it is as wide as a phone": (
        "frame.width = 360; return [page.documentElement.scrollWidth <= 360, view.innerWidth];",
        [True, 360],
    ),
}


def check_readable(answer, behind):
    assert answer["page"] == behind
    assert answer["count"] > 80
    assert answer["least"][0] >= 4.5, answer["least"]


def test_a_page_can_be_used_and_all_its_text_read(look, report):
    page = report.to_html()
    seen = look(*(Look(page, action) for action, _ in USES.values()), Look(page, CONTRAST))
    check_quiet(seen)
    *answers, contrast = seen["answers"]
    for (use, (_, expected)), answer in zip(USES.items(), answers, strict=True):
        assert answer == expected, use
    check_readable(contrast, "rgb(243, 244, 246)")


def test_all_text_can_be_read_in_the_dark_and_without_scripts_all_be_used_but_search_and_sort(look, report):
    action = """
        page.getElementById("show-success").click();
        page.querySelector(".failure summary").click();
        const search = page.getElementById("find").getClientRects().length;
        return [shown(), page.querySelector(".failure").open, search, page.querySelectorAll("button").length];
    """
    page = report.to_html()
    without_scripts = Look(page, VISIBLE + action, 'sandbox="allow-same-origin"')
    seen = look(Look(page, CONTRAST), without_scripts, flags=(DARK,))
    (line,) = seen.pop("said")
    assert "Blocked script execution" in line
    check_quiet({**seen, "said": []})
    contrast, answer = seen["answers"]
    check_readable(contrast, "rgb(15, 23, 42)")
    assert answer == [["bad", "worse", "late", "none"], False, 0, 0]


def test_on_paper_failures_are_unfolded_and_each_sheet_of_the_table_has_its_heads(report, tmp_path):
    pypdf = pytest.importorskip("pypdf", reason="reads what was printed")
    report.entries.update({f"more-{number}": entry(f"more-{number}") for number in range(100)})
    report.to_html(tmp_path / "page.html")
    subprocess.run(
        [BROWSER, *FLAGS, f"--print-to-pdf={tmp_path / 'page.pdf'}",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()],
        capture_output=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    sheets = [sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages]
    assert "".join(sheets).count("args[0] 1") == 2
    with_rows = [sheet for sheet in sheets if "more-" in sheet]
    assert len(with_rows) > 2
    assert all(sheet.count("Result or error") == 1 for sheet in with_rows)


def test_thousands_of_tasks_are_shown_in_bounded_time(look):
    names = [f"task-{number}" for number in range(2_000)]
    entries = {
        name: entry(
            name, TaskStatus.ERRORED, error=ErrorData(name, exception="boom", traceback_str="T" * 500)
        )
        if number % 50 == 0
        else entry(name, result=[number] * 20)
        for number, name in enumerate(names)
    }
    metrics = {
        name: ran(number / 1_000, number / 1_000 + 0.01, f"process-{number % 16}")
        for number, name in enumerate(names)
    }
    report = ProcessExecutionReport(
        entries,
        "large",
        elapsed_seconds=12.0,
        metrics=metrics,
        dependencies={name: (names[number // 2],) for number, name in enumerate(names) if number},
    )
    action = """
        const count = shown().length;
        const start = performance.now();
        page.querySelectorAll(".tasks thead button")[4].click();
        page.getElementById("show-success").click();
        const failed = shown().length;
        const found = page.getElementById("find");
        found.value = "task-19";
        found.dispatchEvent(new Event("input", {bubbles: true}));
        const timing = view.performance.getEntriesByType("navigation")[0];
        return {
          count, failed, found: shown().length,
          used: performance.now() - start, loaded: timing.domContentLoadedEventEnd - timing.responseEnd,
        };
    """
    seen = look(Look(report.to_html(), VISIBLE + action))
    check_quiet(seen)
    (answer,) = seen["answers"]
    assert (answer["count"], answer["failed"], answer["found"]) == (2_000, 40, 2)
    assert answer["loaded"] < 30_000  # milliseconds; it takes less than one second where nothing else runs
    assert answer["used"] < 30_000


HARM = "top.harmed=1"
HOSTILE = [
    f"<script>{HARM}</script>",
    f"</script><script>{HARM}</script>",
    f"</style></title></pre><script>{HARM}</script>",
    f'"><img src=/x onerror={HARM}>',
    f"'><svg onload={HARM}>",
    f"--><script>{HARM}</script><!--",
    f"&lt;script&gt;{HARM}&lt;/script&gt;",
    f"javascript:{HARM}",
    "<iframe src=/x>",
    "<link rel=stylesheet href=/x>",
    "<base href=http://127.0.0.1:9/>",
    "<style>@import '/x'</style>",
    "url(/x)",
    "{{ 7 * 7 }}{% raw %}{#",
    "\u202efdp.exe\u2066\u2067\u202c",
    "\ud800\udfff",
    "\x00\x1b[31m\x07\x9b",
    "]]>",
    "`${7}`",
    "x" * 100_000,
]


def hostile_report():
    """Each text stands wherever a user's words can stand."""
    entries, metrics, dependencies = {}, {}, {}
    for number, text in enumerate(HOSTILE):
        name = f"{number}{text}"
        data = ErrorData(
            name,
            text,
            (text,),
            {text: {text: text}},
            [text],
            text,
            f"Traceback\nE: {text}",
            {text: text},
            text,
        )
        entries[name] = TaskReportEntry(name, text, (), {}, TaskStatus.ERRORED, 1.0, 1, None, data)
        metrics[name] = TaskMetrics(1_000 + number, 1_001 + number, 0, 0, 0, text, 7, text)
        good = f"good {name}"
        entries[good] = TaskReportEntry(good, text, (), {}, TaskStatus.SUCCESS, 1.0, 1, text)
        dependencies[good] = (name,)
    all_texts = "".join(HOSTILE[:-1])
    return ProcessExecutionReport(
        entries, all_texts, runner=all_texts, metrics=metrics, dependencies=dependencies
    )


def test_hostile_texts_do_nothing_and_can_be_read(look):
    text = hostile_report().to_html()
    assert len(text) < 5_000_000
    assert not set("\u202e\u2066\u2067\u202c\x00\x1b\x07\x9b") & set(text)
    text.encode()
    # Without its policy too, so that it is the escaping that keeps them from doing anything.
    unguarded, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n', "", text)
    assert count == 1
    action = """
        const all = (selector) => page.querySelectorAll(selector).length;
        for (const details of page.querySelectorAll("details")) details.open = true;
        return {
          foreign: all("img, iframe, base, svg[onload], body script ~ *, link:not([href='data:,'])"),
          scripts: all("script"), styles: all("style"),
          rows: all(".tasks tbody tr"), nodes: all(".graph text"),
          heads: [...page.querySelectorAll(".failure h3")].map((one) => one.textContent),
          title: page.title, characters: page.characterSet, mode: page.compatMode,
        };
    """
    seen = look(Look(text, action), Look(unguarded, action))
    check_quiet(seen)
    answer, of_unguarded = seen["answers"]
    assert of_unguarded == answer
    assert (answer["foreign"], answer["scripts"], answer["styles"]) == (0, 1, 1)
    assert answer["rows"] == 2 * len(HOSTILE)
    assert answer["nodes"] == 4 * len(HOSTILE)
    assert (answer["characters"], answer["mode"]) == ("UTF-8", "CSS1Compat")
    assert answer["heads"][0] == f"0<script>{HARM}</script>"
    assert answer["heads"][14] == "14\\u202efdp.exe\\u2066\\u2067\\u202c"
    assert answer["heads"][15] == "15\\ud800\\udfff"
    assert answer["heads"][16] == "16\\x00\\x1b[31m\\x07\\x9b"
    assert answer["title"].startswith(f"<script>{HARM}</script>")
