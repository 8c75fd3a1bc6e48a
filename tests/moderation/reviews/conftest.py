"""Cases made of real rows: a stored image, what was measured of it, a verdict of a real policy; no model is needed."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from detectors.base import Finding
from detectors.registry import DETECTORS
from moderation.commands.keys import new_secret
from moderation.database import Database
from moderation.policy import Vocabulary
from moderation.policy.library import find_shipped_or_own
from moderation.reviews.deciding import DecisionService
from moderation.reviews.intake import Intake
from moderation.reviews.records import ReviewRules
from moderation.reviews.safety import ReviewerSafety
from moderation.reviews.service import ReviewService
from moderation.reviews.statements import Statements
from moderation.roles import Person, Role
from moderation.settings import Settings
from moderation.tables import DEFAULT_TENANT, Measurement, ReviewCase, Scan, StoredImage, new_id, utc_now
from moderation.vault import Vault

MakeScan = Callable[..., tuple[Scan, ReviewCase | None]]


def person(name: str, *roles: Role, queues: frozenset[str] | None = None) -> Person:
    return Person(name, DEFAULT_TENANT, name.title(), frozenset(roles or {Role.REVIEWER}), queues)


ANNA, BEN, CARA = person("anna"), person("ben"), person("cara")
SENIOR, OTHER_SENIOR = person("sol", Role.SENIOR), person("sky", Role.SENIOR)
LEAD = person("lea", Role.LEAD)


@pytest.fixture
def rules() -> ReviewRules:
    return ReviewRules.of(Settings(_env_file=None, review_second_share=0.0))  # type: ignore[call-arg]


@pytest.fixture
def statements() -> Statements:
    return Statements(Vault.parse(new_secret("statements"), setting="-"))


@pytest.fixture
def queue(database: Database, rules: ReviewRules, statements: Statements) -> ReviewService:
    return ReviewService(database, rules, statements)


@pytest.fixture
def desk(database: Database, rules: ReviewRules) -> DecisionService:
    return DecisionService(database, rules)


@pytest.fixture
def safety(database: Database, rules: ReviewRules) -> ReviewerSafety:
    return ReviewerSafety(database, rules)


@pytest.fixture
def make_scan(database: Database, rules: ReviewRules) -> MakeScan:
    return scan_maker(database, rules)


def scan_maker(database: Database, rules: ReviewRules) -> MakeScan:
    """Stores scans of synthetic measurements, judged by the policy `mainstream`, and opens their cases."""
    vocabulary = Vocabulary.of(DETECTORS)
    intake = Intake(rules)

    def make(
        name: str = "a",
        *findings: Finding,
        policy: str = "mainstream",
        pdq: bytes | None = None,
        external_id: str = "",
        **about: Any,
    ) -> tuple[Scan, ReviewCase | None]:
        judge = find_shipped_or_own(policy, folder=None, vocabulary=vocabulary)
        found = [*(findings or (explicit(),)), *([hashes(pdq)] if pdq else [])]
        facts = {"width": 8, "height": 8, "frames": 1, "bytes": 8, "format": "PNG"}
        context = {"external_id": external_id, "uploader": "u1", "surface": "", "locale": ""}
        verdict = judge.decide(found, context, facts)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        with database.write() as session:
            repository = rows(session)
            image = repository.add_image(
                StoredImage(
                    id=new_id("img"),
                    created_at=utc_now(),
                    tenant_id=DEFAULT_TENANT,
                    sha256=sha256,
                    format="PNG",
                    size=8,
                    width=8,
                    height=8,
                    frames=1,
                )
            )
            measurement = repository.add_measurement(
                Measurement(
                    id=new_id("msr"),
                    created_at=utc_now(),
                    tenant_id=DEFAULT_TENANT,
                    image_id=image.id,
                    models="m",
                    plan="full",
                    findings=[finding.as_dict() for finding in found],
                    timings={},
                    warnings=[],
                )
            )
            scan = Scan(
                id=new_id("scan"),
                created_at=utc_now(),
                tenant_id=DEFAULT_TENANT,
                image=image,
                measurement=measurement,
                reused=False,
                action=verdict.action,
                policy=verdict.policy_name,
                policy_version=verdict.policy_version,
                policy_digest=verdict.policy_digest,
                verdict=verdict.as_dict(),
                **context,
                **about,
            )
            repository.add_scan(scan)
            session.flush()
            case = intake.take(session, DEFAULT_TENANT, scan)
        return scan, case

    return make


def rows(session: Any) -> Any:
    from moderation.scans.repository import ScanRepository

    return ScanRepository(session, DEFAULT_TENANT)


def explicit(fpr: float = 0.001, score: float = 0.9) -> Finding:
    """The synthetic measurement of an explicit picture."""
    return Finding("nsfw", "nsfw", score=score, fpr=fpr)


def likeness() -> Finding:
    return Finding("likeness", "likeness", score=0.8, fpr=0.0001, evidence={"person": "person_1"})


def listed(category: str, hint: str = "hold") -> Finding:
    about = {"bank": "b", "category": category, "categories": [category], "banks": ["b"], "kind": "pdq", "distance": 3}
    return Finding("known", "known", evidence={**about, "action_hint": hint})


def hashes(pdq: bytes) -> Finding:
    """What `signals` finds of a picture with this PDQ hash; all orientations alike."""
    return Finding(
        "signals",
        "pdq",
        evidence={"hash": pdq.hex(), "hashable": True, "quality": 100, "orientations": [pdq.hex()] * 8},
    )
