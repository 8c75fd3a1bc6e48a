"""Examples with the features of their views: what training and evaluation share."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.training.data import Example, View, check_classes, digest, drop_duplicates, silent
from detectors.training.datasets import read_all
from detectors.training.features import FeatureCache, Features

Told = Callable[[str, int, int], None]

VIEWS: Mapping[View, int] = {View("native", 0): 1, View("matched", 0): 1, View("laundered", 0): 1}


@dataclass(frozen=True)
class Corpus:
    """Examples without near-duplicates, and the features of each view, all in one order.

    data: digest of the files and their labels. backbone: digest of the served graph that made the features.
    model: `name@digest` of its catalogue entry.
    """

    examples: tuple[Example, ...]
    views: Mapping[View, Features]
    data: str
    backbone: str
    model: str

    @property
    def generated(self) -> NDArray[np.bool_]:
        """Which examples were generated, shape (n,)."""
        return np.array([example.generated for example in self.examples])

    @property
    def groups(self) -> NDArray[np.str_]:
        """The family of each generated example, the source of each real one, shape (n,)."""
        return np.array([example.group for example in self.examples])

    @property
    def families(self) -> list[str]:
        """The families of generators, in order."""
        return sorted({example.family for example in self.examples if example.generated})

    @property
    def sources(self) -> list[str]:
        """The sources of real images, in order."""
        return sorted({example.source for example in self.examples if not example.generated})

    def without_family(self, family: str) -> NDArray[np.bool_]:
        """Which examples may train a model that is tested on a family: neither of it nor of its prompts."""
        prompts = {e.prompt for e in self.examples if e.generated and e.family == family and e.prompt}
        return np.array([not (e.generated and (e.family == family or e.prompt in prompts)) for e in self.examples])

    def of_family(self, family: str) -> NDArray[np.bool_]:
        """Which examples are of a family."""
        return np.array([example.family == family for example in self.examples])

    def chosen(self, rows: NDArray[np.bool_]) -> list[Example]:
        """The examples that a mask marks."""
        return [example for example, used in zip(self.examples, rows, strict=True) if used]

    def folds(self, count: int = 5) -> NDArray[np.int64]:
        """A fold for each example, shape (n,), that depends on its file's name only."""
        return np.array([int(hashlib.sha256(e.file.encode()).hexdigest(), 16) % count for e in self.examples])


def build(
    manifests: Sequence[Path],
    cache: FeatureCache,
    views: Mapping[View, int] = VIEWS,
    told: Told = silent,
) -> Corpus:
    """The corpus of manifests; features are read from the cache or computed. Raises DataError.

    views: each view with a number n: every n-th example is seen in it. told: hears of progress: what, how many, of all.
    """
    examples = _distinct(read_all(manifests), cache.folder)
    check_classes(examples)
    features = {}
    for view, every in views.items():
        features[view] = cache.features(examples, view, _named(told, str(view)), every)
    return Corpus(tuple(examples), features, _digest(examples), cache.prepared, cache.model)


def _named(told: Told, what: str) -> Callable[[int, int], None]:
    return lambda done, total: told(what, done, total)


def _digest(examples: Sequence[Example]) -> str:
    lines = [f"{e.generated:d} {e.group} {digest(e.path)}" for e in examples]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _distinct(examples: Sequence[Example], folder: Path) -> list[Example]:
    """`drop_duplicates`, remembered beside the features for the same files."""
    kept = folder / f"distinct-{_digest(examples)[:16]}.json"
    if kept.is_file():
        names = set(json.loads(kept.read_text()))
        return [example for example in examples if example.file in names]
    distinct = drop_duplicates(examples)
    folder.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps([example.file for example in distinct]))
    part.replace(kept)
    return distinct
