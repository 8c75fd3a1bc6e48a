"""Deciding without the mouse, and what becomes of a decision when the server is away, the answer is lost, or a tab is behind."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from moderation.tables import Decision
from tests.e2e.test_drop import shown
from tests.e2e.test_review import Place, case_id, decided, explicit, fill, place, press, themes, until
from tests.proxy import Proxy, proxied

__all__ = ["fill", "place", "themes"]

pytestmark = pytest.mark.e2e

WORK = 20


@pytest.fixture
def line(place: Place) -> Iterator[Proxy]:
    """A line to the server that can be cut."""
    with proxied(place.url) as proxy:
        yield proxy


def sit(browser: Chrome, place: Place, url: str) -> None:
    """Ben at the browser, on the queue as it is behind an address."""
    Place(url, place.parts, place.ada, place.ben, place.sol).sit(browser, place.ben)


def made(place: Place, cases: list[str]) -> list[tuple[str, str]]:
    """The case and outcome of every decision on these cases, whatever became of it."""
    with place.parts.database.read() as session:
        rows = session.scalars(sa.select(Decision).where(Decision.case_id.in_(cases)).order_by(Decision.id))
        return [(row.case_id, row.outcome) for row in rows]


def begin(browser: Chrome) -> str:
    press(browser, "n")
    until(browser, lambda b: b.find_elements(By.ID, "decide"))
    return case_id(browser)


def leave(browser: Chrome) -> None:
    """To an empty page, whatever is still kept in the tab."""
    browser.execute_script("sessionStorage.clear()")
    browser.get("about:blank")


def test_twenty_cases_are_decided_by_keyboard_alone_and_each_counts_once(
    browser: Chrome, place: Place, fill: Any
) -> None:
    cases = [fill(f"work-{number}", explicit())[1].id for number in range(WORK)]
    place.sit(browser, place.ben)
    at = begin(browser)
    pressed = []
    for number in range(WORK):
        outcome = ("u", "r")[number % 2]
        pressed.append((at, {"u": "uphold", "r": "restrict"}[outcome]))
        press(browser, outcome)
        at = until(browser, lambda b, before=at: _another(b, before))

    until(browser, lambda _: decided(place, cases))
    assert sorted(made(place, cases)) == sorted(pressed)
    assert "Nothing waits for you just now." in shown(browser, ".status")


def _another(browser: Chrome, before: str) -> str:
    """The case that is shown now, `none` where the queue is empty; '' as long as it is the one before."""
    found = browser.find_elements(By.CSS_SELECTOR, "#case, main .queues")
    now = (found[0].get_attribute("data-case") or "none") if found else ""
    return "" if now == before else now


def test_a_decision_made_while_the_server_is_away_is_sent_again(
    browser: Chrome, place: Place, fill: Any, line: Proxy
) -> None:
    cases = [fill(f"away-{number}", explicit())[1].id for number in range(2)]
    sit(browser, place, line.url)
    first = begin(browser)
    line.mode = "away"
    press(browser, "u")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#said .problem button"))
    assert "Not sent" in shown(browser, "#said")
    assert case_id(browser) == first, "the case is back, as it was left"
    assert made(place, cases) == []

    line.mode = "through"
    until(browser, lambda _: decided(place, [first]))
    until(browser, lambda b: _another(b, first) not in ("", "none"))
    assert made(place, cases) == [(first, "uphold")]
    assert browser.execute_script("return sessionStorage.length") == 0
    leave(browser)


def test_a_decision_whose_answer_was_lost_counts_once_after_a_reload(
    browser: Chrome, place: Place, fill: Any, line: Proxy
) -> None:
    _, case = fill("lost", explicit())
    sit(browser, place, line.url)
    begin(browser)
    line.mode = "swallow"
    press(browser, "r")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#said .problem button"))
    assert made(place, [case.id]) == [(case.id, "restrict")], "it arrived; only the answer is missing"

    line.mode = "through"
    browser.refresh()
    accept(browser)
    until(browser, lambda b: b.execute_script("return sessionStorage.length") == 0)
    assert made(place, [case.id]) == [(case.id, "restrict")]
    leave(browser)


def accept(browser: Chrome) -> None:
    """Leave a page that asks whether to be left, where it asks."""
    from selenium.common.exceptions import NoAlertPresentException

    try:
        browser.switch_to.alert.accept()
    except NoAlertPresentException:
        return


def test_a_second_tab_that_is_behind_changes_nothing(browser: Chrome, place: Place, fill: Any) -> None:
    _, case = fill("tabs", explicit())
    place.sit(browser, place.ben)
    begin(browser)
    behind = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        browser.get(f"{place.url}/app/cases/{case.id}")
        press(browser, "u")
        until(browser, lambda _: decided(place, [case.id]))
    finally:
        browser.close()
        browser.switch_to.window(behind)
    press(browser, "r")
    until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#said .problem"))
    assert made(place, [case.id]) == [(case.id, "uphold")]
    assert browser.execute_script("return sessionStorage.length") == 0, "it was answered: nothing is sent again"
