"""Which images a policy cannot tell apart: those get the same verdict, so one of them is judged for all.

A condition that only compares a number with constants sees no more of it than on which side of each constant it lies. What
a policy reads in any other way counts with its exact value.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from detectors.base import Finding
from moderation.policy.bounds import atom_of
from moderation.policy.decide import Policy
from moderation.policy.evidence import values_of
from moderation.policy.expression import Name, Node, Select

Cuts = tuple[float, ...]


class Grouping:
    """Knows the group of an image under a policy: equal groups have equal actions, rules and undecided rules.

    labels: those that the policy reads. cuts: by variable and member, the constants that a number is only compared with.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        conditions = [condition for rule in policy.rules for condition in rule.conditions]
        self.chains = tuple(dict.fromkeys(chain for condition in conditions for chain in condition.chains))
        self.labels = frozenset(variable for variable, _ in self.chains)
        self.cuts = _cuts([condition.tree for condition in conditions])

    def group(
        self,
        findings: Sequence[Finding],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: frozenset[str] | None = None,
    ) -> Hashable:
        """The group of an image. findings: those of `labels` at least; the rest as for `Policy.evidence`."""
        variables, missing = values_of(self.policy.vocabulary, self.labels, findings, context, image, ran=ran)
        return tuple(
            missing[variable] if variable in missing else self.side(variable, member, variables[variable][member])
            for variable, member in self.chains
        )

    def side(self, variable: str, member: str, value: Any) -> Hashable:
        """What the policy sees of a value."""
        cuts = self.cuts.get((variable, member))
        if cuts is None:
            return tuple(value) if isinstance(value, list) else (type(value), value)
        place = bisect_left(cuts, value)
        return 2 * place + (place < len(cuts) and cuts[place] == value)


def _cuts(trees: Sequence[Node]) -> dict[tuple[str, str], Cuts]:
    constants: dict[tuple[str, str], set[float]] = {}
    whole: set[tuple[str, str]] = set()
    for tree in trees:
        for chain, value in _uses(tree):
            if isinstance(value, int | float) and not isinstance(value, bool):
                constants.setdefault(chain, set()).add(value)
            else:
                whole.add(chain)
    return {chain: tuple(sorted(values)) for chain, values in constants.items() if chain not in whole}


def _uses(node: Node) -> Iterator[tuple[tuple[str, str], Any]]:
    """Each use of a member: with the constant it is compared with, or None where it is used in another way."""
    atom = atom_of(node)
    if atom:
        yield (atom.variable, atom.member), None if isinstance(atom.value, bool) else atom.value
    elif isinstance(node, Select) and isinstance(node.operand, Name):
        yield (node.operand.name, node.member), None
    else:
        for child in _children(node):
            yield from _uses(child)


def _children(node: Node) -> Iterator[Node]:
    assert is_dataclass(node)  # noqa: S101 - every node is
    for field in fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Node):
                yield child
