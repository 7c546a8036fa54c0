"""The report of `gradlab bench` in a real browser: nothing in the console, every picture there.

The browser is spoken to by its own protocol (https://chromedevtools.github.io/devtools-protocol/)
over a pair of pipes, which needs no driver.
"""

import base64
import json
import os
import shutil
import subprocess
import sys

import pytest
from processes import PATIENCE

fcntl = pytest.importorskip("fcntl")

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
PICTURES = """JSON.stringify([...document.images].map(image => ({
    there: image.complete && image.naturalWidth > 0,
    width: image.getBoundingClientRect().width,
    alt: image.alt,
    cut: image.parentElement.scrollWidth > image.parentElement.clientWidth,
})))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CONTRAST = """JSON.stringify(
    ['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])
)"""
BENCHMARKS = ("accuracy", "functions")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


class Browser:
    """A headless browser with one page, and its console output."""

    def __init__(self, profile):
        reads, tell = os.pipe()
        hear, writes = os.pipe()
        # The browser reads 3 and writes 4: nothing of ours may have these numbers.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'),
                *(CHROMIUM, *QUIET, f"--user-data-dir={profile}"),
            ],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (reads, writes, *theirs):
            os.close(end)
        self._told, self._heard = os.fdopen(tell, "wb"), os.fdopen(hear, "rb")
        self._calls, self._unread, self._session = 0, b"", None
        self.events = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        """Call a method and return its result; earlier messages are events."""
        self._calls += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._calls, "method": method, "params": params, **session}
        self._told.write(json.dumps(message).encode() + b"\0")
        self._told.flush()
        while (answer := self._next()).get("id") != self._calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self._unread:
            more = os.read(self._heard.fileno(), 2**16)
            assert more, "the browser ended"
            self._unread += more
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, path):
        """Load a page, and wait until all its pictures are loaded."""
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression):
        return self("Runtime.evaluate", expression=expression)["result"]["value"]

    def resize(self, width, height):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip

    def reported(self, *methods):
        return [event["params"] for event in self.events if event["method"] in methods]

    def close(self):
        try:
            self("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._told.close()
            self._heard.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A real report of two benchmarks, and of one that cannot be run."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    done = subprocess.run(
        [sys.executable, "-m", "gradlab", "bench", *BENCHMARKS, "--quick", "--output", folder],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "report.html"


@pytest.fixture
def browser(tmp_path):
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_report_without_errors(browser, report, width):
    browser.resize(width, 844)
    browser.open(report)
    pictures = json.loads(browser.evaluate(PICTURES))
    assert len(pictures) == len(BENCHMARKS)
    for picture in pictures:
        assert picture["there"], picture["alt"]
        assert 350 < picture["width"] <= width - 20  # whole, on a phone as well
        assert not picture["cut"], picture["alt"]
    assert browser.evaluate(OVERFLOW) == 0  # wider parts scroll separately
    asked = [event["request"]["url"] for event in browser.reported("Network.requestWillBeSent")]
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1
    assert browser.reported("Log.entryAdded", "Runtime.consoleAPICalled") == []
    assert browser.reported("Runtime.exceptionThrown", "Network.loadingFailed") == []


def test_a_missing_picture_is_detected(browser, report):
    broken = report.with_name("broken.html")
    source = report.read_text("utf-8")
    broken.write_text(source.replace("data:image/svg+xml;base64,", "gone.svg?", 1), "utf-8")
    browser.open(broken)
    assert [picture["there"] for picture in json.loads(browser.evaluate(PICTURES))].count(
        False
    ) == 1
    assert browser.reported("Log.entryAdded", "Network.loadingFailed")


def test_the_report_is_dark_on_request_and_light_on_paper(browser, report):
    seen = {}
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        wish = {"name": "prefers-color-scheme", "value": scheme}
        browser("Emulation.setEmulatedMedia", media=media, features=[wish])
        browser.open(report)
        seen[scheme, media] = json.loads(browser.evaluate(CONTRAST))
    assert seen["dark", "screen"] != seen["light", "screen"] == seen["dark", "print"]


def test_the_report_prints_on_few_pages(browser, report):
    browser.open(report)
    printed = base64.b64decode(browser("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    pages = printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ")
    assert 1 <= pages <= 2 * len(BENCHMARKS) + 1
