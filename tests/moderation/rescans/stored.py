"""Stores many judged images at once, as scans store them, without measuring any."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from detectors.base import Finding
from detectors.registry import DETECTORS
from moderation.application import Application
from moderation.database import Database
from moderation.policy import Policy
from moderation.rescans.probes import pack
from moderation.tables import Measurement, Scan, StoredImage, new_id, utc_now

FACTS = {"width": 640, "height": 480, "frames": 1, "bytes": 90_000, "format": "JPEG"}


def findings(number: int, **fprs: float) -> list[Finding]:
    """What every detector finds of a picture that differs from others by its number. fprs: by label, 0.5 for the rest."""
    random = np.random.default_rng(number)
    orientations = [random.bytes(32).hex() for _ in range(8)]
    signals = [
        ("sha256", {"hash": random.bytes(32).hex()}),
        ("md5", {"hash": random.bytes(16).hex()}),
        ("pdq", {"hash": orientations[0], "quality": 90, "hashable": True, "orientations": orientations}),
        ("phash", {"hash": random.bytes(8).hex()}),
        ("dhash", {"hash": random.bytes(8).hex()}),
    ]
    made = [Finding("signals", label, evidence=evidence) for label, evidence in signals]
    for cls in DETECTORS:
        for label in cls.labels:
            if label.calibrated:
                fpr = fprs.get(label.name, 0.5)
                made.append(Finding(cls.name, label.name, score=round(1 - fpr, 6), fpr=fpr, version=cls.version))
    made += [Finding("known", name, "skipped", reason="no banks") for name in ("known", "known_unapplied")]
    made.append(Finding("embedding", "embedding", evidence={"dimensions": 512}))
    return made


def store(
    database: Database,
    policy: Policy,
    images: Sequence[Sequence[Finding]],
    *,
    embeddings: np.ndarray[Any, Any] | None = None,
    embedding_model: str | None = None,
    contexts: Sequence[Mapping[str, str]] = (),
    tenant: str = "default",
    models: str = "m" * 64,
) -> list[str]:
    """Store images with their findings and the policy's verdict on each; gives the ids of the scans."""
    now, rows = utc_now(), ([], [], [])  # type: ignore[var-annotated]
    for number, found in enumerate(images):
        stored = [finding.as_dict() for finding in found]
        context = {"external_id": "", "uploader": "", "surface": "", "locale": ""}
        context |= contexts[number] if contexts else {"external_id": f"pic-{number}"}
        verdict = policy.decide(found, context, FACTS)
        own = {"tenant_id": tenant, "created_at": now}
        image, measurement = new_id("img"), new_id("msr")
        sha256 = next(f.evidence["hash"] for f in found if f.label == "sha256")
        pdq = next(bytes.fromhex(f.evidence["hash"]) for f in found if f.label == "pdq")
        rows[0].append(
            own
            | {
                "id": image,
                "sha256": sha256,
                "format": "JPEG",
                "size": 90_000,
                "width": 640,
                "height": 480,
                "frames": 1,
            }
            | {"pdq": pdq, "embedding": None if embeddings is None else embeddings[number].tobytes()}
            | {"embedding_model": embedding_model, "probes": pack(stored)}
        )
        rows[1].append(
            own
            | {"id": measurement, "image_id": image, "models": models, "plan": "full"}
            | {"findings": stored, "timings": {}, "warnings": []}
        )
        rows[2].append(
            own
            | {"id": new_id("scan"), "image_id": image, "measurement_id": measurement, "reused": False}
            | {"action": verdict.action, "policy": policy.name, "policy_version": policy.version}
            | {"policy_digest": policy.digest, "verdict": verdict.as_dict()}
            | {"lookups": [f for f in stored if f["detector"] == "known"], **context}
        )
    with database.write() as session:
        for table, values in zip((StoredImage, Measurement, Scan), rows, strict=True):
            session.execute(sa.insert(table), values)
    return [row["id"] for row in rows[2]]


def run(application: Application, plan_id: str, worker: str = "test") -> None:
    """Work on a plan until there is no work left."""
    while application.rescans.advance(worker, plan_id=plan_id):
        pass
