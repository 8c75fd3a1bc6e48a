"""A real server and a real browser."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver

from tests.conftest import required
from tests.demo import SECRET, served, webhooks
from tests.hosts import Host, running_host


@dataclass(frozen=True)
class Server:
    """A running server: its address, and the log that it writes."""

    url: str
    log: Path


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The image host that the server tells of events."""
    with running_host(SECRET) as host:
        yield host


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Iterator[Server]:
    """`palisade serve` as a process of its own, without keys, on a new database."""
    folder = tmp_path_factory.mktemp("served")
    log = folder / "log"
    with served(folder, log, **webhooks(host)) as url:
        yield Server(url, log)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium, headless. Skips where it is not installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        message = "chromium and chromedriver are not installed"
        if required("SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-quic",
        "--window-size=1366,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver_service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=driver_service)
    browser.set_page_load_timeout(30)
    yield browser
    browser.quit()


@pytest.fixture(autouse=True)
def quiet_console(browser: webdriver.Chrome) -> None:
    """Each test starts on an empty page and reads only what its own pages wrote to the console."""
    browser.get("about:blank")
    browser.get_log("browser")
