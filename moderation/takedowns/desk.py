"""Takes the hashes of an image that a notice is about; the image is let go at once."""

from dataclasses import dataclass

import numpy as np

from detectors.base import Detector
from moderation import media
from moderation.media import MediaLimits
from moderation.scanner import Scanner
from moderation.tables import NoticeImage, new_id, utc_now


@dataclass(frozen=True)
class ImageDesk:
    """Opens images within the limits and measures them with the detectors that uploads are measured with."""

    scanner: Scanner
    limits: MediaLimits

    def take(self, tenant: str, notice_id: str, data: bytes, source: str, *, name: str | None = None) -> NoticeImage:
        """The row of an image: its digests, PDQ where it is hashable, its embedding. Raises MediaError, RateLimitError."""
        with self.scanner.turn():
            image = media.open(data, self.limits, name=name)
            (signals,) = self._detector("signals").detect([image])
            (embedded,) = self._detector("embedding").detect([image])
        evidence = [finding.evidence for finding in signals if finding.label == "pdq" and finding.evidence["hashable"]]
        embedding = image.features.get("embedding")
        return NoticeImage(
            id=new_id("nimg"),
            tenant_id=tenant,
            created_at=utc_now(),
            notice_id=notice_id,
            source=source,
            sha256=image.sha256,
            md5=next(finding.evidence["hash"] for finding in signals if finding.label == "md5"),
            pdq=b"".join(bytes.fromhex(found["hash"]) for found in evidence),
            orientations=b"".join(bytes.fromhex(text) for found in evidence for text in found["orientations"]),
            embedding=None if embedding is None else np.ascontiguousarray(embedding).tobytes(),
            embedding_model=next((finding.model for finding in embedded if finding.status == "ok"), None),
        )

    def _detector(self, name: str) -> Detector:
        return self.scanner.detector(name)
