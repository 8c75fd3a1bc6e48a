"""`palisade train head`."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from detectors.embedding import EmbeddingDetector
from detectors.heads import BACKBONE, DIMENSIONS, PREFIX, check_name
from detectors.image import Frame
from detectors.training.data import DataError, decode
from detectors.training.head import embedded, read_rows, train
from moderation.application import Application
from moderation.commands.console import err, out
from moderation.scans.repository import ScanRepository
from moderation.settings import settings
from moderation.tables.base import DEFAULT_TENANT

SHA256 = re.compile(r"[0-9a-f]{64}")

Name = Annotated[str, typer.Argument(help="What policies call it, after `head_`: small letters, digits and _.")]
Data = Annotated[
    Path,
    typer.Option(
        help="CSV with label (yes or no), file (relative to it) or sha256 of a hosted image, and perhaps group."
    ),
]
About = Annotated[str, typer.Option(help="What the label says, in a sentence: for reviewers and policy authors.")]
Prevalence = Annotated[
    float, typer.Option(help="Share of your uploads that show it; the score is a probability at that.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of heads. Default: where they are served from.")]
Tenant = Annotated[str, typer.Option(help="Whose hosted images a sha256 names.")]


def head(
    name: Name,
    data: Data,
    *,
    about: About = "",
    prevalence: Prevalence = 0.5,
    folder: Out = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Train a label of your own from fifty examples and more, as a probe on the embedding that every scan computes.

    Images that were scanned are named by their SHA-256, and nothing of them is read again. The same examples make the same
    head. Servers read their heads when they start.
    """
    check_name(name)
    rows = read_rows(data)
    embeddings = Embeddings(Application(settings()), data.parent, tenant)
    bar = track(range(len(rows)), "embedding", console=err, transient=True, disable=not err.is_terminal)
    ticks = iter(bar)

    def embed(named: str) -> NDArray[np.floating]:
        next(ticks, None)
        return embeddings.of(named)

    examples = embedded(rows, embed)
    card = train(
        name, examples, folder or settings().heads, backbone=embeddings.model, about=about, prevalence=prevalence
    )
    figures = card.figures
    out.print(
        f"{PREFIX}{name}: {len(examples.rows)} examples; on those left out AUC {figures['auc']:.3f}, recall at 5 % false positives "
        f"{figures['recall_at_0.05']:.2f}, ECE {figures['ece']:.3f}. Written to {folder or settings().heads}: {card.identity}",
        highlight=False,
    )


class Embeddings:
    """Embeddings as scans compute them: of files below a folder, or of a tenant's hosted images as they are stored."""

    def __init__(self, application: Application, folder: Path, tenant: str) -> None:
        self.application = application
        self.folder = folder
        self.tenant = tenant
        self.model = application.runtime.identity(BACKBONE)
        self._detector: EmbeddingDetector | None = None

    def of(self, name: str) -> NDArray[np.floating]:
        """float16 (512): of the first frame. Raises DataError."""
        return self._stored(name) if SHA256.fullmatch(name) else self._file(name)

    def _stored(self, sha256: str) -> NDArray[np.floating]:
        with self.application.database.read() as session:
            image = ScanRepository(session, self.tenant).image(sha256)
        if image is None or image.embedding is None or image.embedding_model != self.model:
            raise DataError(
                f"No embedding of {sha256} by {self.model} is stored.", hint="Scan it first, or name its file."
            )
        return np.frombuffer(image.embedding, np.float16)[:DIMENSIONS]

    def _file(self, name: str) -> NDArray[np.floating]:
        if self._detector is None:
            self._detector = EmbeddingDetector(self.application.runtime)
        pixels = np.ascontiguousarray(np.asarray(decode(self.folder / name)))
        return np.asarray(self._detector.embed([Frame(0, pixels)])[0][0])
