"""`lidstudy ui` is a real MLflow server: its runs are found over HTTP, and its page opens in a real browser."""

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.load import load_study
from reports.render import write_report
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
    monkeypatch.setattr(f"reports.load.{setting}", value)
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
    files = write_report(record_of(finished), tmp_path)
    page = browser.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(files.html.as_uri())
    assert requests == [files.html.as_uri()]
    assert errors == []
    assert page.locator("svg").count() >= 3
    header = page.locator("th button").first
    header.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort='ascending'], th[aria-sort='descending']").count() >= 1
    assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getBoundingClientRect().width > 50)")
    page.close()
