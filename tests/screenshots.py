"""`make screenshots`: every page of a demo, light and dark, at 1366×768, into a folder.

`python -m tests.screenshots [folder]` makes a demo in a temporary folder, serves it, signs each role in and pictures its pages.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from moderation.settings import settings
from tests.demo import ROOT, wait_until_ready

SIZE = (1366, 768)
THEMES = ("light", "dark")

PUBLIC = ("/", "/notice", "/sign-in", "/sign-in?next=%2Fapp%2Ffigures", "/nothing-here")
PAGES = {
    "rita@demo.example": ("/app", "/app/me", "/app/queue", "/app/appeals", "/app/takedowns"),
    "lea@demo.example": (
        "/app",
        "/app/figures",
        "/app/figures?days=1",
        "/app/figures?from=2020-01-01&to=2020-01-02",
        "/app/backtest",
        "/app/backtest?policy=mainstream",
        "/app/health",
        "/app/rescans",
        "/app/accounts",
    ),
    "ada@demo.example": ("/app", "/app/accounts", "/app/health"),
}
"""What is pictured, by who looks; pages of a role that may not see them too."""


@dataclass(frozen=True)
class Shown:
    """A served demo. codes: by name, the password and the one-time codes that are left."""

    url: str
    logins: dict[str, tuple[str, list[str]]]


@contextmanager
def shown(folder: Path) -> Iterator[Shown]:
    """A demo in a folder, filled and served by the command itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PALISADE_MODELS_DIR": str(settings().models.resolve()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "moderation", "demo", "--folder", str(folder / "demo"), "--port", str(port)]
    subprocess.run([*command, "--fill-only"], cwd=ROOT, env=environment, check=True, capture_output=True)
    log = folder / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, log)
            yield Shown(url, logins_of((folder / "demo" / "accounts.txt").read_text()))
        finally:
            process.terminate()


def logins_of(text: str) -> dict[str, tuple[str, list[str]]]:
    """Of each account that a demo wrote down: password and codes."""
    found = {}
    for part in text.split("\n\n")[1:]:
        name, password = re.search(r"^(\S+@\S+) ", part, re.M), re.search(r"password (\S+)", part)
        if name and password:
            found[name[1]] = (password[1], re.findall(r"^    (\S{4}(?:-\S{4}){3})$", part, re.M))
    return found


def sign_in(browser: webdriver.Chrome, demo: Shown, name: str) -> None:
    """With the password and the next one-time code."""
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    password, codes = demo.logins[name]
    browser.get(f"{demo.url}/sign-in")
    browser.find_element(By.NAME, "name").send_keys(name)
    browser.find_element(By.NAME, "password").send_keys(password)
    browser.find_element(By.CSS_SELECTOR, "main button[type=submit]").click()
    field = WebDriverWait(browser, 15).until(lambda shown: shown.find_element(By.NAME, "code"))
    field.send_keys(codes.pop(0))
    browser.find_element(By.CSS_SELECTOR, "main button[type=submit]").click()
    WebDriverWait(browser, 15).until(lambda shown: shown.current_url.endswith("/app"))


def theme(browser: webdriver.Chrome, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def picture(browser: webdriver.Chrome, folder: Path, name: str) -> None:
    """The window as people see it, and the whole page where it is longer."""
    for colours in THEMES:
        theme(browser, colours)
        browser.set_window_size(*SIZE)
        browser.save_screenshot(str(folder / f"{name}-{colours}.png"))
        height = browser.execute_script("return document.documentElement.scrollHeight")
        if height > SIZE[1]:
            browser.set_window_size(SIZE[0], min(height + 140, 6_000))
            browser.save_screenshot(str(folder / f"{name}-{colours}-whole.png"))
    browser.set_window_size(*SIZE)
    print(f"{name}", flush=True)


def chromium() -> webdriver.Chrome:
    """Debian's Chromium. Raises SystemExit where it is not installed."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        raise SystemExit("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def file_name(who: str, path: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-") or "home"
    return f"{who.partition('@')[0]}-{words}" if who else f"public-{words}"


def picture_all(browser: webdriver.Chrome, demo: Shown, folder: Path) -> None:
    for path in PUBLIC:
        browser.get(demo.url + path)
        picture(browser, folder, file_name("", path))
    for who, paths in PAGES.items():
        sign_in(browser, demo, who)
        for path in paths:
            browser.get(demo.url + path)
            picture(browser, folder, file_name(who, path))
        if who.startswith("lea"):
            picture_backtests(browser, demo, folder)


def picture_backtests(browser: webdriver.Chrome, demo: Shown, folder: Path) -> None:
    """What a draft would change, and what is wrong with another."""
    for name, extra in (("changed", ""), ("wrong", "\n  - name: one more\n    whenn: nsfw.fpr <= 0.1\n")):
        browser.get(f"{demo.url}/app/backtest?policy=mainstream")
        area = browser.find_element(By.CSS_SELECTOR, "textarea[name=policy]")
        browser.execute_script("arguments[0].value += arguments[1]", area, extra)
        area.find_element(By.XPATH, "ancestor::form").find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        picture(browser, folder, f"lea-app-backtest-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, shown(Path(made)) as demo:
        browser = chromium()
        try:
            picture_all(browser, demo, folder)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
