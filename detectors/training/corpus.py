"""Examples with the features of their views: what training and evaluation share."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.training.data import Example, View, check_classes, digest, drop_duplicates, silent
from detectors.training.datasets import read_all
from detectors.training.features import FeatureCache, Features

Told = Callable[[str, int, int], None]

FEW = 8
"""Pictures of a family below which it is no family of its own in splits."""
OTHERS = "others"
"""The families of few pictures together, in splits."""

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
        """The families of generators that splits leave out, in order; those of few pictures are one, `others`."""
        return sorted(set(self._left_out_as[self.generated]))

    @cached_property
    def _left_out_as(self) -> NDArray[np.str_]:
        """The name under which splits leave each generated example out, '' for real ones, shape (n,)."""
        counts = Counter(example.family for example in self.examples if example.generated)
        few = {family for family, count in counts.items() if count < FEW}
        if len(few) < 2 or len(counts) - len(few) < 2:
            few = set()
        return np.array([(OTHERS if e.family in few else e.family) if e.generated else "" for e in self.examples])

    @property
    def sources(self) -> list[str]:
        """The sources of real images, in order."""
        return sorted({example.source for example in self.examples if not example.generated})

    def without_family(self, family: str) -> NDArray[np.bool_]:
        """Which examples may train a model that is tested on a family: neither of it, nor of its prompts, nor of its sites.

        A site is a source that pictures of several families come from, all saved in one way. Where every picture of the family is
        from such sites they are left out whole, unless nothing generated would remain.
        """
        members = self.of_family(family)
        prompts = {example.prompt for example in self.chosen(members) if example.prompt}
        kept = np.array([not e.generated or e.prompt not in prompts for e in self.examples]) & ~members
        sources = {example.source for example in self.chosen(members)}
        beside = np.array([e.generated and e.source in sources for e in self.examples])
        if sources <= self._sites and (kept & ~beside & self.generated).any():
            kept &= ~beside
        return kept

    @cached_property
    def _sites(self) -> set[str]:
        pairs = {(example.source, example.family) for example in self.examples if example.generated}
        return {source for source, count in Counter(source for source, _ in pairs).items() if count > 1}

    def of_family(self, family: str) -> NDArray[np.bool_]:
        """Which examples are generated and of a family, by the names of `families`."""
        return np.asarray(self._left_out_as == family)

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
