"""Trains a head: a label that a host needs, from a few dozen examples, as a calibrated probe on the embedding."""

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detectors.calibration import Calibration
from detectors.card import Card
from detectors.errors import ModelError
from detectors.heads import DIMENSIONS, check_name, unit
from detectors.runtime import bare_session
from detectors.training.data import DataError
from detectors.training.figures import Array, Flags, auc, balanced, calibration_error, probabilities, recall_at
from detectors.training.linear import Linear, fit
from detectors.training.synthetic import platt

FEWEST = 20
"""Examples of each class that a head needs; fifty in all."""
FEWEST_IN_ALL = 50
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)
FOLDS = 5
TOLERANCE = 1e-4
LIMITS = (
    "Trained on the examples that the host chose: what is unlike them was not tested.",
    "fpr is counted on the examples that do not show the label, each scored without it, and extrapolated below what their number "
    "supports. Give more of them, of every kind that you host, and measure again before a policy acts on it alone.",
)

Embed = Callable[[str], NDArray[np.floating]]
"""The embedding (512) of what a row names. Raises DataError."""


@dataclass(frozen=True)
class Row:
    """One example. name: of a file, or the SHA-256 of a hosted image. group: what must not be on both sides of a split."""

    name: str
    positive: bool
    group: str


@dataclass(frozen=True)
class Examples:
    """rows and their embeddings, float32 (n, 512) of unit length, copies dropped."""

    rows: tuple[Row, ...]
    embeddings: NDArray[np.float32]

    @property
    def positive(self) -> Flags:
        return np.array([row.positive for row in self.rows])

    @property
    def digest(self) -> str:
        """SHA-256 over what a head learns from."""
        labels = "".join("+" if row.positive else "-" for row in self.rows).encode()
        return hashlib.sha256(labels + self.embeddings.astype(np.float16).tobytes()).hexdigest()


def read_rows(manifest: Path) -> list[Row]:
    """The rows of a CSV with `label` (`yes` or `no`), `file` or `sha256`, and perhaps `group`. Raises DataError by line."""
    try:
        with manifest.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The manifest {manifest} cannot be read: {error}.") from error
    if not rows or "label" not in rows[0] or not {"file", "sha256"} & rows[0].keys():
        raise DataError(
            f"{manifest} has no rows, or no columns `label` and `file` or `sha256`.", hint="See docs/training.md."
        )
    return [_row(manifest, line, row) for line, row in enumerate(rows, start=2)]


def _row(manifest: Path, line: int, row: Mapping[str, str]) -> Row:
    name = row.get("file") or row.get("sha256") or ""
    if row["label"] not in ("yes", "no") or not name:
        raise DataError(
            f"{manifest}:{line} has the label {row['label']!r} for {name!r}.", hint="Use yes or no, and name the image."
        )
    return Row(name, row["label"] == "yes", row.get("group") or name)


def embedded(rows: Sequence[Row], embed: Embed) -> Examples:
    """The examples with their embeddings. Of pictures that are the same the first counts.

    Raises DataError when one picture has both labels, or there are too few.
    """
    check_enough(rows)
    kept: dict[bytes, tuple[Row, NDArray[np.float32]]] = {}
    for row in rows:
        vector = unit(np.asarray(embed(row.name)).reshape(1, DIMENSIONS))[0]
        known = kept.setdefault(vector.astype(np.float16).tobytes(), (row, vector))
        if known[0].positive != row.positive:
            raise DataError(f"{row.name} and {known[0].name} are one picture with both labels.", hint="Decide for one.")
    check_enough([row for row, _ in kept.values()])
    values = list(kept.values())
    return Examples(tuple(row for row, _ in values), np.stack([vector for _, vector in values]))


def check_enough(rows: Sequence[Row]) -> None:
    """Raises DataError when a head cannot be made of so few."""
    positives = sum(row.positive for row in rows)
    if min(positives, len(rows) - positives) < FEWEST or len(rows) < FEWEST_IN_ALL:
        raise DataError(
            f"There are {positives} examples of the label and {len(rows) - positives} others.",
            hint=f"{FEWEST_IN_ALL} are needed, {FEWEST} at least of each; copies count once.",
        )


def train(
    name: str, examples: Examples, folder: Path, *, backbone: str, about: str = "", prevalence: float = 0.5
) -> Card:
    """Fit, calibrate on scores of examples left out, write `NAME.{onnx,calibration.json,card.json}`, the card last.

    backbone: `name@digest` of what made the embeddings. prevalence: share of uploads that show the label, at which the score
    is a probability. The same examples give the same files. Raises DataError and ModelError.
    """
    check_name(name)
    if not 0 < prevalence < 1:
        raise DataError(
            f"A prevalence of {prevalence} is none.", hint="Give the share of uploads, above 0 and below 1."
        )
    fold = _folds(examples)
    strength, logits = _chosen(examples, fold)
    slope, bias = platt(logits, examples.positive, prevalence)
    head = fit(examples.embeddings, examples.positive, balanced(examples.positive), strength)
    served = graph(head, slope, bias)
    apart = _check(served, head, slope, bias, examples.embeddings)
    probability = probabilities(slope * logits + bias)
    made = {"about": about, "strength": strength, "folds": FOLDS, "data": examples.digest, "examples": len(examples.rows),
            "positives": int(examples.positive.sum()), "code": version("palisade"), "export_difference": apart}  # fmt: skip
    figures = _figures(probability, examples.positive, prevalence)
    card = Card(name, hashlib.sha256(served).hexdigest(), backbone, prevalence, made, figures, LIMITS)
    return _write(folder, card, served, probability[~examples.positive])


def _folds(examples: Examples) -> NDArray[np.int64]:
    """A fold of each example: groups stay whole, and each class is spread evenly. Raises DataError when that cannot be."""
    fold = np.zeros(len(examples.rows), dtype=np.int64)
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(examples.rows):
        groups.setdefault(row.group, []).append(number)
    counts = np.zeros((FOLDS, 2))
    for group in sorted(groups, key=lambda g: (-len(groups[g]), hashlib.sha256(g.encode()).hexdigest())):
        rows = groups[group]
        gained = np.array(
            [sum(not examples.rows[r].positive for r in rows), sum(examples.rows[r].positive for r in rows)]
        )
        place = int(np.argmin(counts @ gained))
        counts[place] += gained
        fold[rows] = place
    if (counts == 0).any():
        raise DataError("The groups are too few to leave one out.", hint=f"{FOLDS} groups of each class are needed.")
    return fold


def _chosen(examples: Examples, fold: NDArray[np.int64]) -> tuple[float, Array]:
    """The penalty that does best on examples left out, and their logits by it."""
    best: tuple[float, float, Array] | None = None
    for strength in STRENGTHS:
        logits = np.zeros(len(fold))
        for number in range(FOLDS):
            train = fold != number
            head = fit(
                examples.embeddings[train], examples.positive[train], balanced(examples.positive[train]), strength
            )
            logits[~train] = head(examples.embeddings[~train])
        area = auc(logits, examples.positive)
        if best is None or area > best[0] + 1e-9:
            best = (area, strength, logits)
    assert best is not None  # noqa: S101 - there are strengths
    return best[1], best[2]


def graph(head: Linear, slope: float, bias: float) -> bytes:
    """The ONNX graph: `embedding` float32 (batch, 512), unit length → `logit` (batch,). Deterministic."""
    weight, offset = head.folded()
    constants = {
        "weight": (slope * weight).astype(np.float32)[:, None],
        "offset": np.array([slope * offset + bias], dtype=np.float32),
        "last": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["embedding", "weight"], ["column"]),
        helper.make_node("Squeeze", ["column", "last"], ["sum"]),
        helper.make_node("Add", ["sum", "offset"], ["logit"]),
    ]
    made = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSIONS])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], producer_name="palisade")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _check(served: bytes, head: Linear, slope: float, bias: float, rows: NDArray[np.float32]) -> float:
    (logits,) = bare_session(served).run(["logit"], {"embedding": rows})
    apart = float(np.abs(logits - (slope * head(rows) + bias)).max())
    if not apart <= TOLERANCE * max(1.0, float(np.abs(logits).max())):
        raise ModelError(f"The exported head differs from the trained one by {apart:.2g}.")
    return apart


def _figures(probability: Array, positive: Flags, prevalence: float) -> dict[str, Any]:
    return {
        "auc": auc(probability, positive),
        "recall_at_0.05": recall_at(probability, positive, 0.05),
        "ece": calibration_error(probability, positive, balanced(positive, prevalence)),
    }


def _write(folder: Path, card: Card, served: bytes, negatives: Array) -> Card:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{card.name}.onnx.part"
    part.write_bytes(served)
    part.replace(folder / f"{card.name}.onnx")
    source = f"{len(negatives)} examples without the label, each scored by a head that did not see it"
    calibration = Calibration.fit(negatives, model=card.identity, source=source, fewest=FEWEST)
    calibration.write(folder / f"{card.name}.calibration.json")
    card.write(folder)
    return card
