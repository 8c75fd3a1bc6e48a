"""Looking in a real browser: the part under the pointer, animations that stand still, pictures that cannot be opened."""

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
import sqlalchemy as sa
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from detectors.base import Finding
from moderation.tables import DEFAULT_TENANT, Reveal, StoredImage, utc_now
from tests.dashboard.test_looking import enrolled, like
from tests.e2e.test_drop import problems
from tests.e2e.test_review import Place, explicit, fill, place, press, themes, until
from tests.e2e.test_sign_in import check
from tests.moderation.reviews.conftest import hashes

__all__ = ["fill", "place", "themes"]

pytestmark = pytest.mark.e2e

FIELD = """const at = document.querySelector('.peek').style.clipPath.match(/[\\d.]+/g).map(Number);
return [at[0] / 100 * 3, at[3] / 100 * 3].map(Math.round)"""


def looks(place: Place, case: str) -> list[tuple[str, int | None]]:
    """How, and which part, of the case's images was looked at."""
    with place.parts.database.read() as session:
        rows = session.scalars(sa.select(Reveal).where(Reveal.case_id == case).order_by(Reveal.id))
        return [(row.how, row.field) for row in rows]


def begin(browser: Chrome, place: Place) -> Any:
    """Ada with the next case; gives its picture."""
    place.sit(browser, place.ada)
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    drawn = "const i = document.querySelector('.picture-main img'); return i && i.complete && i.naturalWidth"
    until(browser, lambda b: b.execute_script(drawn))
    return browser.find_element(By.CSS_SELECTOR, ".picture-main img")


def hover(browser: Chrome, image: Any, column: int, row: int) -> None:
    """Move the pointer into the middle of one of nine fields."""
    box = image.rect
    across, down = ((at - 1) * box[side] / 3 for at, side in ((column, "width"), (row, "height")))
    ActionChains(browser).move_to_element_with_offset(image, round(across), round(down)).move_by_offset(2, 2).perform()


def shown_as(browser: Chrome, how: str) -> Any:
    """Waits until the picture is, or is being, shown in this way: '' for covered."""
    return until(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".picture-main").get_attribute("data-how") == how)


def test_a_part_is_seen_while_the_pointer_is_over_it(browser: Chrome, place: Place, fill: Any) -> None:
    _, case = fill("hover", explicit())
    image = begin(browser, place)
    covered = image.get_attribute("src")
    hover(browser, image, 2, 0)
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".peek"))

    assert looks(place, case.id) == [("part", 2)], "noted before it is shown"
    loaded = "const i = document.querySelector('.peek'); return i && i.complete && i.naturalWidth > 0"
    until(browser, lambda b: b.execute_script(loaded))
    assert browser.execute_script(FIELD) == [0, 2], "row and column of what is seen"
    assert image.get_attribute("src") == covered, "the picture itself stays covered"

    hover(browser, image, 0, 2)
    until(browser, lambda _: looks(place, case.id) == [("part", 2), ("part", 6)])
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".peek") and b.execute_script(FIELD) == [2, 0])
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    until(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, ".peek"))
    assert browser.find_element(By.ID, "seen").text == "1", "the parts of one picture are one look"

    press(browser, "p")
    shown_as(browser, "part")
    assert looks(place, case.id)[-1] == ("part", 4)
    press(browser, "p")
    shown_as(browser, "")
    assert "reveal" not in image.get_attribute("src")
    assert problems(browser) == []


def test_a_case_that_comes_under_a_resting_pointer_stays_covered(browser: Chrome, place: Place, fill: Any) -> None:
    cases = {fill(f"under-{number}", explicit())[1].id for number in range(2)}
    image = begin(browser, place)
    first = browser.find_element(By.ID, "case").get_attribute("data-case")
    (second,) = cases - {first}
    hover(browser, image, 1, 1)
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".peek"))
    press(browser, "u")
    until(browser, lambda b: b.find_element(By.ID, "case").get_attribute("data-case") == second)
    press(browser, "p")
    shown_as(browser, "part")
    assert looks(place, second) == [("part", 4)], "what the key asked for, and nothing before"


def test_where_motion_is_to_be_reduced_nothing_moves(browser: Chrome, place: Place, fill: Any) -> None:
    fill("still", explicit())
    feature = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        hover(browser, begin(browser, place), 1, 1)
        until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".peek"))
        moving = "return document.getAnimations().length"
        assert browser.execute_script(moving) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def animation(kind: str, frames: int = 5) -> bytes:
    """Each frame another grey."""
    shades = [PIL.Image.fromarray(np.full((240, 300, 3), 40 * (n + 1), np.uint8)) for n in range(frames)]
    buffer = io.BytesIO()
    more = {"lossless": True} if kind == "WEBP" else {}
    shades[0].save(buffer, kind, save_all=True, append_images=shades[1:], duration=20, loop=0, **more)
    return buffer.getvalue()


def test_an_animation_stands_still_until_another_frame_is_asked_for(browser: Chrome, place: Place, fill: Any) -> None:
    scan, _ = fill("moving", explicit())
    place.parts.store.put(DEFAULT_TENANT, scan.image.sha256, animation("GIF"))
    with place.parts.database.write() as session:
        found = session.get(StoredImage, scan.image.id)
        assert found
        found.frames, found.format, found.kept_at = 5, "GIF", utc_now()
    image = begin(browser, place)
    assert "an animation of 5 frames" in browser.find_element(By.TAG_NAME, "main").text
    press(browser, ".")
    assert "frame" not in image.get_attribute("src"), "not before the whole is uncovered"

    press(browser, " ")
    shown_as(browser, "whole")
    until(browser, lambda _: grey(browser) == 40)
    press(browser, ".")
    until(browser, lambda _: grey(browser) == 80)
    press(browser, ",", ",")
    until(browser, lambda _: grey(browser) == 200)
    assert browser.find_element(By.CSS_SELECTOR, ".frames b").text == "5"
    assert problems(browser) == []


def grey(browser: Chrome) -> int:
    """What the picture shows in its middle, to the nearest 40; 0 while it is loading."""
    drawn = """const i = document.querySelector('.picture-main img'), c = document.createElement('canvas');
    if (!i.complete || !i.naturalWidth) return 0;
    c.width = c.height = 1; const x = c.getContext('2d'); x.drawImage(i, 0, 0, 1, 1);
    return x.getImageData(0, 0, 1, 1).data[0]"""
    return round(int(browser.execute_script(drawn)) / 40) * 40


def test_a_picture_whose_file_is_gone_is_said_to_be(browser: Chrome, place: Place, fill: Any) -> None:
    scan, _ = fill("gone", explicit())
    place.parts.store.delete(DEFAULT_TENANT, scan.image.sha256)
    place.sit(browser, place.ada)
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    until(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".picture-main .unshown").is_displayed())
    assert "The picture cannot be opened" in browser.find_element(By.CSS_SELECTOR, ".picture-main").text
    problems(browser)  # Chromium notes the 404


def test_a_senior_compares_faces_beside_what_is_like_the_image(themes: Chrome, place: Place, fill: Any) -> None:
    browser, person = themes, enrolled(place.parts)
    for number, away in enumerate((0, 3, 255)):
        pdq = bytes([away, *range(1, 32)]) if number < 2 else bytes(range(100, 132))
        near, _ = fill(f"like-{number}", explicit(fpr=0.4, score=0.1))
        with place.parts.database.write() as session:
            session.execute(sa.update(StoredImage).where(StoredImage.id == near.image.id).values(pdq=pdq))
    stranger = enrolled(place.parts, reference=False)
    signed = Finding("provenance", "c2pa", evidence={"state": "valid", "trusted": False, "signer": "Some Camera Maker"})
    saved = Finding("provenance", "software", evidence={"software": "Editor 9", "camera": "X-100"})
    fill(
        "matched",
        signed,
        saved,
        like(person),
        like(stranger),
        explicit(),
        hashes(bytes(range(32))),
        external_id="upload-17",
    )
    place.sit(browser, place.sol)
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#alike .alike-list figure"))
    assert "2 of 256 bits apart" in browser.find_element(By.ID, "alike").text
    assert browser.find_elements(By.CSS_SELECTOR, ".beside img") == []

    press(browser, "f")
    there = "return [...document.querySelectorAll('.beside img')].filter((i) => i.complete && i.naturalWidth).length"
    until(browser, lambda b: b.execute_script(there) == 2)
    assert "No picture of this person was kept" in browser.find_element(By.TAG_NAME, "main").text
    check(browser, "case-faces")
    press(browser, "f")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".beside img") == [])
    whole = browser.find_element(By.CSS_SELECTOR, "#alike figure [value=whole]")
    whole.click()
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#alike figure[data-how=whole]"))
    assert problems(browser) == []
