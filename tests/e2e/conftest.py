"""A real server and a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from selenium import webdriver

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings, settings
from tests.conftest import required

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A running server: its address, and the log that it writes."""

    url: str
    log: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`palisade serve` as a process of its own, without keys, on a new database."""
    folder = tmp_path_factory.mktemp("served")
    environment = {
        "PALISADE_DATA_DIR": str(folder),
        "PALISADE_MODELS_DIR": str(settings().models),
        "PALISADE_REQUIRE_KEY": "false",
        "PALISADE_IMAGE_KEYS": new_secret("test"),
        "PALISADE_PEOPLE_KEYS": new_secret("test"),
    }
    database = Application(Settings(_env_file=None, data_dir=folder)).database
    database.migrate()
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moderation", "serve", "--port", str(port)]
    log = folder / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=stream, stderr=stream) as process,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield Server(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the server did not get ready:\n{log.read_text()[-4000:]}")


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
