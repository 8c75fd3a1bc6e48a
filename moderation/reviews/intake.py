"""Opens cases: in the transaction that stores the scan, so that no held image is without one."""

import hashlib

from sqlalchemy.orm import Session

from moderation import audit
from moderation.reviews.harms import HARMS, Cause, cause_of
from moderation.reviews.nearby import Nearby
from moderation.reviews.priority import rank_of
from moderation.reviews.records import ReviewRules
from moderation.reviews.repository import ReviewRepository
from moderation.tables import CaseImage, ReviewCase, Scan, new_id, utc_now


class Intake:
    """Makes cases of scans."""

    def __init__(self, rules: ReviewRules) -> None:
        self.rules = rules
        self.nearby = Nearby()

    def take(self, session: Session, tenant: str, scan: Scan) -> ReviewCase | None:
        """The case that a scan's verdict calls for: a new one, or the waiting one of the same or nearly the same image.

        None where nobody has to look.
        """
        cause = cause_of(scan.verdict, scan.findings)
        if cause is None:
            return None
        repository = ReviewRepository(session, tenant)
        last = repository.lock_tenant()
        upright, orientations = hashes_of(scan)
        case, stage, distance = self._waiting(repository, last, scan.image.sha256, orientations)
        if case is None:
            case = self.new_case(tenant, cause, reach=max(scan.reach, 1))
            image = image_row(case, scan, upright, "first", 0)
            repository.number(image)
            repository.add(case, image)
            scan.case_id = case.id
            audit.record(session, tenant, "palisade", "case.opened", case.id, queue=case.queue, harm=case.harm)
            return case
        self._join(repository, case, cause, scan, image_row(case, scan, upright, stage, distance))
        scan.case_id = case.id
        return case

    def _waiting(
        self, repository: ReviewRepository, last: int, sha256: str, orientations: bytes
    ) -> tuple[ReviewCase | None, str, int]:
        same = repository.waiting_with(sha256)
        if same is not None or not orientations:
            return same, "same", 0
        found = self.nearby.find(repository, last, orientations)
        if found is None:
            return None, "", 0
        near = repository.case(found[0], lock=True)
        # between the question and the lock somebody may have decided on it
        return (near, "near", found[1]) if near is not None and near.rank is not None else (None, "", 0)

    def new_case(
        self, tenant: str, cause: Cause, *, reach: int, kind: str = "scan", answer: str | None = None
    ) -> ReviewCase:
        """A case that is not stored yet."""
        now = utc_now()
        case = ReviewCase(
            id=new_id("case"),
            tenant_id=tenant,
            created_at=now,
            kind=kind,
            queue=cause.queue,
            harm=cause.harm.name,
            severity=cause.harm.severity,
            tier="senior" if cause.harm.restricted else "reviewer",
            state="open",
            due_at=self.rules.due(cause.harm.severity, now),
            weight=cause.weight,
            reach=reach,
            uncertainty=cause.uncertainty,
            labels=list(cause.labels),
            eyes=1,
            disputed=False,
            round=1,
            token=0,
            answer=answer,
        )
        case.rank = rank_of(case)
        if kind == "scan" and sampled(case.id, self.rules.sample):
            case.eyes = 2
        return case

    def _join(self, repository: ReviewRepository, case: ReviewCase, cause: Cause, scan: Scan, row: CaseImage) -> None:
        known = repository.image(case.id, scan.image.sha256)
        if known is None:
            repository.number(row)
            repository.add(row)
        else:
            known.times += 1
            known.scan_id, known.action = scan.id, scan.action
            known.consent = known.consent and scan.consent
        case.reach = max(case.reach + 1, scan.reach)
        case.uncertainty = max(case.uncertainty, cause.uncertainty)
        case.labels = sorted({*case.labels, *cause.labels})
        if cause.harm.severity > case.severity:
            self._raise(case, cause)
        case.rank = rank_of(case)

    def _raise(self, case: ReviewCase, cause: Cause) -> None:
        """A copy was found to be graver: so is the case, whoever holds it. It is never lowered by machine."""
        case.harm, case.severity, case.queue = cause.harm.name, cause.harm.severity, cause.queue
        case.weight = max(case.weight, cause.weight)
        case.due_at = min(case.due_at, self.rules.due(cause.harm.severity, utc_now()))
        if HARMS[case.harm].restricted:
            case.tier = "senior"


def sampled(case_id: str, share: float) -> bool:
    """Whether a case is in a share of all cases; the same for a case whenever it is asked."""
    return int.from_bytes(hashlib.sha256(f"second/{case_id}".encode()).digest()[:8]) < share * 2**64


def hashes_of(scan: Scan) -> tuple[bytes, bytes]:
    """PDQ hashes of the image's hashable frames, upright and in all orientations, packed 32 bytes each."""
    hashable = [
        finding["evidence"]
        for finding in scan.findings
        if finding["label"] == "pdq" and finding["status"] == "ok" and finding["evidence"]["hashable"]
    ]
    upright = b"".join(bytes.fromhex(found["hash"]) for found in hashable)
    return upright, b"".join(bytes.fromhex(text) for found in hashable for text in found["orientations"])


def image_row(case: ReviewCase, scan: Scan, upright: bytes, stage: str, distance: int) -> CaseImage:
    return CaseImage(
        id=new_id("cimg"),
        tenant_id=case.tenant_id,
        created_at=utc_now(),
        case_id=case.id,
        image_id=scan.image_id,
        scan_id=scan.id,
        sha256=scan.image.sha256,
        pdq=upright,
        stage=stage,
        distance=distance,
        action=scan.action,
        times=1,
        consent=scan.consent,
    )
