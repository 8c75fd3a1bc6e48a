"""The dashboard of an application, for people with accounts."""

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from dashboard.app import create_app
from moderation.application import Application
from tests.moderation.accounts.conftest import make_parts, parts

__all__ = ["make_parts", "parts"]

Browser = Callable[..., TestClient]


@pytest.fixture
def browse(parts: Application) -> Browser:
    """Makes browsers; each has its own cookies."""

    def make(served: Application = parts, **more: Any) -> TestClient:
        return TestClient(create_app(served), follow_redirects=False, **more)

    return make


def field(page: httpx2.Response, name: str = "csrf") -> str:
    """The value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found, page.text
    return found[1]


def submit(browser: TestClient, page: str, path: str | None = None, **fields: Any) -> httpx2.Response:
    """Open a page and send one of its forms."""
    return browser.post(path or page.partition("?")[0], data={"csrf": field(browser.get(page)), **fields})
