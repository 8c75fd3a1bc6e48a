"""Appeals: what an uploader says against a verdict, decided by somebody who did not make it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from moderation import audit, events
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.reviews.harms import cause_of_appeal
from moderation.reviews.intake import Intake, hashes_of, image_row
from moderation.reviews.priority import rank_of
from moderation.reviews.records import ReviewRules, check_text
from moderation.reviews.repository import ReviewRepository, statements_that_are_over, unsealed_statements
from moderation.reviews.service import exclusion
from moderation.reviews.statements import Statements
from moderation.tables import Appeal, ReviewCase, Scan, new_id, utc_now

MOST_STATEMENT = 5_000

PAGE = 500
"""Statements that one run of the chore deletes or encrypts."""

STATES = ("open", "decided")


@dataclass(frozen=True)
class Plea:
    """What is appealed against, and why. One of scan_id and sha256 (then the newest scan of the image).

    statement: the uploader's own words. locale: of the statement, a BCP 47 tag. Raises InvalidRequestError.
    """

    statement: str
    scan_id: str = ""
    sha256: str = ""
    locale: str = ""

    def __post_init__(self) -> None:
        check_text("statement", self.statement, MOST_STATEMENT)
        check_text("locale", self.locale, 35)
        if not self.statement.strip():
            raise InvalidRequestError("The statement is empty.", hint="Say why the verdict is wrong.")
        if bool(self.scan_id) == bool(self.sha256):
            raise InvalidRequestError(
                "The appeal names no image, or it names one twice.", hint="Send a scan's id, or the image's SHA-256."
            )


class AppealService:
    """Takes appeals. They are decided as cases of the queue `appeals` are."""

    def __init__(self, database: Database, rules: ReviewRules, statements: Statements, *, days: int = 0) -> None:
        """days: after which the statement of a decided appeal is deleted, 0 for never."""
        self.database = database
        self.statements = statements
        self.days = days
        self.intake = Intake(rules)
        self.rules = rules

    def file(self, tenant: str, plea: Plea, *, actor: str, now: datetime | None = None) -> Appeal:
        """Open an appeal. Nobody who decided on the image before is given it.

        Raises StorageError (no key), NotFoundError, InvalidRequestError (nothing is in force), ConflictError (there is an appeal already, or the image
        still waits for a first decision).
        """
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, tenant)
            repository.lock_tenant()
            scan = _scan(repository, plea)
            if repository.appeal_of_scan(scan.id) is not None:
                raise ConflictError(f"There is an appeal about {scan.id} already.", hint="See `GET /v1/appeals`.")
            before = _decided(repository, scan)
            in_force = (before.effect if before else None) or scan.action
            if in_force == "allow":
                raise InvalidRequestError("The image is allowed: there is nothing to appeal against.")
            case = self._case(tenant, scan, now)
            upright, _ = hashes_of(scan)
            repository.add(case, image_row(case, scan, upright, "first", 0))
            for reviewer in _deciders(repository, scan.image.sha256):
                repository.exclude(exclusion(case, reviewer, "appealed"))
            appeal = _row(scan, case, plea, in_force, before)
            appeal.sealed = self.statements.seal(tenant, appeal.id, plea.statement.strip())
            repository.add(appeal)
            audit.record(session, tenant, actor, "appeal.filed", appeal.id, case=case.id, scan=scan.id)
            told = {"appeal": appeal.id, "scan": scan.id, "due_at": case.due_at.isoformat()}
            events.add(session, tenant, "appeal.filed", told, now=now)
        return appeal

    def _case(self, tenant: str, scan: Scan, now: datetime) -> ReviewCase:
        cause = cause_of_appeal(scan.verdict, scan.findings)
        case = self.intake.new_case(tenant, cause, reach=max(scan.reach, 1), kind="appeal")
        case.due_at = now + timedelta(hours=self.rules.appeal_hours)
        case.rank = rank_of(case)
        return case

    def find(self, tenant: str, appeal_id: str) -> Appeal:
        """Raises NotFoundError."""
        with self.database.read() as session:
            appeal = ReviewRepository(session, tenant).appeal(appeal_id)
        if appeal is None:
            raise NotFoundError(f"There is no appeal {appeal_id[:60]!r}.", hint="See `GET /v1/appeals`.")
        return appeal

    def appeals(
        self, tenant: str, *, states: Sequence[str] = (), after: str = "", limit: int = 100
    ) -> Sequence[Appeal]:
        """Appeals by age."""
        with self.database.read() as session:
            return ReviewRepository(session, tenant).appeals(states=states, after=after, limit=limit)

    def statement(self, appeal: Appeal) -> str | None:
        """What the uploader says; '' once it was deleted, None where its key is not held."""
        return self.statements.read(appeal)

    def tend(self, *, now: datetime | None = None) -> int:
        """Delete statements whose time is over, or whose scan was deleted; encrypt those of before there was encryption.

        Of every tenant; gives how many.
        """
        before = (now or utc_now()) - timedelta(days=self.days) if self.days else None
        with self.database.write() as session:
            over = statements_that_are_over(session, before, PAGE)
            for appeal in over:
                appeal.sealed, appeal.unsealed = None, ""
                audit.record(session, appeal.tenant_id, "palisade", "appeal.statement_deleted", appeal.id)
            plain = unsealed_statements(session, PAGE) if self.statements.vault else []
            for appeal in plain:
                appeal.sealed = self.statements.seal(appeal.tenant_id, appeal.id, appeal.unsealed)
                appeal.unsealed = ""
        return len(over) + len(plain)


def _scan(repository: ReviewRepository, plea: Plea) -> Scan:
    scan = repository.scan(plea.scan_id) if plea.scan_id else repository.newest_scan(plea.sha256)
    if scan is None:
        named = plea.scan_id or plea.sha256
        raise NotFoundError(f"There is no scan of {named[:64]!r}.", hint="Send the id that the scan was answered with.")
    return scan


def _decided(repository: ReviewRepository, scan: Scan) -> ReviewCase | None:
    """The latest case that was decided about the file since the scan. Raises ConflictError while one is not closed."""
    cases = repository.cases_with(scan.image.sha256)
    waiting = next((case for case in cases if case.state != "closed" and case.kind == "scan"), None)
    if waiting is not None:
        raise ConflictError(
            f"The image is in {waiting.id} already, which is {waiting.state}.",
            hint="Appeal once it is decided: the event `case.decided` says so.",
        )
    closed = (case for case in cases if case.closed_at is not None and case.closed_at >= scan.created_at)
    return max(closed, key=lambda case: case.closed_at or case.created_at, default=None)


def _deciders(repository: ReviewRepository, sha256: str) -> list[str]:
    """Everybody who decided on this file before."""
    cases = [case for case in repository.cases_with(sha256) if case.state == "closed"]
    made = (decision for case in cases for decision in repository.decisions(case.id))
    return sorted({decision.reviewer for decision in made if decision.state == "counted"})


def _row(scan: Scan, case: ReviewCase, plea: Plea, in_force: str, before: ReviewCase | None) -> Appeal:
    return Appeal(
        id=new_id("appeal"),
        tenant_id=case.tenant_id,
        created_at=utc_now(),
        scan_id=scan.id,
        case_id=case.id,
        of_case=before.id if before else None,
        unsealed="",
        locale=plea.locale,
        in_force=in_force,
        state="open",
        due_at=case.due_at,
    )
