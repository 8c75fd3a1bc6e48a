"""The evaluation as one HTML page that needs nothing else: tables, ROC and reliability curves as inline SVG."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from detectors.training import targets
from detectors.training.data import DataError, decode

SIDE = 320
THUMBNAIL = 96
COLOURS = ("#0b5cad", "#b3261e", "#1b7f3b", "#8a5a00", "#6b3fa0", "#00727a")

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;text-align:right}
td:first-child,th:first-child{text-align:left}details{display:inline-block;vertical-align:top;margin:0 1rem .5rem 0}figure{display:inline-block;margin:1rem 2rem 1rem 0}
svg text{font:11px system-ui,sans-serif}"""


def html(evaluation: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The page. pictures: where each file of the errors is, to show it small and covered until somebody opens it."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Palisade: evaluation of synthetic</title>",
        f"<style>{STYLE}</style><h1>Generated images: evaluation</h1>",
        f"<p>{evaluation['images']} images, {evaluation['generated']} of them generated; features of "
        f"{escape(evaluation['backbone'])}; data {escape(evaluation['data'][:12])}. Every figure is of a family of "
        "generators, or a source of real images, that the scoring model had not seen, nor its prompts.</p>",
        "<h2>Targets</h2>",
        _table(targets.HEAD, targets.rows(evaluation)),
        _laundering(evaluation.get("laundering", [])),
        _explicit(evaluation.get("nsfw", {})),
    ]
    views = list(next(iter(evaluation["models"].values())))
    for view in views:
        models = {name: model[view] for name, model in evaluation["models"].items()}
        first = next(iter(models.values()))
        parts += [f"<h2>{escape(view)}</h2>", _summary(models), _families(first), _sources(models)]
        parts += [_curves(first["roc"]), _reliability(first["reliability"])]
        parts.append(_errors(first["errors"], pictures))
    return "\n".join(parts) + "</html>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first = "".join(f"<th scope=col>{escape(cell)}" for cell in head)
    return (
        f"<table><tr>{first}" + "".join("<tr>" + "".join(f"<td>{escape(c)}" for c in row) for row in rows) + "</table>"
    )


def summary_rows(models: Mapping[str, Any]) -> list[list[str]]:
    """One row a model: mean AUC with its interval, worst AUC, recall at 1, 0.1 and 5 %, calibration error."""
    return [
        [
            name,
            f"{m['mean_auc']:.3f} ({m['mean_auc_interval'][0]:.3f} to {m['mean_auc_interval'][1]:.3f})",
            f"{m['worst_auc']:.3f}",
            f"{m['recall_at_0.01']:.2f} ({m['recall_at_0.01_interval'][0]:.2f} to {m['recall_at_0.01_interval'][1]:.2f})",
            f"{m['recall_at_0.001']:.2f}",
            f"{m['recall_at_0.05']:.2f}",
            f"{m['ece']:.3f}",
        ]
        for name, m in models.items()
    ]


SUMMARY = ("model", "mean AUC (95 %)", "worst AUC", "recall at 1 % (95 %)", "at 0.1 %", "at 5 %", "ECE")


def _summary(models: Mapping[str, Any]) -> str:
    return _table(SUMMARY, summary_rows(models))


def _families(model: Mapping[str, Any]) -> str:
    rows = []
    for family, figures in model["families"].items():
        recalls = [f"{figures[f'recall_at_{rate}']:.2f}" for rate in ("0.001", "0.01", "0.05")]
        rows.append([family, str(figures["images"]), f"{figures['auc']:.3f}", *recalls])
        for name, own in figures["generators"].items():
            rows.append([f"· {name}", str(own["images"]), f"{own['auc']:.3f}", "", f"{own['recall_at_0.01']:.2f}", ""])
    return _table(("family left out", "images", "AUC", "recall at 0.1 %", "at 1 %", "at 5 %"), rows)


def _sources(models: Mapping[str, Any]) -> str:
    rows = []
    for name, model in models.items():
        for source, own in model["sources"].items():
            rows.append([source, name, str(own["images"]), f"{own['fpr_seen']:.3f}", f"{own['fpr_unseen']:.3f}"])
    return _table(("real source", "model", "images", "FPR at the 1 % point", "the same, source never seen"), rows)


def _laundering(steps: Sequence[Mapping[str, Any]]) -> str:
    """A table and bars of AUC from 0.5 to 1."""
    if not steps:
        return ""
    rows = [[step["step"], f"{step['auc']:.3f}", f"{step['recall_at_0.05']:.2f}"] for step in steps]
    bars = []
    for number, step in enumerate(steps):
        long, down = max(0.0, 2 * step["auc"] - 1) * SIDE, number * SIDE / len(steps)
        bars.append(
            f'<rect x="0" y="{down:.1f}" width="{long:.1f}" height="{SIDE / len(steps) - 2:.1f}" fill="#9dbfe6"/>'
        )
        bars.append(f'<text x="4" y="{down + 12:.1f}">{escape(step["step"])}</text>')
    head = ("step on both classes", "AUC, families left out", "recall at 5 %")
    return f"<h2>Laundering</h2>{_table(head, rows)}{_figure('AUC after each step, from 0.5 to 1', bars)}"


def _explicit(kinds: Mapping[str, Mapping[str, float]]) -> str:
    if not kinds:
        return ""
    rows = [[name, str(own["images"]), f"{own['at_0.1']:.3f}", f"{own['at_0.01']:.3f}"] for name, own in kinds.items()]
    return "<h2>nsfw, by kind of real picture</h2>" + _table(("source", "pictures", "fpr ≤ 0.1", "≤ 0.01"), rows)


def _errors(errors: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], pictures: Mapping[str, Path]) -> str:
    """What was misjudged most, each picture behind its name, source and logit."""
    parts = ["<h3>Misjudged most</h3>"]
    for family, sides in errors.items():
        for side, found in sides.items():
            shown = "".join(_covered(error, pictures) for error in found)
            parts.append(f"<p>{escape(family)} left out, {side} pictures:</p><div>{shown}</div>")
    return "".join(parts)


def _covered(error: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    name = f"{error['source']}, logit {error['logit']:.2f}"
    inside = escape(error["file"])
    if (path := pictures.get(error["file"])) and (thumbnail := _thumbnail(path)):
        inside += f'<br><img alt="" src="data:image/webp;base64,{thumbnail}">'
    return f"<details><summary>{escape(name)}</summary>{inside}</details>"


def _thumbnail(path: Path) -> str:
    """A picture within THUMBNAIL pixels as base64, '' where it cannot be decoded any more."""
    try:
        picture = decode(path)
    except DataError:
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    with io.BytesIO() as buffer:
        picture.save(buffer, format="WEBP", quality=60)
        return base64.b64encode(buffer.getvalue()).decode()


def _curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """ROC curves on a logarithmic axis from 0.001 to 1."""
    lines = []
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_log(rate):.1f},{SIDE * (1 - recall):.1f}" for rate, recall in points if rate >= 1e-3)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<text x="{SIDE - 90}" y="{SIDE - 12 - 15 * number}" fill="{colour}">{escape(name)}</text>')
    ticks = [f'<text x="{_log(rate):.0f}" y="{SIDE + 14}">{rate:g}</text>' for rate in (0.001, 0.01, 0.1)]
    return _figure("ROC of each family left out: recall over false positive rate", [*lines, *ticks])


def _log(rate: float) -> float:
    return SIDE * (1 + float(np.log10(rate)) / 3)


def _reliability(bins: Sequence[tuple[float, float, float]]) -> str:
    line = f'<line x1="0" y1="{SIDE}" x2="{SIDE}" y2="0" stroke="#999" stroke-dasharray="4"/>'
    dots = [
        f'<circle cx="{SIDE * mean:.1f}" cy="{SIDE * (1 - share):.1f}" r="{3 + 12 * weight:.1f}" fill="{COLOURS[0]}"/>'
        for mean, share, weight in bins
    ]
    return _figure("Reliability: share generated over the stated probability", [line, *dots])


def _figure(title: str, shapes: Sequence[str]) -> str:
    frame = f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>'
    box = f'viewBox="-10 -10 {SIDE + 20} {SIDE + 30}" width="{SIDE + 20}" height="{SIDE + 30}"'
    drawn = f'<svg {box} role="img" aria-label="{escape(title)}">{frame}{"".join(shapes)}</svg>'
    return f"<figure>{drawn}<figcaption>{escape(title)}</figcaption></figure>"
