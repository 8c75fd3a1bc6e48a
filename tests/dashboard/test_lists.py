"""Lists of nothing and of ten thousand: accounts, appeals and the audit trail; with names that try to be markup."""

import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from moderation import audit
from moderation.application import Application
from moderation.reviews.appeals import Plea
from moderation.tables import DEFAULT_TENANT, Account, Appeal, AuditRecord, Tenant, new_id, utc_now
from tests.accounts import someone
from tests.dashboard.conftest import Browser
from tests.dashboard.test_cases import XSS
from tests.moderation.reviews.conftest import SENIOR, MakeScan, listed, make_scan, rules

__all__ = ["make_scan", "rules"]

MANY = 10_000


def signed(browse: Browser, parts: Application, *roles: str, name: str = "ada@example.org") -> TestClient:
    who, browser = someone(parts, name, *roles), browse()
    browser.cookies.set("palisade-session", who.token)
    return browser


def add_accounts(parts: Application, names: list[str], tenant: str = DEFAULT_TENANT) -> None:
    rows = [
        {
            "id": new_id("acct"),
            "tenant_id": tenant,
            "created_at": utc_now(),
            "name": name,
            "roles": ["reviewer"],
            "preferences": {},
        }
        for name in names
    ]
    with parts.database.write() as session:
        session.execute(sa.insert(Account), rows)


def walk(browser: TestClient, path: str) -> list[httpx2.Response]:
    """A list from its first page to its last."""
    pages = [browser.get(path)]
    while found := re.search(r'<a[^>]*rel="next" href="([^"]*)"', pages[-1].text):
        pages.append(browser.get(found[1].replace("&amp;", "&")))
        assert pages[-1].status_code == 200
        assert len(pages) < 300
    return pages


def test_ten_thousand_accounts_are_shown_by_pages_and_found(parts: Application, browse: Browser) -> None:
    names = [f"p{number:05}@example.org" for number in range(MANY)]
    add_accounts(parts, names)
    browser = signed(browse, parts, "admin")

    first = browser.get("/app/accounts").text
    assert first.count('<td class="name"><a href="/app/accounts/') == 50
    assert "10001 people may use" in first
    assert 'aria-label="Further pages"' in first
    found = walk(browser, "/app/accounts?search=P0007")
    assert [re.findall(r"p\d{5}@", page.text) for page in found] == [[f"p{number:05}@" for number in range(70, 80)]]
    assert "10 accounts have" in found[0].text
    pages = walk(browser, "/app/accounts?search=p01")
    assert [len(re.findall(r"/app/accounts/acct_", page.text)) for page in pages] == [50] * 20
    assert "To the beginning" in pages[1].text
    assert len({name for page in pages for name in re.findall(r"p01\d{3}@", page.text)}) == 1_000
    assert "Nobody has that name." in browser.get("/app/accounts?search=%25").text, "no wild card"


def test_an_account_of_another_tenant_is_in_nobodys_list(parts: Application, browse: Browser) -> None:
    with parts.database.write() as session:
        session.add(Tenant(id="other", name="Other", created_at=utc_now()))
    add_accounts(parts, ["theirs@example.org"], "other")
    browser = signed(browse, parts, "admin")

    assert "theirs@" not in browser.get("/app/accounts").text
    assert "theirs@" not in browser.get("/app/accounts?search=theirs").text.replace('value="theirs"', "")


def test_appeals_are_shown_by_pages(parts: Application, browse: Browser, make_scan: MakeScan) -> None:
    browser = signed(browse, parts, "reviewer")
    assert "No appeal waits." in browser.get("/app/appeals").text
    scans = [make_scan(f"b{number}", listed("intimate", "block"))[0] for number in range(2)]
    appeal = parts.appeals.file(DEFAULT_TENANT, Plea(XSS[0] + "long" * 90, scans[0].id), actor="test")
    _fill_appeals(parts, appeal, 120)

    pages = walk(browser, "/app/appeals")
    assert [len(re.findall("/app/cases/case_", page.text)) for page in pages] == [50, 50, 21]
    assert "<script>alert" not in pages[0].text
    assert "The statement was deleted." in pages[1].text


def _fill_appeals(parts: Application, like: Appeal, number: int) -> None:
    """Open appeals whose statements are gone."""
    columns = {column.key: getattr(like, column.key) for column in sa.inspect(Appeal).column_attrs}
    rows = [{**columns, "id": new_id("appeal"), "scan_id": None, "sealed": None} for _ in range(number)]
    with parts.database.write() as session:
        session.execute(sa.insert(Appeal), rows)


def test_auditors_read_the_trail_by_pages(parts: Application, browse: Browser) -> None:
    browser = signed(browse, parts, "auditor")
    with parts.database.write() as session:
        for number in range(120):
            audit.record(session, DEFAULT_TENANT, "key_1", "case.opened", f"case_{number}", queue="explicit")

    pages = walk(browser, "/app/audit?action=case.")
    assert [len(re.findall("<code>case.opened</code>", page.text)) for page in pages] == [50, 50, 20]
    assert pages[0].text.index("case_119") < pages[0].text.index("case_118"), "the newest first"
    assert "case_7<" in browser.get("/app/audit?subject=case_7").text
    assert browser.get("/app/audit?subject=case_7").text.count("<code>") == 1
    assert "<code>account." in browser.get("/app/audit?actor=ada@example.org").text
    assert "Nothing of that kind was done." in browser.get("/app/audit?actor=nobody").text


@pytest.mark.parametrize("role", ["reviewer", "senior", "lead", "policy", "admin"])
def test_the_trail_is_the_auditors(parts: Application, browse: Browser, role: str) -> None:
    assert signed(browse, parts, role).get("/app/audit").status_code == 403


def test_the_trail_tells_nothing_of_known_child_abuse(parts: Application, browse: Browser, make_scan: MakeScan) -> None:
    browser = signed(browse, parts, "auditor")
    scan, grave = make_scan("grave", listed("child_abuse", "block"))
    _, plain = make_scan("plain")
    assert grave is not None
    assert plain is not None
    for turn, person in enumerate((SENIOR, SENIOR), start=1):
        parts.reviews.take(person, grave.id)
        parts.reviews.release(person, grave.id, turn)
    with parts.database.write() as session:
        session.execute(sa.text("update cases set state = 'closed', rank = null where id = :id"), {"id": grave.id})
    appeal = parts.appeals.file(DEFAULT_TENANT, Plea("It is not.", scan.id), actor="test")

    page = "".join(page.text for page in walk(browser, "/app/audit"))
    assert plain.id in page
    assert grave.id not in page
    assert appeal.id not in page
    assert appeal.case_id not in page


@pytest.mark.parametrize("hostile", XSS)
def test_names_and_notes_are_text(parts: Application, browse: Browser, hostile: str) -> None:
    roles = ("admin", "auditor", "lead", "reviewer", "policy")
    browser = signed(browse, parts, *roles)
    add_accounts(parts, [hostile.lower()[:100]])
    with parts.database.write() as session:
        session.add(
            AuditRecord(
                id=new_id("audit"),
                created_at=utc_now() + timedelta(minutes=1),
                tenant_id=DEFAULT_TENANT,
                actor=hostile,
                action=hostile[:60],
                subject=hostile,
                note={hostile: [hostile, {"deep": hostile}]},
            )
        )
    account = parts.accounts.page(DEFAULT_TENANT, search=hostile)[0][0]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/app/accounts", {}),
        ("/app/accounts", {"search": hostile}),
        ("/app/accounts", {"search": "zz" + hostile, "after": hostile}),
        (f"/app/accounts/{account.id}", {"done": hostile}),
        ("/app/audit", {}),
        ("/app/audit", {"actor": hostile, "action": hostile, "subject": hostile}),
        ("/app/figures", {"from": hostile}),
        ("/app/backtest", {"policy": hostile}),
        ("/app/health", {}),
        ("/app/me", {"done": hostile}),
        ("/app/appeals", {}),
        ("/app", {}),
    ]

    for path, query in asked:
        text = browser.get(path, params=query).text
        assert hostile not in text or hostile == XSS[3], path  # braces are plain text
        assert not re.search(r"<script(?! type=\"module\" src=\"/static)|<img src=x|<svg/onload|'onmouseover=", text), (
            path
        )
