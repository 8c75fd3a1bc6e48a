"""Finds rules that act where nothing was found: no manifest, no face and no match are evidence of nothing."""

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from moderation.policy.bounds import atoms
from moderation.policy.evidence import gather
from moderation.policy.examples import TYPICAL_IMAGE
from moderation.policy.rules import Rule
from moderation.policy.vocabulary import IMAGE, Vocabulary

MOST_PROBES = 2_000


def decided_by_absence(rule: Rule, vocabulary: Vocabulary) -> bool:
    """Whether a rule fires on some image where every detector ran and found nothing, and of which the host said nothing.

    Tried on images at and around every bound that the rule sets. Rules on the file alone are not decided by absence.
    """
    names = {name for condition in rule.conditions for name in condition.names}
    if names == {IMAGE.name}:
        return False
    return any(rule.truth(gather(vocabulary, names, (), {}, image)).value for image in _probes(rule))


def _probes(rule: Rule) -> Iterator[Mapping[str, Any]]:
    values: dict[str, set[Any]] = {name: {value} for name, value in TYPICAL_IMAGE.items()}
    for atom in (atom for condition in rule.conditions for atom in atoms(condition.tree)):
        if atom.variable == IMAGE.name:
            values[atom.member] |= _around(atom.value if isinstance(atom.value, tuple) else (atom.value,))
    ordered = [sorted(options) for options in values.values()]
    return (dict(zip(values, chosen, strict=True)) for chosen in islice(product(*ordered), MOST_PROBES))


def _around(values: tuple[Any, ...]) -> set[Any]:
    numbers = [int(value) for value in values if isinstance(value, int | float)]
    words = {value for value in values if isinstance(value, str)}
    return words | {number + step for number in numbers for step in (-1, 0, 1) if number + step >= 1}
