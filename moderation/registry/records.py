"""What the registry speaks of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

State = Literal["candidate", "shadow", "canary", "active", "retired"]
STATES: tuple[State, ...] = ("candidate", "shadow", "canary", "active", "retired")
NEXT: Mapping[str, State] = {"candidate": "shadow", "shadow": "canary", "canary": "active"}
"""Where a promotion leads: one step at a time."""

EDGES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.4, 0.7)
"""Between the bins of a histogram of `fpr`: up to and with the first, …, above the last."""
FLAGGED = 0.01
"""`fpr` from which a model is taken to flag an image, where two are compared."""

CHANGED = 0.2
"""Stability index above which what a model says has changed."""

GATES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "synthetic": {
        "native mean_auc": (0.95, 1.0),
        "native worst_auc": (0.91, 1.0),
        "native recall_at_0.01": (0.5, 1.0),
        "native ece": (0.0, 0.05),
    },
    "swap": {"clone native auc": (0.85, 1.0), "ece": (0.0, 0.05)},
}
"""What a model's evaluation must say before it runs beside or instead of another: least and greatest, by figure."""


@dataclass(frozen=True)
class Registered:
    """A registered model, without its graph."""

    id: str
    name: str
    digest: str
    state: State
    share: float
    ordinal: int
    changed_at: datetime
    card: Mapping[str, Any] = field(repr=False)

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


@dataclass
class Day:
    """What one model said of images since it was last written down."""

    name: str
    model: str
    day: date
    histogram: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    shadowed: int = 0
    both: int = 0
    only_active: int = 0
    only_shadow: int = 0


@dataclass(frozen=True)
class Drift:
    """How the last days differ from those before. psi: population stability index; above 0.2 something changed.

    flagged, flagged_before: share of images at `fpr` ≤ 0.01. None where there are too few images to say.
    """

    model: str
    images: int
    images_before: int
    flagged: float
    flagged_before: float
    psi: float | None


def bin_of(fpr: float) -> int:
    """The bin of EDGES that an `fpr` is in."""
    return sum(fpr > edge for edge in EDGES)


def stability(now: Sequence[int], before: Sequence[int]) -> float:
    """Population stability index of two histograms, half an image added to each bin: 0 for the same shape."""
    total, earlier = sum(now) + len(now) / 2, sum(before) + len(before) / 2
    shares = [((a + 0.5) / total, (b + 0.5) / earlier) for a, b in zip(now, before, strict=True)]
    return sum((a - b) * math.log(a / b) for a, b in shares)


def figures_of(name: str, card: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a card that gates ask for."""
    found: dict[str, float] = {}
    figures = card.get("figures") or {}
    if isinstance(figures, Mapping):
        for view, values in figures.items():
            key = str(view).split("-")[0]
            found |= {f"{key} {figure}": float(v) for figure, v in values.items() if isinstance(v, int | float)}
    else:
        found |= {f"{row['kind']} {row['protocol']} auc": float(row["auc"][0]) for row in figures}
    if isinstance(card.get("ece"), int | float):
        found["ece"] = float(card["ece"])
    return {gate: found[gate] for gate in GATES.get(name, {}) if gate in found}


def failed_gates(name: str, card: Mapping[str, Any]) -> list[str]:
    """What keeps a model from being promoted, each as a sentence."""
    figures = figures_of(name, card)
    problems = []
    for gate, (least, greatest) in GATES.get(name, {}).items():
        if gate not in figures:
            problems.append(f"its card has no `{gate}`")
        elif not least <= figures[gate] <= greatest:
            problems.append(f"`{gate}` is {figures[gate]:.3f}, {least:g} to {greatest:g} is asked for")
    return problems
