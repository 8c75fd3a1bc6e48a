"""Looking: faces beside the reference, images like the case's, animations; who is shown what, and what is noted before."""

import io
import json
import random
import struct
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import PIL.Image
import pytest
import sqlalchemy as sa

from detectors.base import Finding, Region
from moderation.commands.keys import new_secret
from moderation.people import references
from moderation.people.enrolment import Quality
from moderation.people.names import details_context
from moderation.people.photos import Assessed
from moderation.tables import (
    DEFAULT_TENANT,
    AuditRecord,
    Person,
    PersonEvent,
    Reveal,
    ReviewCase,
    StoredImage,
    new_id,
    utc_now,
)
from tests.accounts import someone
from tests.dashboard.conftest import Browser
from tests.dashboard.test_cases import Desk, keep_image
from tests.dashboard.test_sign_in import sign_in
from tests.factories import picture
from tests.moderation.accounts.conftest import MakeParts
from tests.moderation.reviews.conftest import MakeScan, explicit, hashes, listed, make_scan, rules

__all__ = ["make_scan", "rules"]


@pytest.fixture
def seated(make_parts: MakeParts, browse: Browser) -> Any:
    """Seats people before one and the same application."""
    parts = make_parts(
        image_keys=new_secret("images"), people_keys=new_secret("people"), review_second_share=0.0, review_exposures=40
    )

    def seat(name: str = "ada@example.org", *roles: str) -> Desk:
        who, browser = someone(parts, name, *roles), browse(parts)
        sign_in(browser, parts, who)
        return Desk(browser, parts, who)

    return seat


def enrolled(parts: Any, *, reference: bool = True) -> str:
    """Somebody enrolled without a photo: no model is needed. The picture of them is drawn."""
    person_id = new_id("person")
    cipher = parts.person_keys.create(DEFAULT_TENANT, person_id)
    details = {"name": "C. Person", "kind": "consent", "document": "file 17", "vouched_by": "A. Clerk"}
    details |= {"expires_at": (utc_now() + timedelta(days=9)).isoformat(), "guardian": "", "reference": reference}
    person = Person(
        id=person_id,
        tenant_id=DEFAULT_TENANT,
        created_at=utc_now(),
        kind="adult",
        details=cipher.encrypt(json.dumps(details).encode(), details_context(DEFAULT_TENANT, person_id)),
        expires_at=utc_now() + timedelta(days=9),
    )
    drawn = Assessed(
        (), np.zeros((1, 128), np.float32), (Quality(100, 50.0, 0.1, 100.0),), (picture(112, 112, seed=8),)
    )
    with parts.database.write() as session:
        session.add(person)
        session.flush()
        if reference:
            references.keep(session, person, cipher, drawn, actor="test")
    return person_id


def like(person: str) -> Finding:
    return Finding(
        "likeness", "likeness", score=0.93, fpr=0.0001, region=Region(0.3, 0.2, 0.3, 0.4), evidence={"person": person}
    )


@dataclass
class Matched:
    """A case about a face that is like somebody's, held by whoever is at the desk."""

    desk: Desk
    path: str
    sha256: str
    person: str

    def get(self, what: str, person: str = "") -> Any:
        return self.desk.browser.get(f"{self.path}/{what}?sha256={self.sha256}&enrolled={person or self.person}")

    def compare(self, person: str = "") -> Any:
        return self.desk.post(f"{self.path}/faces", sha256=self.sha256, enrolled=person or self.person)

    def rows(self, table: Any) -> list[Any]:
        with self.desk.parts.database.read() as session:
            return list(session.scalars(sa.select(table).order_by(table.id)))


def matched(desk: Desk, make_scan: MakeScan, *, reference: bool = True) -> Matched:
    person = enrolled(desk.parts, reference=reference)
    scan, _ = make_scan(f"face of {person}", like(person), explicit())
    return Matched(desk, desk.claim(), keep_image(desk.parts, scan), person)


def test_a_senior_compares_a_face_and_every_look_is_noted(seated: Any, make_scan: MakeScan) -> None:
    case = matched(seated("sol@example.org", "senior"), make_scan)
    page = case.desk.browser.get(case.path).text
    assert "Compare the faces" in page
    assert "1 in 10,000 strangers looks as much like somebody enrolled" in page
    assert "/reference?" not in page
    assert case.get("face").status_code == case.get("reference").status_code == 403, "not noted"

    assert case.compare().headers["location"] == f"{case.path}?faces={case.person}"
    face, reference = case.get("face"), case.get("reference")
    assert PIL.Image.open(io.BytesIO(face.content)).size == (144, 144), "the box and a quarter around it"
    assert PIL.Image.open(io.BytesIO(reference.content)).size == (112, 112)
    assert reference.headers["cache-control"] == "no-store"
    assert "/reference?" in case.desk.browser.get(f"{case.path}?faces={case.person}").text

    assert sorted(row.how for row in case.rows(Reveal)) == ["face", "reference"]
    shown = [event for event in case.rows(PersonEvent) if event.kind == "reference_shown"]
    assert [(event.person_id, event.actor) for event in shown] == [(case.person, case.desk.who.id)]
    assert [row.subject for row in case.rows(AuditRecord) if row.action == "person.reference_shown"] == [case.person]
    image = f"{case.path}/image?sha256={case.sha256}"
    for how in ("part", "whole"):
        assert case.desk.browser.get(f"{image}&reveal={how}").status_code == 403, "a face is not the picture"


@pytest.mark.parametrize("roles", [("reviewer",), ("reviewer", "lead", "admin", "auditor", "policy")])
def test_others_are_told_the_id_and_the_score_only(seated: Any, make_scan: MakeScan, roles: tuple[str, ...]) -> None:
    case = matched(seated("rob@example.org", *roles), make_scan)
    page = case.desk.browser.get(case.path).text

    assert case.person in page
    assert "score 0.93" in page
    assert "only senior reviewers are shown it" in page
    assert "Compare the faces" not in page
    assert case.compare().status_code == 403
    assert case.get("reference").status_code == case.get("face").status_code == 403
    assert case.rows(Reveal) == []


def test_each_of_several_faces_is_noted_by_itself(seated: Any, make_scan: MakeScan) -> None:
    desk = seated("sol@example.org", "senior")
    one, other = enrolled(desk.parts), enrolled(desk.parts)
    scan, _ = make_scan("two faces", like(one), like(other), explicit())
    case = Matched(desk, desk.claim(), keep_image(desk.parts, scan), one)
    case.compare()

    assert case.get("face").status_code == case.get("reference").status_code == 200
    assert case.get("face", other).status_code == case.get("reference", other).status_code == 403
    case.compare(other)
    assert case.get("face", other).status_code == case.get("reference", other).status_code == 200


def test_without_a_picture_it_says_so(seated: Any, make_scan: MakeScan) -> None:
    case = matched(seated("sol@example.org", "senior"), make_scan, reference=False)

    assert "No picture of this person was kept at enrolment" in case.desk.browser.get(case.path).text
    assert case.compare().status_code == 303, "the face in the image may be looked at all the same"
    assert case.get("face").status_code == 200
    assert case.get("reference").status_code == 403
    assert [row.how for row in case.rows(Reveal)] == ["face"]


def test_a_reference_is_of_whom_the_image_matches_and_noted_by_name(seated: Any, make_scan: MakeScan) -> None:
    case = matched(seated("sol@example.org", "senior"), make_scan)
    other = enrolled(case.desk.parts)

    assert case.compare(other).status_code == 404, "no face of the image is theirs"
    case.compare()
    assert case.get("reference", other).status_code == 404
    with case.desk.parts.database.write() as session:
        session.execute(sa.delete(PersonEvent).where(PersonEvent.kind == "reference_shown"))
    assert case.get("reference").status_code == 403, "noted for another person is not noted"


def test_a_reference_goes_with_the_claim_the_consent_and_the_person(seated: Any, make_scan: MakeScan) -> None:
    case = matched(seated("sol@example.org", "senior"), make_scan)
    case.compare()
    assert case.get("reference").status_code == 200
    case.desk.post(f"{case.path}/release", token=case.desk.token(case.path))
    assert case.get("reference").status_code == case.compare().status_code == 403, "not held"

    case.desk.claim()
    assert case.get("reference").status_code == 403, "another claim is another look"
    case.compare()
    assert case.get("reference").status_code == 200
    parts = case.desk.parts
    parts.references.drop(DEFAULT_TENANT, case.person, actor="test")
    assert case.get("reference").status_code == 404
    assert "No picture of this person was kept" in case.desk.browser.get(case.path).text
    parts.person_keys.destroy(DEFAULT_TENANT, case.person)
    assert case.get("reference").status_code == 404


def test_a_case_of_another_tenant_is_not_there(seated: Any, make_scan: MakeScan, make_parts: MakeParts) -> None:
    case = matched(seated("sol@example.org", "senior"), make_scan)
    case.compare()
    with case.desk.parts.database.write() as session:
        from moderation.tables import Tenant

        session.add(Tenant(id="other", name="other", created_at=utc_now()))
    stranger = someone(case.desk.parts, "eve@example.net", "senior", tenant="other")
    case.desk.browser.cookies.clear()
    sign_in(case.desk.browser, case.desk.parts, stranger)

    assert case.get("reference").status_code == case.get("face").status_code == 404
    assert case.desk.browser.get(case.path).status_code == 404


def test_hosted_copies_are_shown_covered_and_noted_like_any_other(seated: Any, make_scan: MakeScan) -> None:
    desk, pdq = seated(), bytes(range(32))
    near, _ = make_scan("near", explicit(fpr=0.4, score=0.1), hashes(bytes([1, *range(1, 32)])), external_id="up-1")
    with desk.parts.database.write() as session:
        kept = session.get(StoredImage, near.image.id)
        assert kept
        kept.pdq = bytes([1, *range(1, 32)])
    make_scan("mine", explicit(), hashes(pdq))
    path, sha256 = desk.claim(), keep_image(desk.parts, near)
    part = desk.browser.get(f"{path}/alike").text
    assert "1 of 256 bits apart" in part
    assert f"image?sha256={sha256}" in part
    assert "Compared by PDQ with 1 hosted images" in part
    assert "1 of 256 bits apart" in desk.browser.get(f"{path}?alike=true").text, "without a script too"
    assert "1 of 256 bits apart" not in desk.browser.get(path).text, "the page does not wait for it"

    image = f"{path}/image?sha256={sha256}"
    covered = desk.browser.get(image)
    assert max(PIL.Image.open(io.BytesIO(covered.content)).size) <= 480
    assert desk.browser.get(f"{image}&reveal=whole").status_code == 403
    assert desk.post(f"{path}/reveal", sha256=sha256, how="whole").status_code == 303
    assert PIL.Image.open(io.BytesIO(desk.browser.get(f"{image}&reveal=whole").content)).size == (300, 240)
    with desk.parts.database.read() as session:
        assert [(row.sha256, row.how) for row in session.scalars(sa.select(Reveal))] == [(sha256, "whole")]
    desk.post(f"{path}/release", token=desk.token(path))
    assert desk.browser.get(image).status_code == 403
    assert "<img" not in desk.browser.get(f"{path}/alike").text


def test_nothing_like_known_abuse_is_searched_for(seated: Any, make_scan: MakeScan) -> None:
    desk = seated("sol@example.org", "senior")
    make_scan("a", listed("child_abuse", "block"), hashes(bytes(range(32))))
    path = desk.claim()

    assert desk.browser.get(f"{path}/alike").status_code == 403
    assert "Images like it" not in desk.browser.get(f"{path}?alike=true").text


def test_a_part_is_noted_by_itself_and_all_parts_of_a_picture_are_one_look(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, _ = make_scan("a")
    sha256, path = keep_image(desk.parts, scan), desk.claim()
    for part in (0, 8):
        assert desk.post(f"{path}/reveal", sha256=sha256, how="part", part=part).status_code == 303
    codes = [desk.browser.get(f"{path}/image?sha256={sha256}&reveal=part&part={part}").status_code for part in range(9)]

    assert codes == [200, *[403] * 7, 200]
    assert '<span id="seen">1</span>' in desk.browser.get(path).text
    assert desk.post(f"{path}/reveal", sha256=sha256, how="part", part=9).status_code in (404, 422)


def keep_animation(desk: Desk, scan: Any, data: bytes, kind: str, frames: int) -> str:
    sha256: str = scan.image.sha256
    desk.parts.store.put(DEFAULT_TENANT, sha256, data)
    with desk.parts.database.write() as session:
        values = {"kept_at": utc_now(), "frames": frames, "format": kind, "size": len(data)}
        session.execute(sa.update(StoredImage).where(StoredImage.sha256 == sha256).values(**values))
    return sha256


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_sent_as_its_first_frame_and_another_when_asked(
    seated: Any, make_scan: MakeScan, kind: str
) -> None:
    desk = seated()
    scan, _ = make_scan("a")
    shades = [PIL.Image.fromarray(np.full((60, 80, 3), 50 * (n + 1), np.uint8)) for n in range(4)]
    buffer = io.BytesIO()
    shades[0].save(buffer, kind, save_all=True, append_images=shades[1:], duration=20, lossless=True)
    sha256 = keep_animation(desk, scan, buffer.getvalue(), kind, 4)
    path = desk.claim()
    image = f"{path}/image?sha256={sha256}"

    def shade(query: str = "") -> int:
        answer = desk.browser.get(image + query)
        sent = PIL.Image.open(io.BytesIO(answer.content))
        assert (sent.format, getattr(sent, "n_frames", 1)) == ("JPEG", 1)
        return round(np.asarray(sent).mean() / 50) * 50

    assert shade() == shade("&frame=3") == 50, "covered, it is the first"
    desk.post(f"{path}/reveal", sha256=sha256, how="whole")
    assert [shade(f"&reveal=whole&frame={n}") for n in range(4)] == [50, 100, 150, 200]
    assert desk.browser.get(f"{image}&reveal=whole&frame=4").status_code == 404
    page = desk.browser.get(f"{path}?reveal=whole&of={sha256}&frame=2").text
    assert "an animation of 4 frames: it stands still" in page
    assert "<b>3</b> of 4" in page


def large_gif(size: int) -> bytes:
    """A GIF of at least so many bytes: few small frames, and much between them that says nothing."""
    buffer, noise = io.BytesIO(), random.Random(1)
    frames = [PIL.Image.fromarray(np.full((60, 80), 40 + n, np.uint8), "L") for n in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=20)
    block = struct.pack("B", 255) + noise.randbytes(255)
    comment = b"\x21\xfe" + block * (size // len(block) + 1) + b"\x00"
    return buffer.getvalue()[:-1] + comment + b"\x3b"


def test_a_gif_of_40_megabytes_is_opened_bounded(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, _ = make_scan("a")
    data = large_gif(40_000_000)
    sha256 = keep_animation(desk, scan, data, "GIF", 3)
    path = desk.claim()
    answer = desk.browser.get(f"{path}/image?sha256={sha256}")

    assert answer.status_code == 200
    assert len(answer.content) < 20_000, "one still frame, covered"
    desk.post(f"{path}/reveal", sha256=sha256, how="whole")
    whole = desk.browser.get(f"{path}/image?sha256={sha256}&reveal=whole&frame=2")
    assert (whole.status_code, len(whole.content) < 20_000) == (200, True)
    assert desk.decide(path, "uphold").status_code == 303


def test_a_case_without_its_image_says_so_and_shows_nothing_like_it(seated: Any, make_scan: MakeScan) -> None:
    desk = seated()
    scan, _ = make_scan("a", explicit(), hashes(bytes(range(32))))
    with desk.parts.database.write() as session:
        session.execute(sa.text("UPDATE case_images SET scan_id = NULL, image_id = NULL"))
    path = desk.claim()

    assert "The image was deleted." in desk.browser.get(path).text
    assert desk.post(f"{path}/reveal", sha256=scan.image.sha256, how="whole").status_code == 404
    assert desk.browser.get(f"{path}/alike").status_code == 200, "its hashes stay"
    assert desk.decide(path, "uphold").status_code == 303
    with desk.parts.database.read() as session:
        assert session.scalars(sa.select(ReviewCase.outcome)).all() == ["uphold"]
