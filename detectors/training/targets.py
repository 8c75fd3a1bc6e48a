"""What was set out to be reached, beside what was measured, one row a target."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detectors.embedding import EmbeddingDetector
from detectors.errors import ModelError
from detectors.image import Frame, Image
from detectors.nsfw import NsfwDetector
from detectors.synthetic import SyntheticDetector
from detectors.training.corpus import Corpus
from detectors.training.data import decode

Row = tuple[str, str, str, str]
HEAD = ("target", "floor", "aim", "measured")
ROUNDS = 3
MOST_PICTURES = 40


def rows(evaluation: Mapping[str, Any]) -> list[Row]:
    """The table: what, its floor, its aim, what this run or the card of a shipped model says."""
    return [(what, floor, aim, measured or "not measured") for what, floor, aim, measured in _rows(evaluation)]


def _rows(evaluation: Mapping[str, Any]) -> list[Row]:
    model = next(iter(evaluation["models"].values()))
    native, laundered = (_view(model, protocol) for protocol in ("native", "laundered"))
    found = [
        ("synthetic, families left out, native: mean / worst AUC", "0.95 / 0.91", "0.985 / 0.96", _areas(native)),
        ("the same, laundered", "0.94 / 0.90", "0.98 / 0.95", _areas(laundered)),
        ("recall at 1 % false positives, native, mean", "0.50", "0.80", _recall(native)),
        ("worst real source at the 1 % point, seen / never seen", "4 %", "2 %", _worst(native)),
        ("the same where 1 % of never-seen sources pass, and the recall there", "4 %", "2 %", _new(native)),
    ]
    for copied in evaluation.get("reconstructions", []):
        what = f"real against its own copy by {copied['decoder']}, AUC"
        found.append((what, "0.70", "0.90", f"{copied['auc']:.2f} ({copied['pairs']} pairs)"))
    if not evaluation.get("reconstructions"):
        found.append(("real against its own copy, AUC", "0.70", "0.90", evaluation.get("no_reconstructions", "")))
    return [*found, *_shipped(evaluation, native)]


def _shipped(evaluation: Mapping[str, Any], native: Mapping[str, Any] | None) -> list[Row]:
    shipped = evaluation.get("shipped", {})
    swap = shipped.get("swap", {})
    clone = next((f for f in swap.get("figures", ()) if (f["kind"], f["protocol"]) == ("clone", "native")), None)
    return [
        ("swap, other identities and other blender, AUC", "0.85", "0.93", f"{clone['auc'][0]:.3f}" if clone else ""),
        ("ECE of synthetic, native", "0.05", "0.03", f"{native['ece']:.3f}" if native else ""),
        ("ECE of swap", "0.05", "0.03", f"{swap['ece']:.3f}" if "ece" in swap else ""),
        ("nsfw: worst kind of real picture at its 1 % point", "1 %", "1 %", _nsfw(evaluation.get("nsfw", {}))),
        ("time of synthetic, as a share of the embedding", "60 %", "25 %", _share(evaluation)),
    ]


def _view(model: Mapping[str, Any], protocol: str) -> Mapping[str, Any] | None:
    return next((values for name, values in model.items() if name.startswith(protocol)), None)


def _areas(view: Mapping[str, Any] | None) -> str:
    return f"{view['mean_auc']:.3f} / {view['worst_auc']:.3f}" if view else ""


def _recall(view: Mapping[str, Any] | None) -> str:
    return f"{view['recall_at_0.01']:.2f}" if view else ""


def _worst(view: Mapping[str, Any] | None) -> str:
    if not view or not view["sources"]:
        return ""
    worst = {key: max(view["sources"].items(), key=lambda item: item[1][key]) for key in ("fpr_seen", "fpr_unseen")}
    return " / ".join(f"{values[key]:.1%} ({name})" for key, (name, values) in worst.items())


def _new(view: Mapping[str, Any] | None) -> str:
    new = (view or {}).get("new_sources")
    return f"{new['worst_fpr']:.1%} ({new['worst_source']}), recall {new['recall']:.2f}" if new else ""


def _nsfw(kinds: Mapping[str, Mapping[str, float]]) -> str:
    if not kinds:
        return ""
    name, values = max(kinds.items(), key=lambda item: item[1]["at_0.01"])
    return f"{values['at_0.01']:.1%} ({name}, {values['images']} pictures)"


def _share(evaluation: Mapping[str, Any]) -> str:
    return f"{evaluation['added_time']:.1%}" if "added_time" in evaluation else ""


def shipped_cards(folder: Path) -> dict[str, Any]:
    """What the cards of shipped models other than `synthetic` say of them. Raises ModelError for one that is damaged."""
    path = folder / "swap.card.json"
    try:
        return {"swap": json.loads(path.read_text("utf-8"))} if path.is_file() else {}
    except ValueError as error:
        raise ModelError(f"The card {path} cannot be read: {error}") from error


def nsfw_by_kind(corpus: Corpus, detector: NsfwDetector, most: int = MOST_PICTURES) -> dict[str, dict[str, float]]:
    """For each source of real pictures, the share of at most `most` of them that reach `fpr` 0.1 and 0.01."""
    kinds = {}
    for source in corpus.sources:
        paths = [example.path for example in corpus.examples if example.source == source]
        chosen = [paths[int(number * len(paths) / most)] for number in range(most)] if len(paths) > most else paths
        fprs = np.array([detector.calibration.fpr(detector.scores([_frame(path)])[0]) for path in chosen])
        kinds[source] = {
            "images": len(chosen),
            **{f"at_{rate:g}": float((fprs <= rate).mean()) for rate in (0.1, 0.01)},
        }
    return kinds


def added_time(corpus: Corpus, embedding: EmbeddingDetector, synthetic: SyntheticDetector) -> float:
    """Time of `synthetic` on a picture that was embedded, over the time of embedding it: the medians of a few rounds."""
    spent: dict[str, list[float]] = {"embedding": [], "synthetic": []}
    for number in range(ROUNDS):
        frame = _frame(corpus.examples[number].path)
        image = Image(b"", "", frame.width, frame.height, (frame,))
        for name, detector in (("embedding", embedding), ("synthetic", synthetic)):
            start = time.perf_counter()
            detector.detect([image])
            spent[name].append(time.perf_counter() - start)
    return float(np.median(spent["synthetic"]) / np.median(spent["embedding"]))


def _frame(path: Path) -> Frame:
    return Frame(0, np.ascontiguousarray(np.asarray(decode(path))))
