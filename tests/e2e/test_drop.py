"""The page at `/`, as a newcomer uses it, in a real browser."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.detectors.test_faces import on_canvas
from tests.e2e.conftest import Server
from tests.factories import encode, picture

pytestmark = pytest.mark.e2e

XSS = '"><img src=x onerror=document.title="broken">'


def shown(browser: Chrome, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def choose(browser: Chrome, path: Path) -> None:
    browser.find_element(By.ID, "file").send_keys(str(path))


def wait_for(browser: Chrome, selector: str) -> Any:
    return WebDriverWait(browser, 30).until(lambda b: b.find_element(By.CSS_SELECTOR, selector).is_displayed())


def screenshot(browser: Chrome, name: str, width: int = 1366) -> None:
    """A picture of the whole page, where PALISADE_SCREENSHOTS names a folder."""
    folder = os.environ.get("PALISADE_SCREENSHOTS")
    if folder:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(width, max(900, height + 140))
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))
        browser.set_window_size(width, 900)


def problems(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(browser: Chrome, server: Server) -> Chrome:
    browser.get(server.url)
    return browser


def test_an_empty_page_says_what_to_do(page: Chrome) -> None:
    screenshot(page, "drop-empty")

    assert "Drop an image" in shown(page, "#zone")
    assert not page.find_element(By.ID, "result").is_displayed()
    assert problems(page) == []


def test_a_photo_shows_verdict_findings_and_provenance(page: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(encode(picture(600, 400, seed=21), "JPEG"))

    choose(page, path)
    wait_for(page, "#result")

    assert shown(page, "#action") == "ALLOW"
    assert shown(page, "#file-name") == "holiday.jpg"
    assert "mainstream" in shown(page, "#verdict-summary")
    assert "open_nsfw" in shown(page, "#measured")
    assert "says nothing about how it was made" in shown(page, "#provenance")
    assert "likeness: skipped, no gallery" in shown(page, "#absent")
    assert "600 × 400" in shown(page, "#facts")
    assert problems(page) == []


def test_faces_are_boxed_where_they_are(page: Chrome, tmp_path: Path, shared_data: Path) -> None:
    crop = np.asarray(Pillow.open(shared_data / "faces/person_03/00.png").convert("RGB"))
    path = tmp_path / "face.png"
    path.write_bytes(encode(on_canvas(crop, left=240, top=160)))

    choose(page, path)
    wait_for(page, ".box")
    screenshot(page, "drop-face")

    box = page.find_element(By.CSS_SELECTOR, ".box").rect
    image = page.find_element(By.ID, "preview").rect
    middle = (box["x"] + box["width"] / 2 - image["x"]) / image["width"]
    assert abs(middle - 320 / 640) < 0.05
    assert "face" in shown(page, "#measured")


def test_provenance_is_told_in_words(page: Chrome, shared_data: Path) -> None:
    choose(page, shared_data / "provenance/c2pa/adobe-20220124-E-sig-CA.jpg")
    wait_for(page, "#result")
    screenshot(page, "drop-c2pa")

    assert shown(page, "#action") == "LABEL"
    card = shown(page, "#provenance")
    assert "invalid" in card
    assert "signer not on a trust list" in card
    assert "claimSignature.mismatch" in card


def test_a_manifest_that_is_elsewhere_is_said_to_be(page: Chrome, shared_data: Path) -> None:
    choose(page, shared_data / "provenance/c2pa_formats/cloud.jpg")
    wait_for(page, "#result")

    assert "named by the file, kept elsewhere, not fetched" in shown(page, "#provenance")
    assert "trust list" not in shown(page, "#provenance")


def test_a_generators_prompt_is_shown(page: Chrome, shared_data: Path) -> None:
    choose(page, shared_data / "provenance/comfyui/05.png")
    wait_for(page, "#result")
    screenshot(page, "drop-comfyui")

    assert "snow at sunset oil painting" in shown(page, "#provenance")


def test_another_policy_judges_the_same_image_again(page: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(picture(seed=22)))
    choose(page, path)
    wait_for(page, "#result")

    Select(page.find_element(By.NAME, "policy")).select_by_visible_text("adult")
    WebDriverWait(page, 30).until(lambda b: "adult" in shown(b, "#verdict-summary"))

    assert "Measured before, judged anew." in shown(page, "#verdict-summary")


def test_a_refusal_says_what_to_do(page: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "drawing.svg"
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    choose(page, path)
    wait_for(page, ".status.bad")
    screenshot(page, "drop-refused")

    assert "SVG" in shown(page, "#status")
    assert not page.find_element(By.ID, "result").is_displayed()
    (said,) = WebDriverWait(page, 30).until(problems)
    assert "415" in said


def test_hostile_names_and_metadata_stay_text(page: Chrome, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", f"{XSS}\nSteps: 20, Seed: 1, Model: {XSS}")
    path = tmp_path / f"{XSS.replace('/', '')}.png"
    path.write_bytes(encode(picture(seed=23), "PNG", pnginfo=info))

    choose(page, path)
    wait_for(page, "#result")

    assert XSS in shown(page, "#provenance")
    assert page.title == "Scan an image · Palisade"
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []


def test_the_page_works_by_keyboard_and_has_names(page: Chrome) -> None:
    """Every control has an accessible name, and the file can be chosen without a mouse."""
    for control in page.find_elements(By.CSS_SELECTOR, "input, select"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert page.execute_script("document.getElementById('file').focus(); return document.activeElement.id") == "file"
    assert len(page.find_elements(By.TAG_NAME, "h1")) == 1


def test_dark_looks_are_there(page: Chrome, tmp_path: Path) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    path = tmp_path / "night.png"
    path.write_bytes(encode(picture(seed=24)))
    choose(page, path)
    wait_for(page, "#result")
    screenshot(page, "drop-dark")
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert ground == "rgb(17, 23, 21)"
