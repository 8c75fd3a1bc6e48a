"""Notices that wait for a person: the first due first, decided once, by those who work them."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from moderation.application import Application
from moderation.tables import DEFAULT_TENANT, AuditRecord, Notice, utc_now
from moderation.takedowns.records import Filing
from tests.accounts import someone
from tests.dashboard.conftest import Browser, submit
from tests.dashboard.test_cases import XSS
from tests.dashboard.test_lists import walk
from tests.moderation.reviews.conftest import MakeScan, make_scan, rules

__all__ = ["make_scan", "rules"]


def signed(browse: Browser, parts: Application, *roles: str, queues: tuple[str, ...] = ()) -> TestClient:
    who, browser = someone(parts, "ada@example.org", *roles), browse()
    browser.cookies.set("palisade-session", who.token)
    if queues:
        parts.accounts.change(DEFAULT_TENANT, who.id, roles, queues=queues, actor="test")
        browser.cookies.set("palisade-session", who.sign_in(parts))
    return browser


def file(parts: Application, number: int = 1, **changed: Any) -> Notice:
    filing: dict[str, Any] = {
        "name": "B. Person",
        "contact": f"b{number}@example.org",
        "statement": "It is me, and I did not agree.",
        "signature": "B. Person",
        "good_faith": True,
        "urls": (f"https://host.example/i/photo-{number}",),
    }
    return parts.takedowns.file(DEFAULT_TENANT, Filing(**{**filing, **changed}))[0]


def trail(parts: Application, notice: Notice) -> list[tuple[str, str]]:
    with parts.database.read() as session:
        query = sa.select(AuditRecord.action, AuditRecord.actor).where(AuditRecord.subject == notice.id)
        return [(row[0], row[1]) for row in session.execute(query.order_by(AuditRecord.id))]


def test_a_notice_is_accepted_once_by_name(parts: Application, browse: Browser, make_scan: MakeScan) -> None:
    browser = signed(browse, parts, "reviewer")
    assert "No notice waits for a decision." in browser.get("/app/takedowns").text
    make_scan("hosted", external_id="photo-1")
    notice = file(parts)
    path = f"/app/takedowns/{notice.id}"

    assert notice.id in browser.get("/app/takedowns").text
    page = browser.get(path).text
    assert "I did not agree" in page
    assert "https://host.example/i/photo-1" in page
    assert "in 48 h" in browser.get("/app/takedowns").text
    assert submit(browser, path, f"{path}/accept", reason=" ").status_code == 422
    done = submit(browser, path, f"{path}/accept", reason="It is she.")
    assert (done.status_code, done.headers["location"]) == (303, "/app/takedowns?done=accepted")
    again = browser.post(f"{path}/refuse", data={"csrf": _token(browser), "reason": "No."})
    assert again.status_code == 409
    assert parts.takedowns.find(DEFAULT_TENANT, notice.id).notice.state == "accepted"
    me = parts.accounts.named(DEFAULT_TENANT, "ada@example.org").id
    assert ("takedown.accepted", me) in trail(parts, notice)
    assert [action for action, _ in trail(parts, notice)].count("takedown.accepted") == 1
    assert "the same file" in browser.get(path).text
    assert notice.id in browser.get("/app/takedowns?state=accepted").text


def _token(browser: TestClient) -> str:
    from tests.dashboard.conftest import field

    return field(browser.get("/app/me"))


@pytest.mark.parametrize(("abusive", "state"), [("", "rejected"), ("yes", "abusive")])
def test_a_notice_is_refused_with_a_reason(parts: Application, browse: Browser, abusive: str, state: str) -> None:
    browser, notice = signed(browse, parts, "senior"), file(parts)
    path = f"/app/takedowns/{notice.id}"

    assert submit(browser, path, f"{path}/refuse", reason="It is a statue.", abusive=abusive).status_code == 303
    assert parts.takedowns.find(DEFAULT_TENANT, notice.id).notice.state == state
    assert "It is a statue." in browser.get(path).text


def test_where_no_address_leads_to_an_image_the_notice_goes_on_waiting(parts: Application, browse: Browser) -> None:
    browser, notice = signed(browse, parts, "reviewer"), file(parts, urls=("http://127.0.0.1:9/nothing",))
    path = f"/app/takedowns/{notice.id}"

    answer = submit(browser, path, f"{path}/accept", reason="It is she.")

    assert answer.status_code == 409
    assert "led to an image" in answer.text
    assert "It is she." in answer.text, "what was typed is kept"
    assert parts.takedowns.find(DEFAULT_TENANT, notice.id).notice.state == "valid"


def test_the_first_due_comes_first_and_lists_have_pages(parts: Application, browse: Browser) -> None:
    browser = signed(browse, parts, "reviewer")
    made = [file(parts, number) for number in range(60)]
    with parts.database.write() as session:
        soon = utc_now() - timedelta(hours=1)
        session.execute(sa.update(Notice).where(Notice.id == made[41].id).values(due_at=soon))

    pages = walk(browser, "/app/takedowns")
    assert [page.text.count('<td class="number"><a href="/app/takedowns/notice_') for page in pages] == [50, 10]
    text = "".join(page.text for page in pages)
    assert text.index(made[41].id) < text.index(made[0].id) < text.index(made[1].id)
    assert "1 h late" in pages[0].text
    assert all(notice.id in text for notice in made)


def test_only_those_who_work_notices_see_them(parts: Application, browse: Browser) -> None:
    browser, notice = signed(browse, parts, "reviewer", queues=("explicit",)), file(parts)

    for path in ("/app/takedowns", f"/app/takedowns/{notice.id}"):
        assert browser.get(path).status_code == 403
    for act in ("accept", "refuse"):
        sent = {"csrf": _token(browser), "reason": "Because."}
        assert browser.post(f"/app/takedowns/{notice.id}/{act}", data=sent).status_code == 403
    assert parts.takedowns.find(DEFAULT_TENANT, notice.id).notice.state == "valid"


def test_what_was_filed_is_text(parts: Application, browse: Browser) -> None:
    browser = signed(browse, parts, "reviewer")
    for number, hostile in enumerate(XSS):
        notice = file(parts, number, name=hostile, statement=hostile + " and more", signature=hostile)
        text = browser.get(f"/app/takedowns/{notice.id}").text
        assert hostile not in text or hostile == XSS[3]
        assert "<script>alert" not in text


def test_a_notice_that_is_not_there_is_said_to_be_none(parts: Application, browse: Browser) -> None:
    browser = signed(browse, parts, "reviewer")

    assert browser.get("/app/takedowns/notice_01kax1pz7rc5w1m3s0qv9yd2ht").status_code == 404
    assert browser.get("/app/takedowns/nothing").status_code == 404
    sent = {"csrf": _token(browser), "reason": "Because."}
    assert browser.post("/app/takedowns/notice_01kax1pz7rc5w1m3s0qv9yd2ht/accept", data=sent).status_code == 404
