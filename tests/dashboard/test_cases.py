"""The reviewers' pages: who is shown what, what is noted before, and what hostile requests and names get."""

import hashlib
import io
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import PIL.Image
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from detectors.base import Finding
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.reviews.records import Choice
from moderation.tables import DEFAULT_TENANT, Reveal, ReviewCase, Scan, StoredImage, utc_now
from tests.accounts import Someone, someone
from tests.dashboard.conftest import Browser, field
from tests.dashboard.test_sign_in import sign_in
from tests.factories import encode, picture
from tests.moderation.accounts.conftest import MakeParts
from tests.moderation.reviews.conftest import MakeScan, explicit, listed, make_scan, rules

__all__ = ["make_scan", "rules"]

XSS = ['"><script>alert(1)</script>', "<img src=x onerror=alert(1)>", "'onmouseover='alert(1)", "{{ 7 * 7 }}", "</textarea><svg/onload=alert(1)>"]  # fmt: skip


@dataclass
class Desk:
    """Somebody at their browser."""

    browser: TestClient
    parts: Application
    who: Someone

    def post(self, path: str, **fields: Any) -> Any:
        return self.browser.post(path, data={"csrf": field(self.browser.get("/app/me")), **fields})

    def claim(self) -> str:
        found = self.post("/app/queue/next").headers["location"]
        assert found.startswith("/app/cases/"), found
        return str(found)

    def token(self, path: str) -> str:
        return field(self.browser.get(path), "token")

    def decide(self, path: str, outcome: str, **more: Any) -> Any:
        fields = {
            "token": self.token(path),
            "outcome": outcome,
            "clause": "nudity-1",
            "reason": "It is a statue.",
            **more,
        }
        return self.post(f"{path}/decide", **fields)


@pytest.fixture
def seated(make_parts: MakeParts, browse: Browser) -> Any:
    """Seats people before one and the same application."""
    parts = make_parts(image_keys=new_secret("images"), review_second_share=0.0, review_exposures=3)

    def seat(name: str = "ada@example.org", *roles: str) -> Desk:
        who, browser = someone(parts, name, *roles), browse(parts)
        sign_in(browser, parts, who)
        return Desk(browser, parts, who)

    return seat


def keep_image(parts: Application, scan: Scan, sha256: str = "") -> str:
    """Keep a drawn picture in the place of a scan's image; gives its SHA-256."""
    data = encode(picture(300, 240, seed=5))
    sha256 = sha256 or scan.image.sha256
    parts.store.put(DEFAULT_TENANT, sha256, data)
    with parts.database.write() as session:
        session.execute(sa.update(StoredImage).where(StoredImage.sha256 == sha256).values(kept_at=utc_now()))
    return sha256


@pytest.mark.parametrize("path", ["/app/queue", "/app/appeals", "/app/cases/case_1"])
def test_without_the_role_nothing_is_shown(seated: Any, path: str) -> None:
    desk = seated("pia@example.org", "policy")

    assert desk.browser.get(path).status_code == 403
    assert desk.post("/app/queue/next").status_code == 403


def test_the_queue_says_what_waits_and_why(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    assert "All queues are empty." in desk.browser.get("/app/queue").text
    make_scan("a"), make_scan("b")
    page = desk.browser.get("/app/queue").text

    assert "explicit" in page
    assert "severity 2 of 5" in page
    assert "All queues are empty." not in page


def test_a_case_is_claimed_decided_and_undone_without_javascript(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    make_scan("a")
    path = desk.claim()
    page = desk.browser.get(path).text
    assert "Looks explicit" in page
    assert "1 in 1,000 benign pictures scores as high" in page
    done = desk.decide(path, "uphold")

    assert done.headers["location"] == f"/app/queue?done={path.rpartition('/')[2]}"
    assert "Undo" in desk.browser.get(done.headers["location"]).text
    assert desk.post(f"{path}/undo").headers["location"] == path
    assert 'data-held="yes"' in desk.browser.get(path).text


def test_what_is_missing_is_said_and_what_was_typed_is_kept(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    make_scan("a")
    answer = desk.decide(desk.claim(), "overturn", reason=" ", clause="clause-77")

    assert answer.status_code == 422
    assert "needs a reason" in answer.text
    assert 'value="clause-77"' in answer.text


def test_no_image_without_a_claim_and_none_uncovered_without_a_note(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, case = make_scan("a")
    assert case
    sha256, path = keep_image(desk.parts, scan), f"/app/cases/{case.id}"

    assert "/image?" not in desk.browser.get(path).text
    assert desk.browser.get(f"{path}/image?sha256={sha256}").status_code == 403
    assert desk.post(f"{path}/reveal", sha256=sha256, how="whole").status_code == 403, "not claimed"
    desk.claim()
    covered = desk.browser.get(f"{path}/image?sha256={sha256}")
    assert (covered.status_code, covered.headers["cache-control"]) == (200, "no-store")
    pixels = PIL.Image.open(io.BytesIO(covered.content)).convert("RGB")
    assert max(pixels.size) == 200
    assert max(abs(r - b) for r, _, b in pixels.resize((20, 16)).get_flattened_data()) < 12, "grey"
    for how in ("part", "blurred", "whole", "heat"):
        assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal={how}").status_code == 403, how

    assert desk.post(f"{path}/reveal", sha256=sha256, how="part", part=0).status_code == 303
    assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal=part&part=0").status_code == 200
    assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal=part&part=1").status_code == 403, "another part"
    assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal=whole").status_code == 403, "a part is not the whole"
    desk.post(f"{path}/reveal", sha256=sha256, how="whole")
    whole = desk.browser.get(f"{path}/image?sha256={sha256}&reveal=whole")
    assert PIL.Image.open(io.BytesIO(whole.content)).size == (300, 240)
    with desk.parts.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Reveal)) == 2
    desk.post(f"{path}/release", token=desk.token(path))
    assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal=whole").status_code == 403, "given back"


def test_an_image_of_another_case_is_not_given(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    make_scan("a")
    other, _ = make_scan("b", Finding("synthetic", "synthetic", score=0.9, fpr=0.0001), policy="mainstream")
    sha256 = keep_image(desk.parts, other)

    assert desk.browser.get(f"{desk.claim()}/image?sha256={hashlib.sha256(b'zz').hexdigest()}").status_code == 403
    assert desk.browser.get(f"/app/cases/case_0/image?sha256={sha256}").status_code == 404


def test_known_abuse_is_shown_to_nobody(seated: Any, make_scan: MakeScan) -> None:
    reviewer, senior = seated(), seated("sol@example.org", "senior")
    scan, case = make_scan("a", listed("child_abuse", "block"), explicit())
    assert case
    sha256, path = keep_image(senior.parts, scan), f"/app/cases/{case.id}"

    assert reviewer.browser.get(path).status_code == 403
    assert senior.claim() == path
    main = senior.browser.get(path).text.partition("<main")[2]
    assert "<img" not in main
    assert "<figure" not in main
    assert "/image" not in main
    assert sha256 in main
    assert "Do not search for the picture" in main
    assert senior.post(f"{path}/reveal", sha256=sha256, how="whole").status_code == 403
    for query in ("", "&reveal=part", "&reveal=whole", "&reveal=heat"):
        answer = senior.browser.get(f"{path}/image?sha256={sha256}{query}")
        assert (answer.status_code, "image" in answer.headers["content-type"]) == (403, False)


def test_a_break_hides_the_images(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, _ = make_scan("a")
    sha256, path = keep_image(desk.parts, scan), desk.claim()
    for _ in range(3):
        desk.post(f"{path}/reveal", sha256=sha256, how="whole")
    assert desk.post(f"{path}/reveal", sha256=sha256, how="whole").status_code == 429

    page = desk.browser.get(path).text
    assert "A break is due." in page
    assert "/image?" not in page
    assert desk.browser.get(f"{path}/image?sha256={sha256}&reveal=whole").status_code == 403
    assert 'data-key="n"' not in desk.browser.get("/app/queue").text
    assert desk.post("/app/queue/next").status_code in (303, 429)


def test_stopping_gives_everything_back(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    make_scan("a")
    path = desk.claim()

    assert desk.post("/app/queue/stop").status_code == 303
    assert "You stopped. Take the time." in desk.browser.get("/app/queue").text
    assert 'data-held="no"' in desk.browser.get(path).text


@pytest.mark.parametrize("attack", XSS)
def test_hostile_names_and_metadata_stay_text(seated: Any, make_scan: MakeScan, attack: str) -> None:
    desk = seated()
    metadata = Finding("metadata", "software", evidence={"software": attack, attack: attack})
    scan, case = make_scan("a", explicit(), metadata, external_id=attack)
    assert case
    with desk.parts.database.write() as session:
        stored = session.get(Scan, scan.id)
        assert stored
        stored.uploader, stored.surface = attack, attack
        again = session.get(ReviewCase, case.id)
        assert again
        again.queue = attack
    for path in (desk.claim(), "/app/queue", f"/app/queue?queue={attack}"):
        page = desk.browser.get(path).text
        for sign in ("<script>alert", "<img src=x", "<svg/onload", "'onmouseover='alert"):
            assert sign not in page, path
        assert "{{" in attack or "49" not in page.partition("Uploader")[2][:400]


@pytest.mark.parametrize("path", ["/app/queue/next", "/app/queue/stop", "{case}/claim", "{case}/decide", "{case}/reveal", "{case}/undo", "{case}/adopt", "{case}/renew", "{case}/release"])  # fmt: skip
def test_a_forged_form_does_nothing(seated: Any, make_scan: MakeScan, path: str) -> None:
    desk = seated()
    _, case = make_scan("a")
    assert case
    fields = {"csrf": "0" * 64, "token": 1, "outcome": "uphold", "clause": "x", "sha256": "0" * 64, "how": "whole"}
    answer = desk.browser.post(path.format(case=f"/app/cases/{case.id}"), data=fields)

    assert answer.status_code == 403
    with desk.parts.database.read() as session:
        kept = session.get(ReviewCase, case.id)
        assert kept
        assert (kept.state, kept.holder) == ("open", None)


def test_a_late_decision_is_kept_and_taken_up(seated: Any, make_scan: MakeScan) -> None:
    ada, ben = seated(), seated("ben@example.org")
    _, case = make_scan("a")
    assert case
    path, headers = ada.claim(), {"x-csrf-token": field(ada.browser.get("/app/me"))}
    token = ada.token(path)
    with ada.parts.database.write() as session:
        session.execute(sa.update(ReviewCase).values(lease_until=utc_now() - timedelta(seconds=1)))
    assert ben.claim() == path, "the lease was over"
    fields = {"token": token, "outcome": "uphold", "clause": "nudity-1"}
    late = ada.browser.post(f"{path}/decide", data=fields, headers=headers)

    assert late.status_code == 409
    assert late.json()["error"]["code"] == "decision_late"
    assert "came too late" in ben.browser.get(path).text, "offered to who holds it now"
    assert ada.browser.post(f"{path}/adopt", data={"decision": late.json()["late"]}, headers=headers).status_code == 409
    assert ben.post(f"{path}/adopt", decision=late.json()["late"]).status_code == 303
    assert ada.parts.reviews.show(_person(ada), case.id).case.outcome == "uphold"


def test_an_appeal_is_decided_by_another_than_before(seated: Any, make_scan: MakeScan) -> None:
    from moderation.reviews.appeals import Plea

    ada, ben = seated(), seated("ben@example.org")
    scan, _ = make_scan("a")
    ada.decide(ada.claim(), "uphold")
    ada.parts.decisions.release(now=utc_now() + timedelta(minutes=5))
    words = f"It is a photo of a statue. {XSS[0]}"
    appeal = ada.parts.appeals.file(DEFAULT_TENANT, Plea(words, scan_id=scan.id), actor="test")
    path = f"/app/cases/{appeal.case_id}"

    page = ben.browser.get("/app/appeals").text
    assert "It is a photo of a statue." in page
    assert "<script>alert" not in page + ben.browser.get(path).text
    assert ada.post(f"{path}/claim").status_code == 403, "decided before"
    assert ada.post("/app/queue/next", queue="appeals").headers["location"].endswith("done=empty")
    assert ben.claim() == path
    assert ben.decide(path, "overturn").status_code == 303
    ben.parts.decisions.release(now=utc_now() + timedelta(minutes=5))
    assert "overturn" in ben.browser.get("/app/appeals?state=decided").text


def test_a_case_whose_image_was_deleted_can_be_decided(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, _ = make_scan("a")
    with desk.parts.database.write() as session:
        session.execute(sa.text("UPDATE case_images SET scan_id = NULL, image_id = NULL"))
    path = desk.claim()

    assert "The image was deleted." in desk.browser.get(path).text
    assert desk.browser.get(f"{path}/image?sha256={scan.image.sha256}").status_code == 404
    assert desk.decide(path, "uphold").status_code == 303


def test_a_form_sent_twice_counts_once(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    make_scan("a")
    path = desk.claim()
    token = desk.token(path)

    assert desk.decide(path, "uphold", token=token).status_code == 303
    twice = desk.post(f"{path}/decide", token=token, outcome="uphold", clause="nudity-1", reason="It is a statue.")
    assert twice.status_code == 303
    other = desk.post(f"{path}/decide", token=token, outcome="restrict", clause="nudity-1")
    assert other.status_code == 409
    with pytest.raises(Exception, match="outcome"):
        Choice("delete")


def _person(desk: Desk) -> Any:
    from moderation.accounts.records import person_of

    return person_of(desk.who.account)
