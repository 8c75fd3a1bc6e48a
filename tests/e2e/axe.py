"""Accessibility of a page, by axe-core (from the package `axe-playwright-python`)."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


@cache
def _source() -> str:
    # The file, not the package: importing it would bring Playwright.
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.fail("axe-playwright-python is not installed: it is among the extra `dev`")
    return (Path(found.origin).parent / "axe.min.js").read_text()


def violations(browser: Chrome) -> list[str]:
    """What axe finds wrong by WCAG 2.2 AA, one line for each element."""
    browser.execute_script(_source())
    options = {"runOnly": {"type": "tag", "values": list(TAGS)}, "resultTypes": ["violations"]}
    answer: dict[str, Any] = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, arguments[0]).then(done, (error) => done({error: String(error)}));",
        options,
    )
    assert "error" not in answer, answer
    return [
        f"{found['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for found in answer["violations"]
        for node in found["nodes"]
    ]
