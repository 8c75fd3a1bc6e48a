"""What a person needs to decide a case: what was found and why, what else is known, and what the policy says today."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectors.base import Finding
from moderation.database import Database
from moderation.errors import ModerationError
from moderation.policy import PolicyLibrary
from moderation.reviews.repository import ReviewRepository
from moderation.roles import Person
from moderation.scans.service import stored_facts
from moderation.tables import CaseImage, Scan

MOST_SCANS = 8
"""Scans of an uploader that are listed."""


@dataclass(frozen=True)
class UploaderHistory:
    """counts: scans of the uploader by action. newest: the last of them besides this one."""

    uploader: str
    counts: Mapping[str, int]
    newest: Sequence[Scan]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Evidence:
    """scan: behind the case's first image, None once it was deleted. newest: the verdict of the policy as it is now, as JSON
    values; None where it cannot be judged, and then `newest_why` says why."""

    scan: Scan | None
    history: UploaderHistory | None = None
    newest: Mapping[str, Any] | None = None
    newest_why: str = ""

    @property
    def findings(self) -> Sequence[Mapping[str, Any]]:
        return self.scan.findings if self.scan else []

    @property
    def changed(self) -> bool:
        """Whether the policy would say something else today."""
        return bool(self.scan and self.newest and self.newest["action"] != self.scan.action)


class EvidenceService:
    """Reads the evidence of cases. Nothing is measured, and nothing is changed."""

    def __init__(self, database: Database, policies: Callable[[], PolicyLibrary]) -> None:
        self.database = database
        self.policies = policies

    def of(self, person: Person, images: Sequence[CaseImage]) -> Evidence:
        """The evidence of a case's first image; who may see the case was found out before."""
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            named = next((image.scan_id for image in images if image.scan_id), None)
            scan = repository.scan(named) if named else None
            if scan is None:
                return Evidence(None)
            history = self._history(repository, scan)
            newest, why = self._judged_again(scan)
            return Evidence(scan, history, newest, why)

    @staticmethod
    def _history(repository: ReviewRepository, scan: Scan) -> UploaderHistory | None:
        if not scan.uploader:
            return None
        newest = repository.scans_by(scan.uploader, without=scan.id, limit=MOST_SCANS)
        return UploaderHistory(scan.uploader, repository.actions_by(scan.uploader), newest)

    def _judged_again(self, scan: Scan) -> tuple[Mapping[str, Any] | None, str]:
        context = {name: getattr(scan, name) for name in ("external_id", "uploader", "surface", "locale")}
        try:
            policy = self.policies().get(scan.policy)
            findings = [Finding.from_dict(values) for values in scan.findings]
            return policy.decide(findings, context, stored_facts(scan.image)).as_dict(), ""
        except ModerationError as error:  # the policy is gone, or asks for what was not measured then
            return None, error.message
