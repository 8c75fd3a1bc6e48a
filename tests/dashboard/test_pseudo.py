"""Every word that a page shows comes through the catalogue: under a made-up language no English one is left.

The language has full-width letters, ｌｉｋｅ ｔｈｅｓｅ. What stays in plain letters is data: names, ids, units.
"""

import gettext
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard import messages
from dashboard.app import create_app
from moderation import audit
from moderation.application import Application
from moderation.reviews.appeals import Plea
from moderation.reviews.records import Choice
from moderation.roles import Role
from moderation.tables import DEFAULT_TENANT, utc_now
from moderation.takedowns.records import Filing
from tests.accounts import someone
from tests.dashboard.conftest import Browser
from tests.moderation.reviews.conftest import ANNA, MakeScan, make_scan, rules

__all__ = ["make_scan", "rules"]

KEPT = re.compile(r"(%\(\w+\)[sd]|<[^>]*>|&\w+;|\{\w*\}|%%)")

DATA = {
    *("Palisade", "UTC", "CSV", "MB", "kB", "TOTP", "PALISADE"),
    *("SHA", "PDQ", "JSON", "API", "URL", "CEL"),
}
"""Names and units that are the same in every language."""


def pseudo(message: str) -> str:
    """The message in the made-up language; places and markup stay."""
    parts = KEPT.split(message)
    wide = [re.sub("[!-~]", lambda c: chr(ord(c[0]) + 0xFEE0), part) if at % 2 == 0 else part for at, part in enumerate(parts)]  # fmt: skip
    return "".join(wide)


class Pseudo(gettext.NullTranslations):
    def gettext(self, message: str) -> str:
        return pseudo(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        return pseudo(one if number == 1 else many)


class Words(HTMLParser):
    """The words that people see or hear on a page: text, and attributes that are read out."""

    SPOKEN = ("aria-label", "title", "placeholder", "alt", "aria-description", "data-undo")
    QUIET = ("script", "style", "code", "pre", "kbd", "textarea", "option", "samp")

    def __init__(self) -> None:
        super().__init__()
        self.quiet: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in self.QUIET:
            self.quiet.append(tag)
        self.found += [value for name, value in attributes if name in self.SPOKEN and value]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.quiet:
            self.quiet.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.quiet:
            self.found.append(data)


def english(page: str, data: set[str]) -> set[str]:
    """The plain words of a page that are no data."""
    words = Words()
    words.feed(page)
    text = "\n".join(words.found)
    for known in sorted(data, key=len, reverse=True):
        text = text.replace(known, " ")
    text = re.sub(r"\S*(?:://|@|_)\S*", " ", text)  # addresses, names and ids
    return set(re.findall(r"[A-Za-z]{2,}", text)) - DATA


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'palisade.db'}"


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_catalogue", lambda _code: Pseudo())


def visited(browser: TestClient, paths: list[str], data: set[str]) -> dict[str, set[str]]:
    """The English that is left on each page."""
    found = {}
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code in (200, 404, 422), (path, answer.status_code)
        found[path] = english(answer.text, data)
    return {path: words for path, words in found.items() if words}


def test_the_made_up_language_keeps_places_and_markup() -> None:
    assert pseudo("At %(n)s <b>or</b> {name}") == "Ａｔ %(n)s <b>ｏｒ</b> {name}"
    assert english('<p title="Say it">Ｏｋ <b>no</b> <code>code</code> a@b.example</p>', set()) == {"Say", "it", "no"}


@pytest.mark.usefixtures("abroad")
def test_public_pages_hold_no_english(parts: Application, browse: Browser) -> None:
    _, invitation = parts.accounts.add(DEFAULT_TENANT, "new@example.org", ["reviewer"], actor="test")
    filing = Filing(name="A. Person", contact="a@example.org", urls=("https://host.example/1",))
    tokens = [parts.takedowns.file(DEFAULT_TENANT, each)[1] for each in (filing, _whole())]
    paths = ["/", "/notice", "/sign-in", "/nothing", f"/welcome/{invitation}", "/welcome/" + "x" * 43]
    paths += [f"/notice/{token}" for token in tokens]

    assert visited(browse(), paths, {"Take It Down", "NCMEC", "StopNCII.org", *tokens, "testserver"}) == {}


def _whole() -> Filing:
    return Filing(
        name="B. Person",
        contact="b@example.org",
        statement="It is me.",
        signature="B. Person",
        good_faith=True,
        urls=("https://host.example/2",),
    )


@pytest.mark.usefixtures("abroad")
def test_pages_of_people_with_accounts_hold_no_english(
    parts: Application, browse: Browser, make_scan: MakeScan
) -> None:
    who, browser = someone(parts, "ada@example.org", *(role.value for role in Role)), browse()
    browser.cookies.set("palisade-session", who.token)
    empty = ["/app", "/app/me", "/app/queue", "/app/appeals", "/app/figures", "/app/backtest", "/app/health"]
    empty += ["/app/accounts", f"/app/accounts/{who.id}", "/app/audit?action=none", "/app/accounts?search=zz"]
    empty += ["/app/takedowns"]
    empty += ["/app/figures?from=never", "/app/backtest?policy=none-such", "/app/accounts/acct_1", "/app/nothing"]
    data = {"Firefox", "synthetic", "swap", "case.", "zz", "acct_1", "none-such", "never", who.id}

    assert visited(browser, empty, data) == {}

    scan, case = make_scan("a")
    assert case is not None
    parts.reviews.take(ANNA, case.id)
    parts.decisions.decide(ANNA, case.id, 1, Choice("block", clause="4.2"))
    parts.decisions.release(now=utc_now() + timedelta(minutes=5))
    appeal = parts.appeals.file(DEFAULT_TENANT, Plea("１２３", scan.id), actor="１")
    with parts.database.write() as session:
        audit.record(session, DEFAULT_TENANT, "１", "case.opened", "２")
    filled = ["/app/queue", "/app/appeals", "/app/figures", "/app/audit?actor=１", "/app/accounts"]
    data |= {
        case.id,
        appeal.id,
        appeal.case_id,
        scan.id,
        "anna",
        "nsfw",
        "explicit",
        "appeals",
        "block",
        "case.",
        "case",
        "scan",
    }

    assert visited(browser, filled, data) == {}


@pytest.mark.usefixtures("abroad")
def test_the_page_of_a_case_holds_no_english(parts: Application, browse: Browser, make_scan: MakeScan) -> None:
    """As it waits, as somebody else holds it, as its own holder sees it, and as it was decided."""
    who, browser = someone(parts, "ada@example.org", *(role.value for role in Role)), browse()
    browser.cookies.set("palisade-session", who.token)
    scan, case = make_scan("a")
    assert case is not None
    data = {
        case.id,
        scan.id,
        scan.image.sha256,
        scan.policy,
        "PNG",
        "anna",
        "ada",
        "nudity",
        "explicit",
        "restrict",
        "block",
    }
    data |= {reason["reason"] for reason in scan.verdict["reasons"]}  # the host's own words
    path = f"/app/cases/{case.id}"
    left = visited(browser, [path], data)
    parts.reviews.take(ANNA, case.id)
    left |= visited(browser, [f"{path}?held"], data)
    parts.decisions.decide(ANNA, case.id, 1, Choice("block", clause="4.2"))
    parts.decisions.release(now=utc_now() + timedelta(minutes=5))
    left |= visited(browser, [f"{path}?decided"], data)

    assert left == {}


def test_errors_are_translated_with_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class German(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            known = {"There is no case {}.": "Den Fall {} gibt es nicht.", "Say why.": "Sage, warum."}
            return known.get(message, message)

    monkeypatch.setattr(messages, "_catalogue", lambda _code: German())

    assert messages.error_words("There is no case 'case_7'.") == "Den Fall 'case_7' gibt es nicht."
    assert messages.error_words("Say why.") == "Sage, warum."
    assert messages.error_words("Name 3 of 'these'.") == "Name 3 of 'these'."
    assert messages.error_words("") == ""


def test_the_script_of_the_drop_page_knows_all_its_words(parts: Application) -> None:
    from dashboard.views.drop import WORDS

    source = (Path(messages.__file__).parent / "static" / "drop.js").read_text()
    assert create_app(parts).title
    asked = set(re.findall(r'words\((?:\w[\w.]* \? )?"(\w+)"', source)) | set(re.findall(r'\? "(\w+)" : "', source))
    asked |= set(re.findall(r'\? "\w+" : "(\w+)"\)', source)) | {name for name in WORDS if name.startswith("action_")}
    asked |= {name for name in WORDS if name.startswith("title_")} | {"allow", "label", "restrict", "hold", "block"}
    assert asked == set(WORDS)
