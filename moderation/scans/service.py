"""Scanning an upload: opened, measured once under each set of models, judged every time, kept as the policy says."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from detectors.base import Finding
from detectors.embedding import EmbeddingDetector
from detectors.heatmap import Cell, heat
from detectors.image import Frame, Image
from detectors.synthetic import SyntheticDetector
from moderation import media
from moderation.banks.service import note_matches
from moderation.database import Database
from moderation.errors import ModelError, NotFoundError
from moderation.media import MediaLimits
from moderation.policy import Policy, PolicyLibrary, Verdict
from moderation.rescans.probes import pack_findings
from moderation.reviews.harms import HARMS
from moderation.reviews.intake import Intake
from moderation.reviews.repository import ReviewRepository
from moderation.scanner import WHOLE, Context, Measured, Scanner, image_facts
from moderation.scans.repository import ScanRepository
from moderation.storage import ImageStore
from moderation.tables import Measurement, ReviewCase, Scan, StoredImage, new_id, utc_now
from moderation.turns import Pause

Also = Callable[[Session, Scan], None]
"""What else is done in the transaction that remembers a scan."""


@dataclass(frozen=True)
class HostContext:
    """What the host says of an upload. Kept with the scan, and readable by policies as `context.…`.

    external_id: the host's own id of the image. uploader: the host's id of the account. surface: where it will be shown
    (`avatar`, `post`, …). locale: of the uploader, a BCP 47 tag.
    """

    external_id: str = ""
    uploader: str = ""
    surface: str = ""
    locale: str = ""

    def as_mapping(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Upload:
    """An image file as a host sent it, with what was said of it. `policy` is a name, '' for the default.

    reach: how many people saw it or may, 0 where the host does not say. consent: whether it may be used for training.
    url: where the bytes are yet to be fetched from, for a scan that is done later; '' where they are `data`.
    """

    data: bytes
    name: str | None = None
    content_type: str | None = None
    context: HostContext = HostContext()
    policy: str = ""
    reach: int = 0
    consent: bool = False
    url: str = ""


@dataclass(frozen=True)
class _Facts:
    """What the verdict and the store need of an image, whether it was opened now or measured before."""

    sha256: str
    image: Mapping[str, Any]
    findings: tuple[Finding, ...]
    timings: Mapping[str, float]
    warnings: tuple[str, ...]
    models: str
    plan: str


class ScanService:
    """Scans uploads of tenants and answers for them later."""

    def __init__(
        self,
        database: Database,
        scanner: Scanner,
        policies: PolicyLibrary,
        store: ImageStore,
        limits: MediaLimits,
        *,
        intake: Intake,
    ) -> None:
        self.database = database
        self.scanner = scanner
        self.policies = policies
        self.store = store
        self.limits = limits
        self.intake = intake

    def scan(self, tenant: str, upload: Upload, *, bulk: bool = False, also: Also | None = None) -> Scan:
        """Judge an upload and remember it.

        The same bytes under the same models are not measured again: their findings are judged anew, since the policy
        or the host's context may be another. bulk: let uploads pass. also: is called in the transaction that remembers the
        scan; where it raises, nothing is remembered. Raises MediaError, PolicyError, ModelError, StorageError.
        """
        started = time.perf_counter()
        policy = self.policies.get(upload.policy)
        context = upload.context.as_mapping()
        sha256 = hashlib.sha256(upload.data).hexdigest()
        models, plan = self.scanner.models(tenant), self.scanner.plan(policy, context)
        facts = self._measured_before(tenant, sha256, models, WHOLE)
        if facts is None and plan != WHOLE:
            facts = self._measured_before(tenant, sha256, models, plan)
        opened: Image | None = None
        if facts is None:
            with self.scanner.turn(bulk=bulk) as pause:
                opened, measured, timings = self._measure(tenant, upload, policy, context, pause)
            plan = WHOLE if measured.is_whole else plan
            facts = _Facts(sha256, image_facts(opened), measured.findings, timings, opened.warnings, models, plan)
        verdict = policy.decide(facts.findings, context, facts.image)
        kept = self._keep(policy, verdict, tenant, sha256, upload.data)
        facts = replace(facts, timings={**facts.timings, "total": round((time.perf_counter() - started) * 1000, 2)})
        return self._remember(tenant, upload, facts, verdict, opened=opened, kept=kept, also=also)

    def find(self, tenant: str, scan_id: str) -> Scan:
        """Raises NotFoundError."""
        with self.database.read() as session:
            scan = ScanRepository(session, tenant).scan(scan_id)
        if scan is None:
            raise NotFoundError(f"There is no scan {scan_id!r}.", hint="Ids look like `scan_01k2…`.")
        return scan

    def case(self, scan: Scan) -> ReviewCase | None:
        """The case that a scan opened or joined; None where there is none, and for known child abuse, of which few are to know."""
        if scan.case_id is None:
            return None
        with self.database.read() as session:
            case = ReviewRepository(session, scan.tenant_id).case(scan.case_id)
        return None if case is None or HARMS[case.harm].restricted else case

    def find_image(self, tenant: str, sha256: str, *, limit: int = 20) -> tuple[StoredImage, list[Scan]]:
        """An image by its SHA-256, with its newest scans. Raises NotFoundError."""
        with self.database.read() as session:
            repository = ScanRepository(session, tenant)
            image = repository.image(sha256)
            if image is None:
                raise NotFoundError(f"No image with SHA-256 {sha256!r} was scanned.", hint="Send 64 lower-case digits.")
            return image, list(repository.scans_of(image.id, limit))

    def heat_map(self, tenant: str, sha256: str) -> tuple[Frame, list[Cell]]:
        """Which parts of a kept image speak for generation: its first frame, and the cells.

        Costs an embedding a cell, so it waits for a scan's turn. Raises NotFoundError, ModelError, and StorageError (404)
        when the image is not kept.
        """
        self.find_image(tenant, sha256, limit=1)
        embedding, synthetic = self.scanner.detector("embedding"), self.scanner.serving("synthetic", sha256)
        assert isinstance(embedding, EmbeddingDetector)  # noqa: S101 - registered under this name
        if not isinstance(synthetic, SyntheticDetector):
            raise ModelError(
                f"{synthetic.model} gives no heat map.", hint="Heads on the embedding do; a tower does not."
            )
        image = media.open(self.store.get(tenant, sha256), self.limits)
        with self.scanner.turn():
            return image.frames[0], heat(image.frames[0], embedding, synthetic)

    def _measured_before(self, tenant: str, sha256: str, models: str, plan: str) -> _Facts | None:
        with self.database.read() as session:
            repository = ScanRepository(session, tenant)
            measurement = repository.measurement(sha256, models, plan)
            image = repository.image(sha256) if measurement else None
        if measurement is None or image is None:
            return None
        stored = tuple(Finding.from_dict(values) for values in measurement.findings)
        findings = self.scanner.look_up(stored, tenant)
        if any(finding.status == "failed" for finding in findings):
            return None
        if plan != WHOLE and known_as(findings) != known_as(stored):
            return None  # what the lists said then may have spared detectors that are needed now
        return _Facts(sha256, stored_facts(image), findings, {}, tuple(measurement.warnings), models, plan)

    def _measure(
        self, tenant: str, upload: Upload, policy: Policy, context: Context, pause: Pause
    ) -> tuple[Image, Measured, dict[str, float]]:
        started = time.perf_counter()
        image = media.open(upload.data, self.limits, name=upload.name, content_type=upload.content_type)
        opened = round((time.perf_counter() - started) * 1000, 2)
        measured = self.scanner.measure(image, policy, context, tenant, pause=pause)
        return image, measured, {"open": opened, **measured.timings}

    def _keep(self, policy: Policy, verdict: Verdict, tenant: str, sha256: str, data: bytes) -> bool:
        keeps = policy.keep == "all" or (policy.keep == "held" and verdict.action in ("hold", "block"))
        if keeps:
            self.store.put(tenant, sha256, data)
        return keeps

    def _remember(
        self,
        tenant: str,
        upload: Upload,
        facts: _Facts,
        verdict: Verdict,
        *,
        opened: Image | None,
        kept: bool,
        also: Also | None,
    ) -> Scan:
        with self.database.write() as session:
            repository = ScanRepository(session, tenant)
            if opened:
                image = repository.add_image(describe_image(tenant, opened, facts.findings))
                measurement = repository.add_measurement(_measurement(tenant, image, facts))
            else:
                image, measurement = self._stored(repository, facts)
            if kept:
                image.kept_at = utc_now()
            scan = Scan(
                id=new_id("scan"),
                created_at=utc_now(),
                tenant_id=tenant,
                image=image,
                measurement=measurement,
                reused=opened is None,
                action=verdict.action,
                policy=verdict.policy_name,
                policy_version=verdict.policy_version,
                policy_digest=verdict.policy_digest,
                verdict=verdict.as_dict(),
                lookups=[f.as_dict() for f in facts.findings if f.detector in self.scanner.lists],
                reach=upload.reach,
                consent=upload.consent,
                **upload.context.as_mapping(),
            )
            repository.add_scan(scan)
            session.flush()
            note_matches(session, tenant, image.id, scan.id, facts.findings)
            self.intake.take(session, tenant, scan)
            if also:
                also(session, scan)
        return scan

    @staticmethod
    def _stored(repository: ScanRepository, facts: _Facts) -> tuple[StoredImage, Measurement]:
        image = repository.image(facts.sha256)
        measurement = repository.measurement(facts.sha256, facts.models, facts.plan)
        if image is None or measurement is None:
            raise NotFoundError(f"The image {facts.sha256} was deleted while it was judged.", hint="Send it again.")
        return image, measurement


def known_as(findings: Sequence[Finding]) -> set[tuple[str, str, str]]:
    """What lists say of an image, as far as a policy may read it."""
    return {
        (f.label, f.status, json.dumps(dict(f.evidence), sort_keys=True)) for f in findings if f.detector == "known"
    }


def _measurement(tenant: str, image: StoredImage, facts: _Facts) -> Measurement:
    return Measurement(
        id=new_id("msr"),
        created_at=utc_now(),
        tenant_id=tenant,
        image_id=image.id,
        models=facts.models,
        plan=facts.plan,
        findings=[finding.as_dict() for finding in facts.findings],
        timings=dict(facts.timings),
        warnings=list(facts.warnings),
    )


def stored_facts(image: StoredImage) -> dict[str, Any]:
    """What policies may ask of the file, of an image that was stored: as `scanner.image_facts`."""
    return {
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "bytes": image.size,
        "format": image.format,
    }


def describe_image(tenant: str, image: Image, findings: Sequence[Finding]) -> StoredImage:
    """The row of an opened image, with its hashes and embedding."""
    pdq, embedding = image.features.get("pdq"), image.features.get("embedding")
    model = next((f.model for f in findings if f.label == "embedding" and f.status == "ok"), None)
    return StoredImage(
        id=new_id("img"),
        created_at=utc_now(),
        tenant_id=tenant,
        sha256=image.sha256,
        format=image.format,
        size=len(image.data),
        width=image.width,
        height=image.height,
        frames=image.frame_count,
        pdq=None if pdq is None else np.ascontiguousarray(pdq[:, 0]).tobytes(),
        embedding=None if embedding is None else embedding.tobytes(),
        embedding_model=model,
        probes=pack_findings(findings),
    )
