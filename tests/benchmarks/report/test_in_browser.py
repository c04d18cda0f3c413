"""The page as people see it: opened in a real Chromium, without a window."""

import shutil

import cv2
import numpy as np
import pytest
from reported_files import write_everything

from cornernet.benchmarks.report.report_inputs import read_inputs
from cornernet.benchmarks.report.report_page import render_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: apt-get install chromium, or playwright install chromium ({error.message[:80]})")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(render_report(read_inputs([write_everything(folder / "all")])), encoding="utf-8")
    return path


def pixels(shot: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (400, "light")])
def test_all_of_the_page_is_drawn_and_nothing_is_asked_for(browser, file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    panels = page.locator(".panel")
    assert panels.count() >= 12
    whole = pixels(page.screenshot(full_page=True))
    assert (whole[2].mean() > 200) == (scheme == "light")  # the paper, above the heading
    for number in range(panels.count()):
        box = {side: round(value) for side, value in panels.nth(number).bounding_box().items()}
        shot = whole[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
        assert min(shot.shape[:2]) > 60 and shot.std() > 4 and len(np.unique(shot @ (1, 256, 65536))) > 20, number
    page.close()


def test_the_contents_line_leads_to_each_section_and_the_page_can_be_printed(browser, file):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(file.as_uri())
    links = page.locator("nav a")
    for number in range(links.count()):
        links.nth(number).click()
        target = page.locator(links.nth(number).get_attribute("href"))
        assert target.count() == 1 and target.text_content() == links.nth(number).text_content()
    assert page.pdf().startswith(b"%PDF")
    page.close()
