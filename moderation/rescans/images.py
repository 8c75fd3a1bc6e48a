"""Images read again from where the host keeps them, and measured by every detector or by the named ones."""

import hashlib
from collections.abc import Sequence

from pydantic_core import from_json
from sqlalchemy.orm import Session

from detectors.base import Detector, Finding
from detectors.image import Image
from moderation import media
from moderation.errors import ModerationError
from moderation.media import MediaLimits
from moderation.policy import Policy
from moderation.rescans.commit import Judged
from moderation.rescans.judging import Anew, Failed, Judge, derived_models
from moderation.rescans.paths import judged
from moderation.rescans.records import PlanSpec, Posting
from moderation.rescans.repository import RescanRepository
from moderation.rescans.sources import Source, SourceError
from moderation.scanner import WHOLE, Scanner
from moderation.scans.service import describe_image
from moderation.tables import RescanPlan

FILLED = ("pdq", "embedding", "embedding_model", "probes")
"""Columns of an image's row that a measurement fills."""


class ImagePath:
    """Opens each image again. One that was measured by the very same models before is judged on what was found then.

    detectors: those that measure, with those whose features they read; None for all.
    """

    size = 8
    shard = 800
    lease_seconds = 600.0

    def __init__(
        self, plan: RescanPlan, judge: Judge, source: Source, limits: MediaLimits, detectors: frozenset[str] | None
    ) -> None:
        self.plan = plan
        self.spec = PlanSpec.from_dict(plan.spec)
        self._judge = judge
        self.source = source
        self.limits = limits
        self.detectors = detectors

    @property
    def scanner(self) -> Scanner:
        return self._judge.scanner

    def read(self, session: Session, after: str, until: str, limit: int) -> Sequence[Posting]:
        repository = RescanRepository(session)
        rows = repository.page(repository.whole, self.plan, after=after, until=until, limit=limit)
        return [Posting(*row) for row in rows]

    def judge(self, rows: Sequence[Posting]) -> Judged:
        return self.judge_whole(rows)

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        anew: dict[str, Anew] = {}
        failures: list[Failed] = []
        of_image: dict[str, Anew | Failed] = {}
        for posting in postings:
            known = of_image.get(posting.image_id)
            outcome = known if known is not None else self._measured(posting)
            if isinstance(outcome, Failed):
                failures.append(Failed(posting.scan_id, outcome.code, outcome.message, outcome.again))
            else:
                anew[posting.scan_id] = outcome
            of_image[posting.image_id] = outcome
        rest = judged(self._judge, self.plan.tenant_id, [p for p in postings if p.scan_id in anew], self.spec, anew)
        return Judged(len(postings), rest.changes, [*rest.failures, *failures], anew)

    def _measured(self, posting: Posting) -> Anew | Failed:
        try:
            models = self._models(posting)
            known = self._known(posting, models)
            return known or self._measure(posting, models)
        except SourceError as error:
            return Failed(posting.scan_id, error.error_code, error.message, error.again)
        except ModerationError as error:
            return Failed(posting.scan_id, error.error_code, error.message)

    def _models(self, posting: Posting) -> str:
        """Digest of the measurement that is to be made."""
        if self.detectors is None:
            return self.scanner.models(self.plan.tenant_id)
        runtime, state, tenant = self.scanner.runtime, self.scanner.state, self.plan.tenant_id
        described = {
            cls.name: f"{cls.version} {[runtime.identity(name) for name in cls.weights]} {state(cls, tenant)}".rstrip()
            for cls in self.scanner.classes
            if cls.name in self.detectors
        }
        return derived_models(posting.models, described)

    def _known(self, posting: Posting, models: str) -> Anew | None:
        """What was found under these models before, if it was: of this image in another place, or by an earlier try."""
        with self._judge.lookup.matcher.database.read() as session:
            plan = WHOLE if self.detectors is None else posting.plan
            findings = RescanRepository(session).measured(posting.image_id, models, plan)
        if findings is None:
            return None
        kept = [Finding.from_dict(values) for values in from_json(findings)]
        if any(finding.status == "failed" for finding in kept):
            return None
        return Anew(posting.image_id, tuple(kept), models, plan)

    def _measure(self, posting: Posting, models: str) -> Anew | Failed:
        data = self.source.read(self.plan.tenant_id, posting.sha256, posting.external_id)
        if hashlib.sha256(data).hexdigest() != posting.sha256:
            message = f"The source has another file of {len(data):,} bytes, or a part of it. Send it as a new scan."
            return Failed(posting.scan_id, "changed", message, True)
        image = media.open(data, self.limits)
        policy = self._judge.policy(self.spec.policy or posting.policy)
        findings, plan, fresh = self._findings(image, posting, policy)
        row = describe_image(self.plan.tenant_id, image, fresh)
        filled = {name: getattr(row, name) for name in FILLED if getattr(row, name) is not None}
        return Anew(posting.image_id, findings, models, plan, filled, keep=True)

    def _findings(
        self, image: Image, posting: Posting, policy: Policy
    ) -> tuple[tuple[Finding, ...], str, Sequence[Finding]]:
        """All that is now known of an image, the plan of the measurement, and what was found just now."""
        tenant = self.plan.tenant_id
        if self.detectors is None:
            measured = self.scanner.measure(image, policy, posting.context, tenant)
            plan = WHOLE if measured.is_whole else self.scanner.plan(policy, posting.context)
            return measured.findings, plan, measured.findings
        fresh = self.scanner.measure_with(image, self._needed(), tenant)
        named = [f for f in fresh if f.detector in self.detectors]
        stored = [Finding.from_dict(f) for f in from_json(posting.findings) if f["detector"] not in self.detectors]
        return (*stored, *named), posting.plan, fresh

    def _needed(self) -> list[type[Detector]]:
        """The named detectors and those whose features they read, in running order."""
        wanted = set(self.detectors or ())
        for cls in reversed(self.scanner.classes):
            if cls.name in wanted:
                wanted |= {other.name for other in self.scanner.classes if set(other.provides) & set(cls.needs)}
        return [cls for cls in self.scanner.classes if cls.name in wanted]
