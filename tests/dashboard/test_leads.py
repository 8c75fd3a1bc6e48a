"""The pages of leads: who may, what they show of real cases, and what they refuse."""

import csv
import io
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.views import backtest
from moderation.application import Application
from moderation.database import Database
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice, ReviewRules
from moderation.reviews.service import ReviewService
from moderation.roles import Person, Role
from moderation.tables import DEFAULT_TENANT, utc_now
from tests.accounts import Someone, someone
from tests.dashboard.conftest import Browser, field
from tests.moderation.reviews.conftest import MakeScan, explicit, make_scan, rules
from tests.moderation.reviews.test_backtest import DRAFT

__all__ = ["make_scan", "rules"]

PAGES = {
    "/app/figures": {"lead", "auditor"},
    "/app/figures/queues.csv": {"lead", "auditor"},
    "/app/backtest": {"policy", "lead"},
    "/app/health": {"lead", "admin"},
    "/app/rescans": {"lead", "policy", "admin"},
    "/app/health/models.csv": {"lead", "admin"},
    "/app/health/banks.csv": {"lead", "admin"},
}
TABLES = ("queues", "days", "reviewers", "agreement-queues", "agreement-reviewers", "precision")


def signed(
    browse: Browser, parts: Application, *roles: str, name: str = "lea@example.org"
) -> tuple[TestClient, Someone]:
    who = someone(parts, name, *roles)
    browser = browse()
    browser.cookies.set("palisade-session", who.token)
    return browser, who


@pytest.mark.parametrize("path", PAGES)
def test_only_the_roles_of_a_page_see_it(path: str, parts: Application, browse: Browser) -> None:
    assert browse().get(path).status_code == 303
    for role in Role:
        browser, _ = signed(browse, parts, role.value, name=f"{role.value}@example.org")
        answer = browser.get(path)
        assert answer.status_code == (200 if role.value in PAGES[path] else 403), role
        linked = f'href="{path}"' in browser.get("/app").text
        assert linked == (role.value in PAGES[path] and not path.endswith(".csv")), role


def test_pages_without_anything_say_so(parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "lead")

    assert browser.get("/app/figures").text.count("Nothing in this period.") == len(TABLES)
    health = browser.get("/app/health").text
    assert "There is no list yet." in health
    assert "No address is set" in health


def test_figures_show_what_was_done(
    parts: Application, browse: Browser, database: Database, rules: ReviewRules, make_scan: MakeScan
) -> None:
    browser, lead = signed(browse, parts, "lead", "reviewer")
    for name in "abc":
        make_scan(name)
    decide(database, rules, lead.account.id)

    page = browser.get("/app/figures?days=7").text
    assert "lea@example.org" in page
    assert page.count('<svg class="chart"') == 4
    queues = table(browser, "queues")
    assert (queues[0]["Queue"], queues[0]["Waiting"]) == ("explicit", "2")
    assert table(browser, "days") == [{"Day": utc_now().date().isoformat(), "Decisions": "1"}]
    assert table(browser, "precision") == [{"Label": "nsfw", "Cases": "1", "Held true": "0", "Precision": "0.0"}]
    assert table(browser, "reviewers")[0]["Reviewer"] == "lea@example.org"
    before = browser.get("/app/figures/days.csv?from=2020-01-01&to=2020-01-31")
    assert before.text.splitlines() == ["Day,Decisions"]


def test_a_hostile_name_is_neither_markup_nor_a_formula(
    parts: Application, browse: Browser, database: Database, rules: ReviewRules, make_scan: MakeScan
) -> None:
    browser, _ = signed(browse, parts, "lead")
    make_scan("a")
    decide(database, rules, "=cmd()<script>alert(1)</script>")

    assert "<script>alert" not in browser.get("/app/figures").text
    assert table(browser, "reviewers")[0]["Reviewer"] == "'=cmd()<script>alert(1)</script>"


@pytest.mark.parametrize(
    "query", ["days=0", "days=x", "days=-3", "days=99999999999", "from=2026-02-30", "from=2030-01-01&to=2029-01-01", "from=0001-01-01"]
)  # fmt: skip
def test_a_period_that_is_none_is_refused(query: str, parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "lead")

    answer = browser.get(f"/app/figures?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert browser.get(f"/app/figures/queues.csv?{query}").status_code == 422


def test_an_unknown_table_is_not_found(parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "lead")

    assert browser.get("/app/figures/secrets.csv").status_code == 404


def test_a_back_test_shows_what_would_change_and_why(parts: Application, browse: Browser, make_scan: MakeScan) -> None:
    browser, _ = signed(browse, parts, "policy")
    scan, _ = make_scan("sure", explicit(fpr=0.00005, score=0.99))
    make_scan("likely", explicit(fpr=0.001))

    answer = tried(browser, DRAFT)
    assert answer.status_code == 200
    assert scan.id in answer.text
    assert "surely-explicit" in answer.text
    assert "Explicit." in answer.text
    assert "Nothing was scanned" in tried(browser, DRAFT, **{"from": "2020-01-01", "to": "2020-01-02"}).text
    download = tried(browser, DRAFT, **{"as": "csv"})
    assert download.headers["content-type"].startswith("text/csv")
    assert scan.id in {row["Scan"] for row in csv.DictReader(io.StringIO(download.text))}


def test_an_error_of_the_draft_is_shown_at_its_line(parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "policy")

    answer = tried(browser, DRAFT.replace("nsfw.fpr <=", "nfsw.fpr <="))
    assert answer.status_code == 422
    assert "▸     when: nfsw.fpr" in answer.text
    assert "draft:10" in answer.text
    assert "name: surely-explicit" in answer.text, "what was typed is still there"


@pytest.mark.parametrize("draft", ["", "   \n", "{", "a: &x [*x]", "x" * 300_000, "<script>alert(1)</script>"])
def test_what_is_no_policy_is_refused(draft: str, parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "policy")

    answer = tried(browser, draft)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "<script>" not in answer.text


def test_a_period_with_too_much_is_cut_and_that_is_said(
    parts: Application, browse: Browser, make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, _ = signed(browse, parts, "policy")
    monkeypatch.setattr(backtest, "MOST", 2)
    for name in "abc":
        make_scan(name)

    assert "more than 2 scans" in tried(browser, DRAFT).text


def test_a_form_without_its_token_is_refused(parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "policy")

    assert browser.post("/app/backtest", data={"policy": DRAFT, "days": "7"}).status_code == 403


def test_a_shipped_policy_can_be_begun_with(parts: Application, browse: Browser) -> None:
    browser, _ = signed(browse, parts, "policy")

    assert "name: mainstream" in browser.get("/app/backtest?policy=mainstream").text
    for hostile in ("../../settings", "nothing", "/etc/passwd"):
        assert browser.get("/app/backtest", params={"policy": hostile}).status_code == 404


def test_health_shows_lists_and_events(parts: Application, browse: Browser, tmp_path: Path) -> None:
    from moderation import events
    from moderation.banks.records import BankSpec

    browser, _ = signed(browse, parts, "admin")
    parts.banks.create(DEFAULT_TENANT, BankSpec("campaign-7"), actor="test")
    with parts.database.write() as session:
        failed = events.add(session, DEFAULT_TENANT, "case.decided", {})
        failed.error = "refused"
        given_up = events.add(session, DEFAULT_TENANT, "case.decided", {})
        given_up.next_at = None

    backlog = parts.outbox.backlog(DEFAULT_TENANT)
    assert (backlog.waiting, backlog.failing, backlog.given_up, backlog.delivered) == (1, 1, 1, 0)
    assert backlog.oldest is not None
    assert utc_now() - backlog.oldest < timedelta(minutes=1)
    assert "campaign-7" in browser.get("/app/health").text
    banks = csv.DictReader(io.StringIO(browser.get("/app/health/banks.csv").text))
    assert [(row["Bank"], row["Entries"]) for row in banks] == [("campaign-7", "0")]
    assert browser.get("/app/health/secrets.csv").status_code == 404


def tried(browser: TestClient, draft: str, **more: str):  # type: ignore[no-untyped-def]
    token = field(browser.get("/app/backtest"))
    return browser.post("/app/backtest", data={"csrf": token, "policy": draft, "days": "7", **more})


def table(browser: TestClient, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(browser.get(f"/app/figures/{name}.csv?days=7").text)))


def decide(database: Database, rules: ReviewRules, reviewer: str) -> None:
    """One case is overturned."""
    person = Person(reviewer, DEFAULT_TENANT, reviewer, frozenset({Role.REVIEWER}))
    claim = ReviewService(database, rules).claim(person)
    assert claim is not None
    DecisionService(database, rules).decide(person, claim.case.id, claim.case.token, Choice("overturn", reason="Fine."))
