"""Signals: digests and perceptual hashes."""

import hashlib

import numpy as np

from detectors.runtime import Runtime
from detectors.signals import SignalsDetector
from tests.contract import DetectorContract
from tests.factories import encode, make_image, picture


def bits_apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


class TestSignals(DetectorContract):
    detector_class = SignalsDetector

    def evidence(self, runtime: Runtime, image, label: str) -> dict:
        return next(dict(f.evidence) for f in SignalsDetector(runtime).detect([image])[0] if f.label == label)

    def test_digests_are_of_the_file(self, runtime: Runtime) -> None:
        image = make_image()

        assert self.evidence(runtime, image, "sha256")["hash"] == hashlib.sha256(image.data).hexdigest()
        assert self.evidence(runtime, image, "md5")["hash"] == hashlib.md5(image.data).hexdigest()

    def test_a_smaller_jpeg_copy_matches_within_the_radius(self, runtime: Runtime) -> None:
        from PIL import Image

        original = picture(900, 700)
        copy = np.asarray(Image.fromarray(original).resize((450, 350)))

        a = self.evidence(runtime, make_image(original), "pdq")
        b = self.evidence(runtime, make_image(copy, data=encode(copy, "JPEG", quality=70)), "pdq")

        assert bits_apart(a["hash"], b["hash"]) <= 31

    def test_a_mirrored_copy_matches_one_of_eight_orientations(self, runtime: Runtime) -> None:
        a = self.evidence(runtime, make_image(picture()), "pdq")
        b = self.evidence(runtime, make_image(picture()[:, ::-1]), "pdq")

        assert bits_apart(a["hash"], b["hash"]) > 60
        assert min(bits_apart(a["hash"], other) for other in b["orientations"]) <= 31

    def test_a_plain_picture_is_unhashable_not_an_error(self, runtime: Runtime) -> None:
        pdq = self.evidence(runtime, make_image(np.full((200, 200, 3), 90, np.uint8)), "pdq")

        assert pdq["quality"] == 0
        assert pdq["hashable"] is False

    def test_agrees_with_the_authors_hashes(self, runtime: Runtime, shared_data) -> None:
        """The PDQ authors' picture and its transformations hash within the radius of its published hash."""
        from PIL import Image

        pixels = np.asarray(Image.open(shared_data / "pdq/bridge-mods/aaa-orig.jpg").convert("RGB"))
        pdq = self.evidence(runtime, make_image(pixels), "pdq")

        published = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
        assert pdq["quality"] == 100
        assert bits_apart(pdq["hash"], published) <= 16
