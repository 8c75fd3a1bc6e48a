"""From decisions to training data: only what the host let be used, and never of child abuse."""

import csv
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import InvalidRequestError, StorageError
from moderation.storage import ImageStore
from moderation.tables import CaseImage, Decision, ReviewCase, Scan, StoredImage

PAGE = 1_000

HEAD = ("file", "sha256", "label", "source", "family", "group", "case", "effect")


@dataclass(frozen=True)
class Lesson:
    """A decision on an image of a closed case that may be used. final: what holds of the case. uploader: '' where unknown."""

    decision: str
    case: str
    sha256: str
    harm: str
    labels: Sequence[str]
    outcome: str
    effect: str
    final: str
    uploader: str
    format: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, without the uploader."""
        names = ("decision", "case", "sha256", "harm", "labels", "outcome", "effect", "final")
        return {**{name: getattr(self, name) for name in names}, "consent": True}


@dataclass(frozen=True)
class Written:
    """What a manifest holds: examples that show what the label says, others, and those left out as their image is not kept."""

    shown: int
    others: int
    not_kept: int


class TrainingService:
    """Reads what decisions teach, and writes it as a manifest that `palisade train head` and `palisade evaluate` take."""

    def __init__(self, database: Database, store: ImageStore) -> None:
        self.database = database
        self.store = store

    def lessons(self, tenant: str) -> Iterator[Lesson]:
        """All of a tenant, by decision."""
        after = ""
        while found := self._page(tenant, after):
            yield from found
            after = found[-1].decision

    def _page(self, tenant: str, after: str) -> list[Lesson]:
        decisions = (
            sa.select(Decision.id)
            .join(ReviewCase, ReviewCase.id == Decision.case_id)
            .where(
                Decision.tenant_id == tenant,
                Decision.id > after,
                Decision.consent,
                Decision.state == "counted",
                Decision.outcome != "escalate",
                ReviewCase.state == "closed",
                ReviewCase.kind != "golden",
                ReviewCase.harm != "child_abuse",
            )
            .order_by(Decision.id)
            .limit(PAGE)
        )
        query = (
            sa.select(Decision, ReviewCase, CaseImage.sha256, Scan.uploader, StoredImage.format)
            .join(ReviewCase, ReviewCase.id == Decision.case_id)
            .join(CaseImage, CaseImage.case_id == ReviewCase.id)
            .outerjoin(Scan, Scan.id == CaseImage.scan_id)
            .outerjoin(StoredImage, StoredImage.id == CaseImage.image_id)
            .where(Decision.id.in_(decisions), CaseImage.consent)
            .order_by(Decision.id, CaseImage.id)
        )
        with self.database.read() as session:
            return [_lesson(*row) for row in session.execute(query)]

    def write(
        self, tenant: str, label: str, out: Path, *, images: Path | None = None, generated: bool = False
    ) -> Written:
        """Write a manifest of the images of cases that a detector's label led to, as far as one is decided on.

        `label` is `yes` where people found a concern to hold in the end, else `no`; with `generated` `generated` and `real`.
        images: a folder that kept images are decrypted into, and `file` names them from the manifest's place; without it `file`
        is empty, and the images are named by their SHA-256. Of several decisions on an image the last holds. Raises
        InvalidRequestError where there are none, StorageError.
        """
        lessons = {lesson.sha256: lesson for lesson in self.lessons(tenant) if label in lesson.labels}
        if not lessons:
            raise InvalidRequestError(
                f"No decision on a case that {label[:60]!r} led to may be used.",
                hint="Labels are those of `palisade reviews stats`; the host's consent comes with its scans.",
            )
        groups, said = _groups(lessons.values()), ("generated", "real") if generated else ("yes", "no")
        rows: list[Mapping[str, str]] = []
        for lesson in lessons.values():
            file = self._decrypted(tenant, lesson, images) if images else None
            if images and file is None:
                continue
            rows.append(
                {
                    "file": os.path.relpath(file, out.resolve().parent) if file else "",
                    "sha256": lesson.sha256,
                    "label": said[lesson.final == "allow"],
                    "source": "decisions",
                    "family": "decisions",
                    "group": groups[lesson.sha256],
                    "case": lesson.case,
                    "effect": lesson.final,
                }
            )
        _write(out, rows)
        shown = sum(row["label"] == said[0] for row in rows)
        return Written(shown, len(rows) - shown, len(lessons) - len(rows))

    def _decrypted(self, tenant: str, lesson: Lesson, folder: Path) -> Path | None:
        """The kept image as a plain file that only its owner may read; None where it is not kept."""
        path = folder.resolve() / f"{lesson.sha256}.{lesson.format.lower() or 'image'}"
        try:
            data = self.store.get(tenant, lesson.sha256)
        except StorageError as error:
            if error.http_status == 404:
                return None
            raise
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, data)
        return path


def _lesson(made: Decision, case: ReviewCase, sha256: str, uploader: str | None, format: str | None) -> Lesson:
    return Lesson(
        decision=made.id,
        case=case.id,
        sha256=sha256,
        harm=case.harm,
        labels=case.labels,
        outcome=made.outcome,
        effect=made.effect,
        final=case.effect or made.effect,
        uploader=uploader or "",
        format=format or "",
    )


def _groups(lessons: Collection[Lesson]) -> dict[str, str]:
    """What must not be on both sides of a split: images of one case or one uploader are one group, which a number names.

    An uploader's id, or a digest of it that can be guessed, does not leave the host.
    """
    roots: dict[str, str] = {}

    def root(name: str) -> str:
        while roots.setdefault(name, name) != name:
            name = roots[name]
        return name

    for lesson in lessons:
        roots[root(f"case {lesson.case}")] = root(f"by {lesson.uploader}" if lesson.uploader else f"case {lesson.case}")
    numbers: dict[str, int] = {}
    return {
        lesson.sha256: f"group-{numbers.setdefault(root(f'case {lesson.case}'), len(numbers) + 1):05}"
        for lesson in lessons
    }


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, HEAD)
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, text.getvalue().encode())


def _replace(path: Path, data: bytes) -> None:
    """Raises StorageError."""
    part = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(data)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", hint="Is the folder there?") from error
