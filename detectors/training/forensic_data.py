"""Pairs for the forensic network: a real crop and its reconstruction, laundered alike.

Both go through the same random turn, compression, blur, noise, resampling, compression again and crop, so that only
the decoder's traces tell them apart. Every batch is drawn from (seed, step).
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from detectors.image import Pixels
from detectors.training.forensic_crops import SIDE

_FILTERS = [PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.BICUBIC, PIL.Image.Resampling.LANCZOS]


WEAKEST, STRONGEST = 36.0, 27.0
"""Peak signal-to-noise ratios, in dB, between which a pair's difference is drawn: crude traces would teach crude traces."""


@dataclass(frozen=True)
class Laundering:
    """What is done to both pictures of a pair, after a turn: 0 means that a step is left out.

    first: quality of a JPEG before everything. zoom: enlargement. blur: radius, negative to sharpen. noise: deviation, of
    255. factor and filter: of the resampling. quality: of the last compression, as JPEG or WebP.
    """

    turn: int
    mirrored: bool
    first: int
    blur: float
    noise: float
    factor: float
    filter: PIL.Image.Resampling
    jpeg: bool
    quality: int
    seed: int

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "Laundering":
        """As the native protocol does, and harder in one of four."""
        hard = random.random() < 0.25
        return cls(
            turn=int(random.integers(4)),
            mirrored=bool(random.random() < 0.5),
            first=int(random.integers(70, 97)) if random.random() < 0.3 else 0,
            blur=float(random.choice([0, 0, 0, 0, 0, 0, random.uniform(0.3, 0.9), -random.uniform(20, 90)])),
            noise=float(random.uniform(0.5, 3)) if random.random() < 0.1 else 0.0,
            factor=float(random.uniform(0.5, 0.8) if hard else random.uniform(0.55, 1.0)),
            filter=PIL.Image.Resampling(int(random.choice(_FILTERS))),
            jpeg=bool(random.random() < 0.6),
            quality=int(random.integers(60, 90) if hard else random.integers(75, 97)),
            seed=int(random.integers(2**31)),
        )

    def __call__(self, pixels: Pixels) -> Pixels:
        """A picture laundered; the same size for the same size."""
        picture = PIL.Image.fromarray(np.ascontiguousarray(_turned(pixels, self.turn, self.mirrored)))
        if self.first:
            picture = compressed(picture, True, self.first)
        if self.blur > 0:
            picture = picture.filter(PIL.ImageFilter.GaussianBlur(self.blur))
        elif self.blur < 0:
            picture = picture.filter(PIL.ImageFilter.UnsharpMask(1.2, int(-self.blur), 0))
        if self.noise:
            grain = np.random.default_rng(self.seed).normal(0, self.noise, (picture.height, picture.width, 3))
            picture = PIL.Image.fromarray((np.asarray(picture) + grain).clip(0, 255).round().astype(np.uint8))
        sides = [max(SIDE, round(side * self.factor)) for side in picture.size]
        small = picture.resize((sides[0], sides[1]), self.filter)
        return np.asarray(compressed(small, self.jpeg, self.quality))


def _turned(pixels: Pixels, turn: int, mirrored: bool) -> Pixels:
    turned: Pixels = np.rot90(pixels, turn)
    return turned[:, ::-1] if mirrored else turned


def compressed(picture: PIL.Image.Image, jpeg: bool, quality: int) -> PIL.Image.Image:
    """A picture after JPEG, or WebP, and back."""
    with io.BytesIO() as buffer:
        picture.save(buffer, format="JPEG" if jpeg else "WEBP", quality=quality, **({} if jpeg else {"method": 2}))
        return PIL.Image.open(buffer).convert("RGB")


def weakened(real: Pixels, made: Pixels, decibels: float) -> Pixels:
    """A reconstruction mixed with its real picture until it is `decibels` away from it; as it is, if it is no further."""
    apart = made.astype(np.float32) - real.astype(np.float32)
    share = min(1.0, 255 / 10 ** (decibels / 20) / (float(np.sqrt((apart**2).mean())) + 1e-6))
    return np.rint(real + share * apart).astype(np.uint8)


def batch(
    real: Sequence[Pixels],
    made: Mapping[str, Sequence[Pixels]],
    groups: Sequence[str],
    pairs: int,
    seed: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`pairs` crops of real pictures and of their reconstructions, uint8 (pairs, SIDE, SIDE, 3) each, place by place.

    made: reconstructions by each autoencoder, in the order of the real ones. groups: the source of each; sources are
    drawn alike, then a picture of them, then an autoencoder.
    """
    random = np.random.default_rng(seed)
    names, sources = sorted(made), sorted(set(groups))
    members = {source: [n for n, group in enumerate(groups) if group == source] for source in sources}
    left: list[Pixels] = []
    right: list[Pixels] = []
    for _ in range(pairs):
        number = int(random.choice(members[sources[int(random.integers(len(sources)))]]))
        wash = Laundering.drawn(random)
        restored = made[names[int(random.integers(len(names)))]][number]
        restored = weakened(real[number], restored, float(random.uniform(STRONGEST, WEAKEST)))
        one, two = wash(real[number]), wash(restored)
        top, west = (int(random.integers(0, side - SIDE + 1)) for side in one.shape[:2])
        for side, pixels in ((left, one), (right, two)):
            side.append(pixels[top : top + SIDE, west : west + SIDE])
    return np.stack(left), np.stack(right)
