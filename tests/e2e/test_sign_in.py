"""From an invitation to signing out, in a real browser, light and dark."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from moderation.application import Application
from moderation.settings import Settings
from tests.accounts import PASSWORD
from tests.e2e.axe import violations
from tests.e2e.conftest import Server
from tests.e2e.test_drop import problems, screenshot, shown
from tests.e2e.test_notice import submit

pytestmark = pytest.mark.e2e

LONG = f"{'a-very-long-name-' * 4}@example.org"


@pytest.fixture
def themes(browser: Chrome) -> Iterator[Chrome]:
    """A browser without cookies, which is light again afterwards."""
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    yield browser
    theme(browser, "light")
    browser.set_window_size(1366, 900)


def theme(browser: Chrome, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def check(browser: Chrome, name: str) -> None:
    """The page is accessible, quiet, no wider than its window, and pictured, in both themes and on a tablet."""
    for colours in ("light", "dark"):
        theme(browser, colours)
        screenshot(browser, f"{name}-{colours}")
        assert violations(browser) == [], (name, colours)
    for width in (1366, 800):
        browser.set_window_size(width, 900)
        wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        if width == 800:
            screenshot(browser, f"{name}-tablet", width)
        assert wide <= inner, (name, width)
    browser.set_window_size(1366, 900)
    assert problems(browser) == [], name


def type_in(browser: Chrome, **values: str) -> None:
    for name, value in values.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(value)


def invite(server: Server, name: str, *roles: str) -> str:
    """The link that `palisade accounts add` prints."""
    command = [sys.executable, "-m", "moderation", "accounts", "add", name]
    for role in roles:
        command += ["--role", role]
    environment = {"PALISADE_DATA_DIR": str(server.log.parent), "PALISADE_DASHBOARD_URL": server.url}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def fresh_code(secret: str, after: str) -> str:
    """A code of the app that is not the last one: it works once, so wait for the next."""
    for _ in range(70):
        code = pyotp.TOTP(secret).now()
        if code != after:
            return code
        time.sleep(0.5)
    raise AssertionError("no new code within 35 seconds")


def test_from_the_invitation_to_signing_out(themes: Chrome, server: Server) -> None:
    themes.get(f"{server.url}/sign-in")
    check(themes, "sign-in-first")
    assert "accounts add" in shown(themes, ".status")
    secret, code = enrol(themes, server)
    sign_in_again(themes, server, secret, code)
    invite_and_disable_somebody(themes, server)
    submit(themes, ".who button")

    themes.get(f"{server.url}/app/accounts")
    assert shown(themes, "h1") == "Sign in"


def enrol(browser: Chrome, server: Server) -> tuple[str, str]:
    """From the invitation to the home page; gives the app's secret and the code that was used."""
    browser.get(invite(server, "ada@example.org", "admin", "reviewer"))
    check(browser, "welcome-password")
    type_in(browser, password="password1234", repeated="password1234")
    submit(browser, ".sheet button")
    assert "tried first" in shown(browser, "[role=alert]")
    screenshot(browser, "welcome-refused")
    problems(browser)  # Chromium notes the 422
    type_in(browser, password=PASSWORD, repeated=PASSWORD)
    submit(browser, ".sheet button")

    check(browser, "welcome-app")
    browser.find_element(By.TAG_NAME, "summary").click()
    secret = shown(browser, "#secret").replace(" ", "")
    code = fresh_code(secret, "")
    type_in(browser, code=code)
    submit(browser, ".sheet button")
    check(browser, "welcome-codes")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".codes li")) == 10
    submit(browser, "a.button")
    assert shown(browser, "h1") == "Home"
    check(browser, "home-admin")
    submit(browser, ".who button")
    assert shown(browser, "h1") == "Sign in"
    return secret, code


def sign_in_again(browser: Chrome, server: Server, secret: str, used: str) -> None:
    """To one's own account, by way of the sign-in page."""
    browser.get(f"{server.url}/app/me")
    check(browser, "sign-in")
    type_in(browser, name="ada@example.org", password="wrong")
    submit(browser, ".sheet button")
    assert "wrong" in shown(browser, "[role=alert]")
    screenshot(browser, "sign-in-refused")
    problems(browser)  # Chromium notes the 401
    type_in(browser, password=PASSWORD)
    submit(browser, ".sheet button")
    check(browser, "sign-in-code")
    type_in(browser, code=fresh_code(secret, used))
    submit(browser, ".sheet button")
    assert shown(browser, "h1") == "Your account", "where they wanted to go"
    check(browser, "me")
    submit(browser, "form[action='/app/me/display'] button")
    assert shown(browser, "[role=status]") == "Kept."


def invite_and_disable_somebody(browser: Chrome, server: Server) -> None:
    browser.get(f"{server.url}/app/accounts")
    type_in(browser, name=LONG)
    browser.find_element(By.CSS_SELECTOR, "input[value=reviewer]").click()
    submit(browser, "form[action='/app/accounts'][method=post] button")
    check(browser, "invitation")
    submit(browser, "a.button")
    check(browser, "accounts")
    submit(browser, f"//a[text()='{LONG}']")
    check(browser, "account")
    submit(browser, "button.danger")
    assert "Disabled" in shown(browser, ".lead")
    check(browser, "account-disabled")


def test_a_reviewer_sees_no_page_of_admins(themes: Chrome, server: Server) -> None:
    browser = themes
    browser.get(invite(server, LONG.replace("a-", "b-"), "reviewer"))
    type_in(browser, password=PASSWORD, repeated=PASSWORD)
    submit(browser, ".sheet button")
    browser.find_element(By.TAG_NAME, "summary").click()
    type_in(browser, code=pyotp.TOTP(shown(browser, "#secret").replace(" ", "")).now())
    submit(browser, ".sheet button")
    submit(browser, "a.button")
    check(browser, "home-reviewer")
    assert "Accounts" not in shown(browser, "header")

    browser.get(f"{server.url}/app/accounts")
    assert shown(browser, "h1") == "Your account may not do this"
    screenshot(browser, "forbidden")
    problems(browser)  # Chromium notes the 403


def test_the_keyboard_is_enough(themes: Chrome, server: Server) -> None:
    browser = themes
    browser.get(f"{server.url}/sign-in")

    WebDriverWait(browser, 10).until(lambda b: b.switch_to.active_element.get_attribute("name") == "name")
    for control in browser.find_elements(By.CSS_SELECTOR, "input:not([type=hidden]), select, button, a"):
        assert control.accessible_name, control.get_attribute("outerHTML")


def test_nothing_of_an_account_is_in_the_log(server: Server) -> None:
    log = Path(server.log).read_text()

    assert PASSWORD not in log
    assert "welcome/" not in log
    assert Application(Settings(_env_file=None, data_dir=server.log.parent)).accounts.accounts("default")
