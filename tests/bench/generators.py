"""`synthetic` on generators of a lode that no model saw: `python -m tests.bench.generators --known M.csv --unseen N.csv`.

The shipped blocks and penalty are fitted on the known manifests alone, six times, each time without a sixth of the sources of
real pictures: so neither a generator nor a real source that is scored was ever seen. Native view. For all unseen pictures and each
family: AUC against the real pictures, and recall at their 1 % point.

`thumbnails` repeats it against 10 real pictures of each source that were made what most unseen ones are, squares of at most
400 px saved as WebP: what falls there is owed to how the pictures were kept, not to what made them. The last line is JSON.
"""

import argparse
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.image import Frame
from detectors.training.corpus import Corpus, build
from detectors.training.data import View, decode, read_manifest, render
from detectors.training.evaluate import shipped_choice
from detectors.training.features import FeatureCache
from detectors.training.figures import Array, auc, interval, threshold_at
from detectors.training.synthetic import Committee, fit_committee
from moderation.commands.train import features_in

FOLDS = 6
VIEW = View("native", 0)
EACH = 10
SIDE = 400
QUALITY = 85


def fold_of(source: str) -> int:
    """The fold of a real source."""
    return hashlib.sha256(source.encode()).digest()[0] % FOLDS


def thumbnail(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture's centre square, of at most SIDE px, as a WebP file keeps it."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    square.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    with io.BytesIO() as buffer:
        square.save(buffer, format="WEBP", quality=QUALITY)
        return PIL.Image.open(buffer).convert("RGB")


def remade(corpus: Corpus, rows: NDArray[np.intp], cache: FeatureCache) -> NDArray[np.float32]:
    """The class tokens of pictures as thumbnails, in the same view."""

    def view_of(row: int) -> Callable[[], Frame]:
        return lambda: render(thumbnail(decode(corpus.examples[row].path)), VIEW, f"thumbnail {row}")

    names = [hashlib.sha256(corpus.examples[row].path.read_bytes()).hexdigest() for row in rows]
    return np.stack([cache.of(f"thumbnail {n} {r}:{VIEW}", view_of(r))[0] for n, r in zip(names, rows, strict=True)])


def judged(found: Array, negatives: list[Array]) -> dict[str, object]:
    """found: logits of tested pictures, (folds, n). negatives: of each fold's real pictures."""

    def area(rows: NDArray[np.intp]) -> float:
        return float(np.mean([_auc(f[rows], n) for f, n in zip(found, negatives, strict=True) if len(n)]))

    def recall(rows: NDArray[np.intp]) -> float:
        return float((found[:, rows] >= limit).mean())

    limit, all_rows = threshold_at(np.concatenate(negatives), 0.01), np.arange(found.shape[1])
    alone = [[int(row)] for row in all_rows]
    named = {"auc": area, "recall_at_0.01": recall}
    figures = {name: [figure(all_rows), *interval(figure, alone)] for name, figure in named.items()}
    return {"images": len(all_rows)} | {name: [round(value, 3) for value in three] for name, three in figures.items()}


def _auc(positives: Array, negatives: Array) -> float:
    return auc(np.concatenate([positives, negatives]), np.arange(len(positives) + len(negatives)) < len(positives))


def learn(corpus: Corpus, unseen: NDArray[np.bool_]) -> list[tuple[Committee, NDArray[np.bool_]]]:
    """For each fold the shipped recipe fitted on what is known, without that fold's real pictures; and which those are."""
    choice = shipped_choice()
    assert choice, "no model is shipped"
    fold = np.array([-1 if e.generated else fold_of(e.source) for e in corpus.examples])
    return [(fit_committee(corpus, ~unseen & (fold != n), choice), fold == n) for n in range(FOLDS)]


def measure(corpus: Corpus, unseen: NDArray[np.bool_], cache: FeatureCache) -> dict[str, dict[str, object]]:
    """The figures by family, `all`, and `thumbnails`."""
    blocks = corpus.views[VIEW].blocks
    learnt = [(model, out) for model, out in learn(corpus, unseen) if out.any()]
    found = np.stack([model(blocks[unseen]) for model, _ in learnt])
    negatives = [model(blocks[out]) for model, out in learnt]
    small = [model(remade(corpus, _some(corpus, out), cache)) for model, out in learnt]

    families = np.array([e.family for e in corpus.chosen(unseen)])
    figures = {"all": judged(found, negatives), "thumbnails": judged(found, small)}
    for family in sorted(set(families)):
        figures[family] = judged(found[:, families == family], negatives)
    return figures


def _some(corpus: Corpus, rows: NDArray[np.bool_]) -> NDArray[np.intp]:
    """EACH pictures of every source among the rows, by their names."""
    taken: dict[str, list[int]] = {}
    for row in sorted(np.flatnonzero(rows), key=lambda r: hashlib.sha256(corpus.examples[r].file.encode()).digest()):
        taken.setdefault(corpus.examples[row].source, []).append(int(row))
    return np.array([row for source in sorted(taken) for row in taken[source][:EACH]], dtype=np.intp)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--known", type=Path, action="append", required=True, help="a manifest to train on; may be given again"
    )
    parser.add_argument("--unseen", type=Path, required=True, help="a manifest of generated pictures")
    parser.add_argument("--cache", type=Path, help="folder for features")
    arguments = parser.parse_args()
    cache = features_in(arguments.cache)
    corpus = build([*arguments.known, arguments.unseen], cache, {VIEW: 1})
    paths = {example.path for example in read_manifest(arguments.unseen)}
    unseen = np.array([e.path in paths for e in corpus.examples])
    figures = measure(corpus, unseen, cache)
    for name, row in figures.items():
        print(name, *row.values(), sep="\t")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
