"""Send a report: to a webhook that this script serves itself, and as a page to look at.

Prints::

    fetch errored: https://example.org/rows refuses <redacted>
    count skipped
    other success
    The mail would look like report.html
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from processes import Process, Task, results_of
from processes.comms import HTMLEmailStyle, WebhookChannel, WebhookConfig, render_report_html


class Receiver(BaseHTTPRequestHandler):
    """Prints what it gets."""

    def do_POST(self) -> None:
        """Take a report."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for name, entry in body["entries"].items():
            reason = f": {entry['error']['exception']}" if "error" in entry else ""
            print(f"{name} {entry['status']}{reason}")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def fetch(url: str, api_token: str) -> list[int]:
    raise ConnectionError(f"{url} refuses {api_token}")


def main() -> None:
    tasks = [
        Task("fetch", fetch, kwargs={"url": "https://example.org/rows", "api_token": "tok-4f9a8c2e"}),
        Task("count", len, dependencies=results_of("fetch")),
        Task("other", sum, args=([1, 2, 3],)),
    ]
    report = Process(tasks, "example").run()
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        report.notify(WebhookChannel(WebhookConfig(f"http://127.0.0.1:{server.server_address[1]}/")))
        thread.join()
    page = Path("report.html")
    page.write_text(render_report_html(report, HTMLEmailStyle("catppuccin", "en")), encoding="utf-8")
    print(f"The mail would look like {page}")


if __name__ == "__main__":
    main()
