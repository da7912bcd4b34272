"""`glotune monitor --web` in a headless browser: live, chosen by hand, and nothing asked of anyone else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_events import event
from made_runs import make_run

pytestmark = pytest.mark.extras
pytest.importorskip("selenium", reason="needs the extra 'test-extras'")
if shutil.which("chromedriver") is None:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1000,900",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    make_run(tmp_path / "runs" / "live", "running")
    make_run(tmp_path / "runs" / "done", "sound")
    program = "import sys; from glotune.cli.main import run; run()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, "monitor", str(tmp_path / "runs"), "--web"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.send_signal(2)
    assert server.wait(60) == 0
    server.stdout.close()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def text(browser: Any, name: str) -> str:
    found = browser.execute_script("return document.getElementById(arguments[0]).textContent", name)
    assert isinstance(found, str)
    return found


def report(browser: Any) -> str:
    found = browser.execute_script("return document.getElementById('report').contentDocument?.body?.innerText ?? ''")
    assert isinstance(found, str)
    return found


def test_the_page_is_live_and_asks_nobody_else(browser: Any, link: str, tmp_path: Path) -> None:
    assert link.startswith("http://127.0.0.1:")
    browser.get(link)
    assert "token" not in browser.current_url
    until(lambda: "made-sound" in report(browser) or "made-running" in report(browser))
    browser.execute_script(
        """const runs = document.getElementById("runs");
        runs.value = [...runs.options].find((option) => option.text.startsWith("live")).value;
        runs.dispatchEvent(new Event("change"));"""
    )
    until(lambda: "made-running" in report(browser))
    assert "crashed" in text(browser, "facts")
    assert "glotune resume" in text(browser, "alarms")
    with (tmp_path / "runs" / "live" / "events.jsonl").open("a") as file:
        file.write(event("step", 61, loss=0.4).model_dump_json() + "\n")
        alert = event("alert", 61, what="collapsed", message="one class only, said live")
        file.write(alert.model_dump_json() + "\n")
        scores = event("evaluation", 61, key="validation/bn", n=10, loss=1.0, macro_f1=0.123456)
        file.write(scores.model_dump_json() + "\n")
    until(lambda: "said live" in text(browser, "alarms"))
    whole = "return document.getElementById('report').contentDocument.documentElement.outerHTML"
    until(lambda: "0.123456" in browser.execute_script(whole))
    assert "step 61" in text(browser, "facts")
    asked = [line["message"] for line in browser.get_log("performance") if "requestWillBeSent" in line["message"]]
    hosts = {part.split("/")[2] for line in asked for part in line.split('"url":"')[1:2] if part.startswith("http")}
    assert hosts == {link.split("/")[2]}
    browser.save_screenshot(str(tmp_path / "page.png"))
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []


def test_without_the_token_there_is_nothing_to_see(browser: Any, link: str) -> None:
    browser.delete_all_cookies()
    browser.get(link.split("?")[0])
    assert "holds the token" in browser.page_source
    assert "made" not in browser.page_source
