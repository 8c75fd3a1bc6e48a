"""A reviewer's day in a real browser: claim, look, decide by keyboard, conflict, appeal, and what nobody is shown."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from detectors.base import Finding, Region
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.reviews.appeals import Plea
from moderation.reviews.records import ReviewRules
from moderation.settings import Settings
from moderation.tables import DEFAULT_TENANT, Reveal, ReviewCase, utc_now
from tests.accounts import PASSWORD, Someone, someone
from tests.dashboard.test_cases import XSS, keep_image
from tests.demo import served
from tests.e2e.test_drop import problems, shown
from tests.e2e.test_notice import submit
from tests.e2e.test_sign_in import check, themes, type_in
from tests.moderation.reviews.conftest import explicit, listed, scan_maker

__all__ = ["themes"]

pytestmark = pytest.mark.e2e


@dataclass
class Place:
    """A server, its parts as this process has them, and people with accounts."""

    url: str
    parts: Application
    ada: Someone
    ben: Someone
    sol: Someone

    def sit(self, browser: Chrome, who: Someone, path: str = "/app/queue") -> None:
        """Have somebody at the browser, who signed in before."""
        browser.get(f"{self.url}/sign-in")
        browser.delete_all_cookies()
        browser.add_cookie({"name": "palisade-session", "value": who.token, "path": "/"})
        browser.get(self.url + path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("reviews")
    keys = {name: new_secret("review") for name in ("IMAGE", "ACCOUNT", "PEOPLE", "TAKEDOWN")}
    more = {f"PALISADE_{name}_KEYS": key for name, key in keys.items()}
    more |= {"PALISADE_REVIEW_SECOND_SHARE": "0", "PALISADE_REVIEW_UNDO_SECONDS": "60", "PALISADE_CHORES_SECONDS": "60"}
    with served(folder, Path(folder) / "log", **more) as url:
        own = {f"{name.lower()}_keys": key for name, key in keys.items()}
        parts = Application(Settings(_env_file=None, data_dir=folder, **own))  # type: ignore[call-arg]
        ada, ben = (someone(parts, f"{name}@example.org", "reviewer") for name in ("ada", "ben"))
        yield Place(url, parts, ada, ben, someone(parts, "sol@example.org", "senior"))
        parts.database.close()


@pytest.fixture
def fill(place: Place) -> Iterator[Any]:
    """Fills the queue with drawn pictures; it is empty again afterwards."""
    rules = ReviewRules.of(Settings(_env_file=None, review_second_share=0.0))  # type: ignore[call-arg]
    make = scan_maker(place.parts.database, rules)

    def scan(name: str, *findings: Finding, **about: Any) -> Any:
        made, case = make(name, *findings, **about)
        keep_image(place.parts, made)
        return made, case

    yield scan
    with place.parts.database.write() as session:
        session.execute(sa.update(ReviewCase).values(rank=None, state="closed", holder=None, lease_until=None))


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def until(browser: Chrome, what: Any) -> Any:
    """The page is replaced while it is looked at: what is gone is looked for again."""
    return WebDriverWait(browser, 60, ignored_exceptions=[StaleElementReferenceException]).until(what)


def case_id(browser: Chrome) -> str:
    return str(browser.find_element(By.ID, "case").get_attribute("data-case"))


def rich() -> list[Finding]:
    """What much was found of: scores, a face, metadata of a hostile file."""
    face = Region(0.3, 0.2, 0.3, 0.4)
    return [
        explicit(),
        Finding("synthetic", "synthetic", score=0.97, fpr=0.002),
        Finding("faces", "face", score=0.9, region=face),
        Finding("metadata", "software", evidence={"software": XSS[1], "camera": "long-" * 60}),
        Finding("watermark", "watermark", status="skipped", reason="the picture is too small"),
    ]


def test_from_signing_in_to_three_decisions_by_keyboard(themes: Chrome, place: Place, fill: Any) -> None:
    browser = themes
    for name in "abcde":
        fill(name, *rich(), external_id=XSS[0], reach=12)
    browser.get(f"{place.url}/app/queue")
    type_in(browser, name=place.ada.name, password=PASSWORD)
    submit(browser, ".sheet button")
    type_in(browser, code=place.ada.code(place.parts))
    submit(browser, ".sheet button")
    assert shown(browser, "h1") == "Queue"
    check(browser, "queue")

    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    check(browser, "case-covered")
    press(browser, "?")
    assert browser.find_element(By.ID, "keys").is_displayed()
    check(browser, "case-keys")
    press(browser, Keys.ESCAPE)
    uncover(browser, place)
    check(browser, "case-uncovered")
    press(browser, "h")
    heat = "const i = document.querySelector('.picture-main img'); return i.src.includes('heat') && i.complete && i.naturalWidth"
    assert until(browser, lambda b: b.execute_script(heat)) == 300
    check(browser, "case-heat")

    seen = []
    for outcome in ("u", "r", "u"):
        seen.append(case_id(browser))
        press(browser, outcome)
        until(browser, lambda b: b.find_elements(By.ID, "case") and case_id(b) not in seen and decided(place, seen))
    press(browser, "o")
    until(browser, lambda b: b.switch_to.active_element.get_attribute("name") == "reason")
    fourth = case_id(browser)
    press(browser, "It is a statue.", Keys.ENTER)
    until(browser, lambda b: decided(place, [*seen, fourth]) and case_id(b) != fourth)
    press(browser, "z")
    until(browser, lambda b: case_id(b) == fourth)
    assert problems(browser) == []
    with place.parts.database.read() as session:
        outcomes = {row.id: row.outcome for row in session.scalars(sa.select(ReviewCase))}
    assert [outcomes[case] for case in [*seen, fourth]] == ["uphold", "restrict", "uphold", None]


def uncover(browser: Chrome, place: Place) -> None:
    """By the space bar: noted, then larger; and covered again by the same key."""
    image = browser.find_element(By.CSS_SELECTOR, ".picture-main img")
    width = "return document.querySelector('.picture-main img').naturalWidth"
    assert browser.execute_script(width) == 200
    press(browser, " ")
    until(browser, lambda b: b.execute_script(width) == 300)
    with place.parts.database.read() as session:
        assert session.scalars(sa.select(Reveal.how)).all() == ["whole"]
    press(browser, " ")
    until(browser, lambda b: b.execute_script(width) == 200)
    ActionChains(browser).move_to_element(image).move_by_offset(3, 3).perform()
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".peek"))
    press(browser, " ")
    until(browser, lambda b: "whole" in (image.get_attribute("src") or "") and b.execute_script(width) == 300)


def decided(place: Place, cases: list[str]) -> bool:
    with place.parts.database.read() as session:
        found = session.scalars(sa.select(ReviewCase.state).where(ReviewCase.id.in_(cases)))
        return all(state == "decided" for state in found)


def test_two_reviewers_in_conflict_lose_nothing(themes: Chrome, place: Place, fill: Any) -> None:
    browser = themes
    _, case = fill("conflict", *rich())
    place.sit(browser, place.ada)
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    with place.parts.database.write() as session:
        past = utc_now() - timedelta(seconds=1)
        session.execute(sa.update(ReviewCase).where(ReviewCase.id == case.id).values(lease_until=past))
    ben = place.parts.reviews.take(person(place.ben), case.id)
    press(browser, "u")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#said .problem button"))
    assert "The decision is kept" in shown(browser, "#said")
    assert case_id(browser) == case.id, "the case is back as it was"
    problems(browser)  # Chromium notes the 409
    check(browser, "case-conflict")

    place.parts.reviews.release(person(place.ben), case.id, ben.case.token)
    browser.find_element(By.CSS_SELECTOR, "#said .problem button").click()
    until(browser, lambda _: decided(place, [case.id]))
    assert problems(browser) == []


def test_an_appeal_is_read_and_decided(themes: Chrome, place: Place, fill: Any) -> None:
    browser = themes
    scan, case = fill("appealed", *rich())
    before = place.parts.reviews.take(person(place.ada), case.id)
    from moderation.reviews.records import Choice

    place.parts.decisions.decide(person(place.ada), case.id, before.case.token, Choice("uphold", "nudity-1"))
    place.parts.decisions.release(now=utc_now() + timedelta(minutes=5))
    place.parts.appeals.file(DEFAULT_TENANT, Plea(f"It is a statue. {XSS[1]} " + "long" * 80, scan.id), actor="test")
    place.sit(browser, place.ben, "/app/appeals")
    check(browser, "appeals")
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    assert "It is a statue." in shown(browser, ".statement")
    check(browser, "appeal")
    decision = case_id(browser)
    browser.find_element(By.NAME, "reason").send_keys("It is a statue.")
    press(browser, Keys.ESCAPE, "o")
    until(browser, lambda _: decided(place, [decision]))
    assert problems(browser) == []


def test_known_abuse_is_decided_without_being_shown(themes: Chrome, place: Place, fill: Any) -> None:
    browser = themes
    fill("matched", listed("child_abuse", "block"))
    place.sit(browser, place.sol)
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))

    assert shown(browser, "#known-title") == "This is shown to nobody"
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main figure, main svg") == []
    for key in (" ", "p", "l"):
        press(browser, key)
    time.sleep(0.3)
    assert browser.find_elements(By.CSS_SELECTOR, "main img") == []
    check(browser, "case-known")


def test_stopping_begins_a_break_and_empty_queues_say_so(themes: Chrome, place: Place, fill: Any) -> None:
    browser = themes
    place.sit(browser, place.ben)
    check(browser, "queue-empty")
    fill("stop", explicit())
    browser.refresh()
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    press(browser, "x")
    until(browser, lambda b: b.find_elements(By.ID, "rest"))
    assert "You stopped" in shown(browser, "#rest")
    check(browser, "queue-rest")


def person(who: Someone) -> Any:
    from moderation.accounts.records import person_of

    return person_of(who.account)
