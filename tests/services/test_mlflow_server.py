"""`lidstudy ui` is a real MLflow server: its runs are found over HTTP, and its page opens in a real browser."""

import dataclasses
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from reports.load import load_study
from reports.render import write_report
from study.clips import clips_of
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, run_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def finished(shared_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished study."""
    folder = tmp_path_factory.mktemp("finished")
    workspace = folder / "workspace"
    workspace.mkdir()
    for name in ("corpora", "features"):
        (workspace / name).symlink_to(shared_speech / name)
    run_study(write_tiny_study(folder, trials=3), workspace)
    return workspace


@pytest.fixture(scope="module")
def address(finished: Path) -> Iterator[str]:
    """The training view's address, as `lidstudy ui` prints it, once the server answers."""
    port = free_port()
    command = [sys.executable, "-c", "from study.cli import main; main()", "ui", "--port", str(port)]
    server = subprocess.Popen([*command, "--workspace", str(finished)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = server.stdout.readline()
    wait_for(f"http://127.0.0.1:{port}/health")
    yield line.removeprefix("tiny: ").strip()
    server.send_signal(2)
    server.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright  # of the extra `services`, which plain tests do without

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    pause = threading.Event()
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError):
            pause.wait(0.1)
    pytest.fail(f"{url} does not answer")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("_LOADERS", 8),
        ("_RUNS_A_REQUEST", 1),
        ("_POINTS_A_REQUEST", 1),
        ("_BULK", "/ajax-api/2.0/mlflow/no-such-request"),
    ],
    ids=["all at once", "one by one", "what is cut short is asked for again", "a server without the request"],
)
def test_the_runs_are_found_over_http(
    address: str, finished: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: object
) -> None:
    monkeypatch.setattr(f"reports.mlflow_histories.{setting}", value)
    remote = load_study("tiny", tracking_uri=address.split("/#/", maxsplit=1)[0])
    local = record_of(finished)
    assert [run.run_id for run in remote.trials] == [run.run_id for run in local.trials]
    assert remote.trials == local.trials
    assert remote.scores_test == local.scores_test


def test_the_training_view_shows_the_runs(address: str, browser: "Browser") -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(address)
    page.get_by_text("tiny-000").first.wait_for(timeout=60_000)
    assert page.get_by_text("tiny-002").count() >= 1
    page.close()


def test_the_report_opens_offline_without_a_request_or_an_error(
    finished: Path, browser: "Browser", tmp_path: Path
) -> None:
    record = record_of(finished)
    record = dataclasses.replace(record, clips=clips_of(record, finished))
    files = write_report(record, tmp_path)
    page = browser.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(files.html.as_uri())
    page.wait_for_function("[...document.querySelectorAll('audio')].every(each => each.readyState > 0)")
    assert page.locator("audio").count() == len(record.clips)
    assert page.evaluate("[...document.querySelectorAll('audio')].every(each => each.duration > 0.5)")
    assert [url for url in requests if not url.startswith("data:")] == [files.html.as_uri()]
    assert errors == []
    assert page.locator("svg").count() >= 3
    header = page.locator("th button").first
    header.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort='ascending'], th[aria-sort='descending']").count() >= 1
    assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getBoundingClientRect().width > 50)")
    page.close()


CONTRAST = """
([text, ground]) => {
  const light = (color) => {
    const shares = color.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255);
    const [r, g, b] = shares.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_light_and_on_dark(
    finished: Path,
    browser: "Browser",
    tmp_path: Path,
    scheme: Literal["light", "dark"],
) -> None:
    """At least 4.5 to 1, as WCAG 2.1 asks of text."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(write_report(record_of(finished), tmp_path).html.as_uri())
    ground = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    for selector in ("section h2", "section p", "td", "th button", "caption", "figcaption", "nav a"):
        text = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
        assert page.evaluate(CONTRAST, [text, ground]) >= 4.5, selector
    behind = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark_page = page.evaluate(CONTRAST, [behind, "rgb(0,0,0)"])
    assert (dark_page < 3.0) is (scheme == "dark")
    page.close()


def test_the_report_prints_without_navigation_and_within_its_page(
    finished: Path, browser: "Browser", tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 794, "height": 1123})  # A4 at 96 dots an inch
    page.goto(write_report(record_of(finished), tmp_path).html.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


def test_the_report_is_used_by_keyboard_and_read_aloud(finished: Path, browser: "Browser", tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(write_report(record_of(finished), tmp_path).html.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the first stop leads past the contents"
    target = page.evaluate("document.activeElement.getAttribute('href')")
    assert page.locator(target).count() == 1
    pictures = page.locator("figure svg")
    assert pictures.count() >= 3
    for number in range(pictures.count()):
        assert pictures.nth(number).get_attribute("role") == "img"
        assert pictures.nth(number).get_attribute("aria-label")
    assert page.locator("table:not(:has(caption))").count() == 0
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"
    page.close()
