"""The second half of `swap`: a linear head on what CLIP sees in a face, and how it is weighed with the network.

The network sees seams and learns from few faces; CLIP's class tokens tell whether a face and what surrounds it belong
together, and a linear head on them learns little by heart. It learns from the network's blends (`swap_data.pair`), made
within a group of people only, so that a head trained without a group has never seen its faces, pasted or whole.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.image import Frame, Pixels
from detectors.training import linear
from detectors.training.data import silent
from detectors.training.features import WIDTH, FeatureCache, Progress
from detectors.training.swap import SwapNetwork
from detectors.training.swap_data import FaceCrop, pair

Floats = NDArray[np.float64]

BLOCKS = (6, 8, 10)
"""CLIP's blocks that the head reads, counted from 0."""

STRENGTH = 1.0
"""Of the head's L2 penalty."""


@dataclass(frozen=True)
class Pairs:
    """Real crops and blends of one group of people, by turns, and their class tokens (n, len(BLOCKS) · 768)."""

    crops: list[Pixels]
    tokens: NDArray[np.float32]

    @property
    def blended(self) -> NDArray[np.bool_]:
        return np.arange(len(self.crops)) % 2 == 1


def tokens(cache: FeatureCache, crops: Sequence[Pixels], progress: Progress = silent) -> NDArray[np.float32]:
    """The class tokens that the head reads, (n, len(BLOCKS) · 768): computed once for the same pixels."""
    rows = np.zeros((len(crops), len(BLOCKS) * WIDTH), np.float32)
    for number, crop in enumerate(crops):
        rows[number] = _blocks(cache, crop)[list(BLOCKS)].ravel()
        progress(number + 1, len(crops))
    return rows


def _blocks(cache: FeatureCache, crop: Pixels) -> NDArray[np.float32]:
    name = f"aligned crop {hashlib.sha256(crop.tobytes()).hexdigest()}"
    return cache.of(name, lambda: Frame(0, np.ascontiguousarray(crop)))[0]


def make_pairs(
    cache: FeatureCache, faces: Sequence[FaceCrop], draws: int, seed: int, progress: Progress = silent
) -> Pairs:
    """`draws` pairs of each face, blended with faces of the same list. Deterministic in `seed`."""
    crops: list[Pixels] = []
    for draw in range(draws):
        for number in range(len(faces)):
            real, blended, _ = pair(faces, number, np.random.default_rng((seed, 3, draw, number)), hard=True)
            crops += [real, blended]
    return Pairs(crops, tokens(cache, crops, progress))


def fit(groups: Sequence[Pairs]) -> linear.Linear:
    """A head on some groups' pairs, all rows weighed alike."""
    groups = [group for group in groups if group.crops]
    rows = np.concatenate([group.tokens for group in groups])
    return linear.fit(rows, np.concatenate([group.blended for group in groups]), np.ones(len(rows)), STRENGTH)


def weigh(network: Floats, head: Floats, blended: NDArray[np.bool_]) -> linear.Linear:
    """How the logits of the network and the head, of people whom neither had seen, are added up."""
    return linear.fit(np.stack([network, head], axis=1), blended, np.ones(len(blended)), 1e-3)


class Served(nn.Module):
    """What is served: crops (n, 3, 112, 112) and CLIP's blocks (n, 12, 768) → logits (n,) and maps (n, 14, 14)."""

    weight: Tensor

    def __init__(self, network: SwapNetwork, head: linear.Linear, weighed: linear.Linear) -> None:
        super().__init__()
        self.network = network
        (self.share, head_share), offset = weighed.folded()[0].tolist(), weighed.folded()[1]
        weight, bias = head.folded()
        self.register_buffer("weight", torch.from_numpy(head_share * weight).float())
        self.bias = offset + head_share * bias

    def forward(self, crops: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
        logits, maps = self.network(crops)
        seen = blocks[:, list(BLOCKS)].flatten(1) @ self.weight
        return self.share * logits + seen + self.bias, maps
