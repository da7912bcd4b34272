"""report.html in a real headless Chromium: no console error, no request leaves the page, everything can be used."""

import base64
import json
import shutil
import time
from pathlib import Path

import pytest

from glotune.report.content import gather
from glotune.report.page import render_page
from glotune.run.data import load_run
from made_runs import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
selenium = pytest.importorskip("selenium", reason="needs the package selenium")
pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the path"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1200,900",
)  # fmt: skip
OWN = ("chrome://", "chrome-untrusted://", "data:", "devtools://")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")  # its cold start is no page's
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    labels = ("negative", "<b>neutral</b>", "ইতিবাচক")
    contents = {
        "one": [gather(load_run(make_run(folder / "one", "sound", languages={"en": 0.8, "bn": 0.6, "ar": 0.65})))],
        "hostile": [gather(load_run(make_run(folder / "hostile", "sound", hostile=True, labels=labels, epochs=2)))],
        "running": [gather(load_run(make_run(folder / "running", "running")))],
        "several": [
            gather(load_run(make_run(folder / kind, kind, name=f"run-{kind}", epochs=3)))
            for kind in ("sound", "collapsed", "overfit")
        ],
    }
    table = {
        "columns": [{"name": "Run", "numeric": False}, {"name": "F1", "numeric": True}],
        "rows": [
            [
                {"text": name, "value": None, "best": name == "b"},
                {"text": f"{value:.1f}", "value": value, "best": False},
            ]
            for name, value in (("a", 3.0), ("b", 20.0), ("c", 11.0))
        ],
        "notes": ["A note."],
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(render_page(content, f"Page {name}", [table] if name == "several" else []))
    return paths


def opened(browser, path: Path, width: int = 1200):
    browser.get_log("browser"), browser.get_log("performance")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(path.as_uri())
    browser.find_element("id", "mistakes")
    return browser


def loading_seconds(browser, path: Path) -> float:
    """From the start of the navigation to the end of the load event, by the page's own clock; the better of two."""
    took = "return performance.getEntriesByType('navigation')[0].duration / 1000"
    seconds = [script(opened(browser, path), took) for _ in range(2)]
    assert min(seconds) > 0, "the load event has ended"
    return min(seconds)


def requests(browser) -> list[str]:
    """What was asked for since the page was opened, less what its policy stopped before it was sent."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    failed = [each["params"] for each in messages if each["method"] == "Network.loadingFailed"]
    blocked = {each["requestId"] for each in failed if each.get("blockedReason") == "csp"}
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    urls = [each["request"]["url"] for each in sent if each["requestId"] not in blocked]
    return [url for url in urls if not url.startswith(OWN)]


def script(browser, text: str, *arguments):
    return browser.execute_script(text, *arguments)


def texts(browser, selector: str) -> list[str]:
    return script(browser, "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)


@pytest.mark.parametrize("name", ["one", "hostile", "running", "several"])
def test_loads_fast_without_errors_and_without_requests(browser, pages, name):
    assert loading_seconds(browser, pages[name]) < 3
    assert browser.get_log("browser") == []
    assert requests(browser) == [pages[name].as_uri()]
    assert "null" not in [text.strip() for text in texts(browser, "main > *, main section > *")]


def test_nothing_can_leave_the_page_even_when_asked_to(browser, pages):
    opened(browser, pages["one"])
    script(
        browser,
        "const i = new Image(); i.src = 'http://192.0.2.1/x.png'; document.body.append(i);"
        "const s = document.createElement('script'); s.textContent = 'window.__owned = 9'; document.body.append(s);"
        "fetch('http://192.0.2.1/').catch(() => { window.__refused = true; });",
    )
    deadline = time.monotonic() + 30
    while not script(browser, "return window.__refused ?? false"):
        assert time.monotonic() < deadline, "the request was not refused"
        time.sleep(0.05)
    assert script(browser, "return window.__owned") is None
    assert requests(browser) == [pages["one"].as_uri()]


def test_hostile_text_is_shown_and_does_nothing(browser, pages):
    opened(browser, pages["hostile"])
    assert script(browser, "return window.__owned") is None
    assert script(browser, "return document.querySelectorAll('main img, main script, main b b').length") == 0
    shown = "\n".join(texts(browser, "td.text"))
    assert "</script><script>window.__owned = 1</script>" in shown
    assert "<b>neutral</b>" in "\n".join(texts(browser, "#mistakes td"))
    search = browser.find_element("id", "search")
    search.send_keys("<img src=x")
    assert texts(browser, "mark")
    assert script(browser, "return document.querySelectorAll('main img').length") == 0


def test_texts_stand_in_their_own_direction_and_language(browser, pages):
    opened(browser, pages["one"])
    found = script(browser, "return [...document.querySelectorAll('td.text')].map((e) => [e.lang, e.dir])")
    assert {(language, way) for language, way in found} == {("ar", "rtl"), ("bn", "ltr"), ("en", "ltr")}


def test_languages_are_picked(browser, pages):
    opened(browser, pages["one"])
    before = len(texts(browser, "#training path.line"))
    chip = browser.find_element("css selector", "[data-value='bn']")
    assert chip.get_attribute("aria-pressed") == "true"
    chip.click()
    assert browser.find_element("css selector", "[data-value='bn']").get_attribute("aria-pressed") == "false"
    assert len(texts(browser, "#training path.line")) == before - 2  # validation and test
    assert "bn" not in script(browser, "return [...document.querySelectorAll('td.text')].map((e) => e.lang)")
    assert not any("Bangla" in text for text in texts(browser, "#charts text"))


def test_runs_are_picked(browser, pages):
    opened(browser, pages["several"])
    rows = len(texts(browser, "#results tbody tr"))
    browser.find_element("css selector", ".chip[data-value='1']").click()
    assert len(texts(browser, "#results tbody tr")) == rows * 2 // 3
    assert any("collapsed" in text for text in texts(browser, ".verdict"))


def test_tables_sort_by_number_and_back(browser, pages):
    opened(browser, pages["several"])
    head = "#runs th:nth-child(2) button"
    browser.find_element("css selector", head).click()
    assert texts(browser, "#runs tbody td:nth-child(2)") == ["20.0", "11.0", "3.0"]
    browser.find_element("css selector", head).click()
    assert texts(browser, "#runs tbody td:nth-child(2)") == ["3.0", "11.0", "20.0"]
    assert browser.find_element("css selector", "#runs th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    assert texts(browser, "#runs strong") == ["b"]


def test_mistakes_are_searched_in_their_own_script(browser, pages):
    opened(browser, pages["one"])
    total = int(texts(browser, "#found")[0].split(" ")[0])
    search = browser.find_element("id", "search")
    search.send_keys("বাসটি")
    found = int(texts(browser, "#found")[0].split(" ")[0])
    assert 0 < found < total
    assert set(script(browser, "return [...document.querySelectorAll('td.text')].map((e) => e.lang)")) == {"bn"}
    assert set(texts(browser, "mark")) == {"বাসটি"}
    search.send_keys(" nothing like this")
    assert texts(browser, "#found")[0].startswith("0 found")


def test_mistakes_are_ordered_by_loss_or_confidence(browser, pages):
    opened(browser, pages["one"])
    losses = [float(text) for text in texts(browser, "#mistakes td[data-name='Loss']")]
    assert losses == sorted(losses, reverse=True)
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("css selector", "#mistakes select")).select_by_value("confidence")
    confidences = [float(text.split()[0]) for text in texts(browser, "#mistakes td[data-name='Confidence']")]
    assert confidences == sorted(confidences, reverse=True)
    browser.find_element("id", "more").click()
    assert len(texts(browser, "#mistakes td.text")) > 40


def test_marks_tell_their_numbers_to_mouse_and_keyboard(browser, pages):
    opened(browser, pages["one"])
    from selenium.webdriver.common.action_chains import ActionChains

    mark = browser.find_element("css selector", "#charts .focus")
    script(browser, "arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).perform()
    tip = browser.find_element("id", "tooltip")
    assert tip.is_displayed()
    assert "Macro-F1" in tip.text
    assert "n = 240" in tip.text
    ActionChains(browser).move_by_offset(0, -400).perform()
    script(browser, "arguments[0].focus()", mark)
    assert tip.is_displayed()
    assert mark.get_attribute("aria-label").startswith("English (en)")


def test_the_theme_changes_and_follows_the_system(browser, pages):
    opened(browser, pages["one"])
    paper = "return getComputedStyle(document.body).backgroundColor"
    assert script(browser, paper) == "rgb(255, 255, 255)"
    browser.find_element("id", "theme").click()
    assert script(browser, paper) == "rgb(15, 19, 24)"
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    opened(browser, pages["one"])
    assert script(browser, paper) == "rgb(15, 19, 24)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_needs_no_sideways_scrolling(browser, pages):
    opened(browser, pages["one"], width=360)
    assert script(browser, "return document.documentElement.scrollWidth - innerWidth") <= 0
    sizes = script(
        browser,
        "return [...document.querySelectorAll('svg text')].map((e) => e.getBoundingClientRect().height)",
    )
    assert min(size for size in sizes if size) >= 11
    assert browser.find_element("css selector", "#mistakes td.text").size["width"] > 250


def test_it_prints_with_its_details_open(browser, pages):
    opened(browser, pages["one"])
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert script(browser, "return [...document.querySelectorAll('details')].every((e) => e.open)")


def test_many_languages_load_fast(browser, tmp_path):
    codes = "en ar bg bn de el es fa fi fr hi id it ja ko pt ru sw ta th tr ur vi yo zh"
    accuracy = {code: 0.6 + 0.01 * place for place, code in enumerate(codes.split())}
    run = load_run(make_run(tmp_path / "many", "sound", languages=accuracy, n=400, epochs=2))
    page = tmp_path / "many.html"
    page.write_text(render_page([gather(run)], "many"))
    assert loading_seconds(browser, page) < 3
    rows = texts(browser, "#results tbody tr")
    assert len(rows) == 25 + 1
    assert rows[-1].startswith("Mean of the 24 target languages")
    assert len(texts(browser, ".chip[aria-pressed='true']")) == 8
