"""The public notice form and the private page of a notice, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.demo import FORM, told, upload
from tests.e2e.conftest import Server
from tests.e2e.test_drop import XSS, problems, screenshot, shown
from tests.factories import encode, picture
from tests.hosts import Host

pytestmark = pytest.mark.e2e

PHOTO = picture(500, 400, seed=77)


def fill(browser: Chrome, **changed: str) -> None:
    values = {**FORM, **changed}
    for name in ("name", "contact", "statement", "signature", "urls"):
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(values.get(name, ""))
    if values["good_faith"] and not browser.find_element(By.NAME, "good_faith").is_selected():
        browser.find_element(By.NAME, "good_faith").click()


def submit(browser: Chrome, button: str = "form.notice button") -> None:
    """Press a button, and wait for the page behind it."""
    browser.execute_script("window.before = true")
    browser.find_element(By.XPATH if button.startswith("//") else By.CSS_SELECTOR, button).click()
    # between two pages Chromium answers with errors of many kinds
    WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException]).until(
        lambda b: b.execute_script("return !window.before && document.readyState === 'complete'")
    )


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_a_notice_from_the_form_to_the_removal(
    browser: Chrome, server: Server, client: httpx2.Client, host: Host, tmp_path: Path
) -> None:
    upload(client, encode(PHOTO, "JPEG", quality=80), "e2e-1")
    path = tmp_path / "me.png"
    path.write_bytes(encode(PHOTO))

    browser.get(f"{server.url}/notice")
    screenshot(browser, "notice-form")
    assert problems(browser) == []
    fill(browser)
    browser.find_element(By.NAME, "image").send_keys(str(path))
    submit(browser)
    assert shown(browser, "h1") == "Your notice is being looked at"
    assert shown(browser, ".link") == browser.current_url
    screenshot(browser, "notice-valid")

    notice = told(host, "takedown.filed")["notice"]
    client.post(f"/v1/takedowns/{notice}/accept", json={"reason": "It holds."}).raise_for_status()
    copies = told(host, "takedown.copies")
    (copy,) = copies["remove"]
    assert copy["external_ids"] == ["e2e-1"]
    browser.refresh()
    assert "1 copy was found" in shown(browser, ".panel")
    # What other tests uploaded may look alike: a person at the host says that it is something else.
    kept = {similar["sha256"]: "Another picture." for similar in copies["look_at"]}
    confirmation = {"removed": [copy["sha256"]], "kept": kept}
    client.post(f"/v1/takedowns/{notice}/confirm", json=confirmation).raise_for_status()
    browser.refresh()
    screenshot(browser, "notice-removed")

    assert shown(browser, "h1") == "The image is removed"
    assert "The image and its copies are gone." in shown(browser, ".steps")
    assert "It holds." not in browser.page_source, "why it was accepted is the site's own"
    assert problems(browser) == []


def test_what_is_missing_is_said_and_what_was_typed_is_kept(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/notice")
    fill(browser, statement="", urls="https://host.example/i/1")
    submit(browser)
    screenshot(browser, "notice-missing")

    assert "did not agree" in shown(browser, "#problems")
    assert browser.find_element(By.NAME, "name").get_attribute("value") == FORM["name"]
    assert browser.find_element(By.NAME, "good_faith").is_selected()


def test_hostile_words_stay_words(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/notice")
    fill(browser, name=XSS, urls=XSS, statement=XSS)
    submit(browser)

    assert "not an address of an image" in shown(browser, "#problems")
    assert browser.title == "Have an image of you removed · Palisade"
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []


def test_a_notice_can_be_taken_back(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/notice")
    fill(browser, urls="https://host.example/i/2")
    submit(browser)
    submit(browser, "button.quiet")

    assert shown(browser, "h1") == "You took the notice back"


def test_a_wrong_link_leads_nowhere(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/notice/{'x' * 32}")

    assert shown(browser, "h1") == "There is no such page"


def test_every_control_has_a_name(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/notice")

    for control in browser.find_elements(By.CSS_SELECTOR, "input, select, textarea, button"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
