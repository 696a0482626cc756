"""The page in a real browser."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from rayjob.output.store import TableStore
from tests.support.outputs import caption, failure
from tests.support.reports import make_run, page_of, render
from tools.browser import MISSING, find_browser

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PLAN = {"num_frames": 6, "max_pixels": 12_544, "audio_rate": 16_000}


# Per module: Playwright keeps an event loop running in this thread for as long as it lives,
# which asynchronous tests of other modules do not stand.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser(Path(sys.executable))
    if program is None:
        pytest.fail(MISSING)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=[*FLAGS], timeout=60_000
        )
        yield chromium
        chromium.close()


class Asked(ThreadingHTTPServer):
    """A server that markup in the data points to; remembers what it was asked for.

    It gives out ``pages`` too: browsers may keep a page from elsewhere off a local server.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Asked

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def outside() -> Iterator[Asked]:
    with Asked() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hostile(url: str, name: str) -> str:
    return (
        f'</p></script><script>window.hacked = "{name}"</script>'
        f"<img src='{url}/{name}.png' onerror=\"window.hacked='{name}'\">"
        f'" onclick="window.hacked=1" {{{{ 7654321 * 3 }}}} <b>bold</b>'
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, outside: Asked) -> Path:
    """Three videos: one ok, with a structured answer; one with clips; one made by an enemy."""
    folder = tmp_path_factory.mktemp("report")
    store = TableStore(folder / "out")
    plain, windows, enemy = (str(path) for path in render(folder / "videos", 3))
    bad = {name: hostile(outside.url, name) for name in ("id", "caption", "reason", "chip", "meta")}
    structured = {"shot_type": "long shot", "subjects": [{"type": bad["chip"]}]}
    make_run(
        store,
        "r1",
        config={
            "recipe": {
                "name": "omni",
                "plan": PLAN,
                "system_prompt": hostile(outside.url, "config"),
            }
        },
        captions={
            "omni": [
                caption("plain.mp4", uri=plain, caption="A red circle moves up. " + 99 * "wide"),
                caption("windows.mp4", uri=windows, caption="A square. Cut o",
                        caption_status="truncated", status_reason="cut off"),
                caption(bad["id"], uri=enemy, caption=bad["caption"], caption_status="invalid",
                        status_reason=bad["reason"], metadata=json.dumps({"m": bad["meta"]})),
            ],
            "structured": [
                caption("plain.mp4", uri=plain, caption="{}",
                        structured=json.dumps({"shot_type": "close up"})),
                caption(bad["id"], uri=enemy, caption="{}", structured=json.dumps(structured)),
            ],
            "clips": [
                caption("windows.mp4", uri=windows, level="clip", index=index,
                        start_sec=index / 2, end_sec=index / 2 + 1, caption=f"Window {index}.")
                for index in range(6)
            ],
        },
        failures=[failure(bad["id"] + "2", message=hostile(outside.url, "message"))],
    )  # fmt: skip
    page = folder / "report.html"
    page.write_text(page_of(store, "r1"), "utf-8")
    return page


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri())
    yield page
    context.close()


def shown(page: Page) -> list[str]:
    """Names of the videos that can be seen; of the enemy's its first characters."""
    return sorted(text[:11] for text in page.locator(".card:visible h3").all_inner_texts())


PLAIN, WINDOWS, ENEMY = "plain.mp4", "windows.mp4", "</p></scrip"


def test_filters_by_recipe(page: Page) -> None:
    assert shown(page) == sorted([PLAIN, WINDOWS, ENEMY])
    page.select_option("#filter-recipe", "structured")
    assert shown(page) == sorted([PLAIN, ENEMY])
    assert page.locator(".caption:visible").count() == 2
    page.select_option("#filter-recipe", "clips")
    assert shown(page) == [WINDOWS]
    assert page.locator(".caption:visible").count() == 6, "the folded ones are unfolded"
    assert page.locator("#shown").inner_text() == "1 of 3 videos"


def test_filters_by_status(page: Page) -> None:
    page.select_option("#filter-status", "truncated")
    assert shown(page) == [WINDOWS]
    assert page.locator(".caption:visible").inner_text().count("cut off") == 1
    page.select_option("#filter-recipe", "structured")
    assert shown(page) == []
    assert page.locator("#nothing").is_visible()
    page.click("#reset")
    assert len(shown(page)) == 3


def test_filters_by_text(page: Page) -> None:
    page.fill("#filter-text", "RED circle")
    assert shown(page) == [PLAIN]
    assert page.evaluate("CSS.highlights.get('found').size") == 1
    page.fill("#filter-text", "windows.mp")
    assert shown(page) == [WINDOWS]
    page.fill("#filter-text", "<script>window.hacked")
    assert shown(page) == [ENEMY]
    page.fill("#filter-text", "close up")
    assert shown(page) == [PLAIN], "chips are searched too"


def test_markup_and_script_in_the_data_stay_text(page: Page, outside: Asked) -> None:
    said = page.evaluate("document.body.textContent")
    for name in ("id", "caption", "reason", "chip", "message"):
        assert hostile(outside.url, name) in said, name
    assert f"{outside.url}/meta.png" in said
    assert f"{outside.url}/config.png" in said
    card = page.locator(".card", has_text="caption.png")
    card.locator("h3").click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main b", has_text="bold").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("[onclick], [onerror]").count() == 0
    assert "22962963" not in card.inner_text()


def test_nothing_leaves_the_page(browser: Browser, report: Path, outside: Asked) -> None:
    outside.paths.clear()
    outside.pages = {
        "/report.html": report.read_bytes(),
        "/free.html": hostile(outside.url, "free").encode(),
    }
    context = browser.new_context()
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{outside.url}/report.html", wait_until="networkidle")
    page.fill("#filter-text", "a")
    page.mouse.wheel(0, 20_000)
    assert {url for url in requests if not url.startswith("data:")} == {requests[0]}
    # Even markup that got in could load nothing and run nothing: the page's policy.
    page.evaluate(
        """html => new Promise(done => {
            document.body.insertAdjacentHTML("beforeend", html);
            setTimeout(done, 300);
        })""",
        hostile(outside.url, "inserted"),
    )
    assert page.locator("img[src$='inserted.png']").count() == 1
    assert page.evaluate("window.hacked") is None
    assert outside.paths == ["/report.html"]
    # The same markup without that policy is noticed by what this test looks at.
    free = context.new_page()
    free.goto(f"{outside.url}/free.html", wait_until="networkidle")
    assert free.evaluate("window.hacked") == "free"
    assert "/free.png" in outside.paths
    context.close()


def test_shows_frames_sound_and_windows(page: Page) -> None:
    card = page.locator(".card", has_text="windows.mp4")
    frames = card.locator(".frames img")
    assert frames.count() == PLAN["num_frames"]
    assert frames.evaluate_all("all => all.every(one => one.naturalWidth > 50)")
    assert card.locator(".frames span").first.inner_text() == "0.0 s"
    assert card.locator(".wave").count() == 1
    assert card.locator("rect.window").count() == 6
    last = card.locator(".caption", has_text="Window 5.")
    assert not last.is_visible()
    card.locator("rect.window").last.click()
    assert last.is_visible()
    assert "picked" in (last.get_attribute("class") or "")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_its_window(browser: Browser, report: Path, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in ground.strip("rgb()").split(","))
    assert (red + green + blue > 600) == (scheme == "light")
    assert complaints == []
    context.close()
