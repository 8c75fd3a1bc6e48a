"""Whether people agree beyond chance: Cohen's kappa of cases that two of them decided on by themselves."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True)
class Agreement:
    """cases: that two people decided on. observed: share on which they agreed. kappa: None where chance alone agrees always."""

    cases: int
    observed: float | None
    kappa: float | None


@dataclass(frozen=True)
class DoubleDecision:
    """Two independent decisions on one case, in their order."""

    queue: str
    reviewers: Pair
    effects: Pair


def cohen_kappa(pairs: Sequence[Pair]) -> float | None:
    """Cohen's kappa of two raters: (observed − expected) / (1 − expected) agreement, in [−1, 1].

    pairs: what the first and what the second said of each case. None without cases, and where both said one and the same of
    all: then chance explains everything. Source: J. Cohen, "A coefficient of agreement for nominal scales", 1960.
    """
    if not pairs:
        return None
    total = len(pairs)
    observed = sum(first == second for first, second in pairs) / total
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    expected = sum(count * seconds[said] for said, count in firsts.items()) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def agreement(pairs: Sequence[Pair]) -> Agreement:
    """How far two raters agree."""
    if not pairs:
        return Agreement(0, None, None)
    kappa = cohen_kappa(pairs)
    observed = sum(first == second for first, second in pairs) / len(pairs)
    return Agreement(len(pairs), round(observed, 4), None if kappa is None else round(kappa, 4))


def by_queue(doubles: Iterable[DoubleDecision]) -> Mapping[str, Agreement]:
    """Agreement by queue: first against second decisions."""
    return _grouped((double.queue, double.effects) for double in doubles)


def by_reviewer(doubles: Iterable[DoubleDecision]) -> Mapping[str, Agreement]:
    """Agreement by reviewer: each against everybody else who decided on the same cases."""
    found: list[tuple[str, Pair]] = []
    for double in doubles:
        (first, second), (one, other) = double.reviewers, double.effects
        found += [(first, (one, other)), (second, (other, one))]
    return _grouped(found)


def _grouped(named: Iterable[tuple[str, Pair]]) -> Mapping[str, Agreement]:
    groups: dict[str, list[Pair]] = {}
    for name, pair in named:
        groups.setdefault(name, []).append(pair)
    return {name: agreement(groups[name]) for name in sorted(groups)}
