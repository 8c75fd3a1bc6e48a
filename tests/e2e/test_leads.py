"""The pages of leads in a real browser: accessible in both themes, without errors, from figures to a back-test."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.e2e.test_notice import submit
from tests.e2e.test_sign_in import check, themes
from tests.screenshots import Shown, shown, sign_in

__all__ = ["themes"]

pytestmark = pytest.mark.e2e

LATER = (datetime.now(UTC).hour + 12) % 24
CLOSED = f"{LATER}-{(LATER + 1) % 24}"
"""Hours in which no test runs: nobody works on a plan meanwhile."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with shown(Path(tmp_path_factory.mktemp("demo"))) as demo:
        yield demo


def test_a_lead_reads_figures_tries_a_policy_and_sees_the_health(themes: Chrome, demo: Shown) -> None:
    browser = themes
    sign_in(browser, demo, "lea@demo.example")
    browser.find_element(By.LINK_TEXT, "Figures").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg.chart")) == 4
    check(browser, "figures")
    browser.get(f"{demo.url}/app/figures?from=2020-01-01&to=2020-12-31")
    check(browser, "figures-of-nothing")

    browser.find_element(By.LINK_TEXT, "Back-test").click()
    Select(browser.find_element(By.CSS_SELECTOR, "form.period select")).select_by_visible_text("mainstream")
    submit(browser, "form.period button")
    check(browser, "backtest")
    submit(browser, "form.draft button")
    assert "What mainstream would do" in browser.find_element(By.TAG_NAME, "main").text
    check(browser, "backtest-result")

    browser.find_element(By.LINK_TEXT, "Health").click()
    assert "campaign-7" in browser.find_element(By.TAG_NAME, "main").text
    check(browser, "health")


def test_a_lead_tries_a_rescan_plans_it_and_pauses_it(themes: Chrome, demo: Shown) -> None:
    browser = themes
    sign_in(browser, demo, "lea@demo.example")
    browser.find_element(By.LINK_TEXT, "Re-scans").click()
    check(browser, "rescans")
    submit(browser, ".rescan-form button[formaction]")
    assert "What it would do" in browser.find_element(By.TAG_NAME, "main").text
    check(browser, "rescan-dry-run")

    browser.find_element(By.NAME, "hours").send_keys(CLOSED)
    submit(browser, ".rescan-form button.quiet")
    check(browser, "rescan")
    submit(browser, "form[action$='/pause'] button")
    assert browser.find_element(By.CSS_SELECTOR, "main .chip").text == "paused"
    check(browser, "rescan-paused")
    submit(browser, "form[action$='/cancel'] button")
    assert browser.find_element(By.CSS_SELECTOR, "main .chip").text == "cancelled"


def test_a_broken_draft_is_shown_at_its_line(themes: Chrome, demo: Shown) -> None:
    browser = themes
    sign_in(browser, demo, "lea@demo.example")
    browser.get(f"{demo.url}/app/backtest")
    area = browser.find_element(By.CSS_SELECTOR, "textarea")
    area.send_keys("name: draft\nversion: one\n")
    submit(browser, "form.draft button")
    assert "draft:" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert area_text(browser).startswith("name: draft")


def area_text(browser: Chrome) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, "textarea").get_property("value"))
