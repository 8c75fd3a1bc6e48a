"""What is like a case's image: hosted images and images of cases with what was decided on them, and entries of banks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from detectors.base import Finding
from moderation.banks.matcher import Matcher, probes_of
from moderation.banks.records import PDQ_RADIUS, entry_state
from moderation.database import Database
from moderation.errors import ForbiddenError, ModerationError
from moderation.reviews.harms import HARMS, cause_of_appeal
from moderation.reviews.records import may_see, may_work
from moderation.reviews.repository import ReviewRepository
from moderation.reviews.windows import Hashes, HashWindows, Rows
from moderation.roles import Person, Role
from moderation.tables import CaseImage, ReviewCase, Scan, StoredImage, utc_now

FURTHER = 5
"""Images beyond the radius that are named, so that the nearest is seen to be far."""

MOST_NEAR = 24
MOST_TRIED = 60
MOST_ENTRIES = 10
MOST_HASHES = 32
"""Hashes of the case's image that are compared: four frames in eight orientations."""


@dataclass(frozen=True)
class LikeImage:
    """An image like the case's. action: what the machine said last, '' where its scans were deleted. case: about it, as far as the
    person may know, the newest. harm: by which its picture may be shown, '' where it may not."""

    sha256: str
    distance: int
    seen_at: datetime
    action: str
    case: ReviewCase | None
    harm: str


@dataclass(frozen=True)
class LikeEntry:
    """An entry of a bank near the case's image, now. state: as `palisade banks entries` says it."""

    bank: str
    entry: int
    category: str
    kind: str
    distance: int
    state: str


@dataclass(frozen=True)
class Alike:
    """near: within 31 bits of PDQ in some orientation. further: the nearest beyond. searched: images that were compared; whole:
    whether those are all. hashable: False where the image is too plain to be compared. problem: why banks were not asked."""

    near: Sequence[LikeImage] = ()
    further: Sequence[LikeImage] = ()
    searched: int = 0
    whole: bool = True
    hashable: bool = True
    entries: Sequence[LikeEntry] = ()
    problem: str = ""


class AlikeService:
    """Searches the newest `MOST_HELD` hosted images and images of cases of a tenant, in memory, and the banks' indexes."""

    def __init__(self, database: Database, matcher: Callable[[], Matcher]) -> None:
        self.database = database
        self.matcher = matcher
        self.hosted = HashWindows(database, _hosted)
        self.cases = HashWindows(database, _of_cases)

    def of(self, person: Person, case: ReviewCase, images: Sequence[CaseImage]) -> Alike:
        """What is like the first image of a case. Raises ForbiddenError for what is never shown."""
        _must_be_shown(case)
        with self.database.read() as session:
            scan, wanted = _wanted(ReviewRepository(session, person.tenant), images)
        entries, problem = self._entries(person, scan) if scan else ([], "")
        if not len(wanted):
            return Alike(hashable=False, entries=entries, problem=problem)
        hosted, of_cases = self.hosted.of(person.tenant), self.cases.of(person.tenant)
        own = {image.sha256 for image in images}
        rows = MOST_TRIED + len(own)
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            apart = _named(repository, hosted.nearest(wanted, rows), of_cases.nearest(wanted, rows))
            near, further = list[LikeImage](), list[LikeImage]()
            for sha256, distance in [known for known in apart if known[0] not in own][:MOST_TRIED]:
                found = _looked_up(repository, person, sha256, distance)
                if found:
                    (near if distance <= PDQ_RADIUS else further).append(found)
                if len(near) == MOST_NEAR or len(further) == FURTHER:
                    break
        return Alike(near, further, len(hosted.ids), hosted.whole and of_cases.whole, True, entries, problem)

    def picture(self, person: Person, case: ReviewCase, images: Sequence[CaseImage], sha256: str) -> str:
        """The harm by which a hosted image like the case's is shown. Raises ForbiddenError where it is not."""
        _must_be_shown(case)
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            _, wanted = _wanted(repository, images)
            image = repository.hosted(sha256)
            distance = _distance(wanted, image.pdq or b"") if image else 256
            found = _looked_up(repository, person, sha256, distance) if distance <= PDQ_RADIUS else None
        if found is None:
            raise ForbiddenError("The image is neither of this case nor like it.", hint="Open the case again.")
        if not found.harm:
            raise ForbiddenError("This image is not shown here.", hint="It is not kept, or its case is for others.")
        return found.harm

    def _entries(self, person: Person, scan: Scan) -> tuple[list[LikeEntry], str]:
        probes = probes_of([Finding.from_dict(f) for f in scan.findings if f["detector"] == "signals"])
        try:
            near = self.matcher().near(person.tenant, probes) if probes else []
        except ModerationError as error:
            return [], error.message
        now, senior = utc_now(), person.has(Role.SENIOR)
        found = [
            LikeEntry(n.bank.name, n.entry.id, n.bank.category, n.entry.kind, n.distance, entry_state(n.entry, now))
            for n in near
            if senior or not _restricted(n.bank.category)
        ]
        return sorted(found, key=lambda entry: (entry.distance, entry.bank, entry.entry))[:MOST_ENTRIES], ""


def _must_be_shown(case: ReviewCase) -> None:
    if HARMS[case.harm].restricted:
        raise ForbiddenError("Nothing like this is searched for or shown.", hint="Follow the case's steps.")


def _restricted(category: str) -> bool:
    return category in HARMS and HARMS[category].restricted


def _hosted(session: Session, tenant: str, after: str, limit: int) -> Rows:
    query = sa.select(StoredImage.id, StoredImage.pdq).where(StoredImage.tenant_id == tenant, StoredImage.id > after)
    query = query.where(StoredImage.pdq.is_not(None)).order_by(StoredImage.id.desc()).limit(limit)
    return [(row[0], row[1] or b"") for row in session.execute(query)]


def _of_cases(session: Session, tenant: str, after: str, limit: int) -> Rows:
    query = sa.select(CaseImage.id, CaseImage.pdq).where(CaseImage.tenant_id == tenant, CaseImage.id > after)
    query = query.where(CaseImage.pdq != b"").order_by(CaseImage.id.desc()).limit(limit)
    return [(row[0], row[1] or b"") for row in session.execute(query)]


def _wanted(repository: ReviewRepository, images: Sequence[CaseImage]) -> tuple[Scan | None, Hashes]:
    """The scan of the first image, and its hashes in eight orientations; upright only where its scan was deleted."""
    named = next((image.scan_id for image in images if image.scan_id), None)
    scan = repository.scan(named) if named else None
    turned = [
        bytes.fromhex(text)
        for finding in (scan.findings if scan else ())
        if finding["label"] == "pdq" and finding["status"] == "ok" and finding["evidence"]["hashable"]
        for text in finding["evidence"]["orientations"]
    ]
    packed = b"".join(turned[:MOST_HASHES]) or (images[0].pdq if images else b"")
    return scan, np.frombuffer(packed, np.uint8).reshape(-1, 32)


def _distance(wanted: Hashes, packed: bytes) -> int:
    """The fewest bits between one of the hashes and one of the packed; 256 where there is none."""
    hashes = np.frombuffer(packed, np.uint8).reshape(-1, 32)
    if not len(wanted) or not len(hashes):
        return 256
    return int(np.bitwise_count(wanted[:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64).min())


def _named(
    repository: ReviewRepository, hosted: tuple[list[str], list[int]], of_cases: tuple[list[str], list[int]]
) -> list[tuple[str, int]]:
    """Each image's SHA-256 once, with its distance, the nearest first."""
    names = {**repository.sha256s(StoredImage, hosted[0]), **repository.sha256s(CaseImage, of_cases[0])}
    best: dict[str, int] = {}
    for row, distance in (*zip(*hosted, strict=True), *zip(*of_cases, strict=True)):
        if row in names:
            best[names[row]] = min(distance, best.get(names[row], 256))
    return sorted(best.items(), key=lambda found: (found[1], found[0]))


def _looked_up(repository: ReviewRepository, person: Person, sha256: str, distance: int) -> LikeImage | None:
    """What is known of an image, as far as the person may know; None where they may not know that it is there."""
    cases, scan, image = repository.cases_with(sha256), repository.newest_scan(sha256), repository.hosted(sha256)
    harms = {case.harm for case in cases} | (
        {cause_of_appeal(scan.verdict, scan.findings).harm.name} if scan else set()
    )
    restricted = any(HARMS[harm].restricted for harm in harms)
    if restricted and not person.has(Role.SENIOR):
        return None
    seen = next((case for case in cases if may_see(person, case)), None)
    kept = image is not None and image.kept_at is not None and distance <= PDQ_RADIUS
    shown = kept and not restricted and all(may_work(person, case) for case in cases)
    at = image.created_at if image else cases[0].created_at if cases else utc_now()
    return LikeImage(sha256, distance, at, scan.action if scan else "", seen, _gravest(harms) if shown else "")


def _gravest(harms: Iterable[str]) -> str:
    return max(harms, key=lambda harm: (HARMS[harm].severity, HARMS[harm].blur, harm), default="general")
