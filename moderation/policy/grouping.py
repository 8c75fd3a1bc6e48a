"""Which images a policy cannot tell apart: those get the same verdict, so one of them is judged for all.

A condition that only compares a number with constants sees no more of it than on which side of each constant it lies. What
a policy reads in any other way counts with its exact value.
"""

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from detectors.base import Finding
from moderation.policy.bounds import atom_of
from moderation.policy.decide import Policy
from moderation.policy.evidence import fields_of, is_declared, seen, values_of
from moderation.policy.expression import Name, Node, Select
from moderation.policy.vocabulary import Member

Cuts = tuple[float, ...]

Stored = Mapping[str, Any]
"""A finding as `Finding.as_dict` gives it."""


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
        self._views = tuple(_View.of(self, name) for name in sorted(self.labels))

    def group(
        self,
        stored: Sequence[Stored],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: Collection[str] | None = None,
    ) -> Hashable:
        """The group of an image. stored: findings as they are stored, of any labels; the rest as for `Policy.evidence`."""
        by_label: dict[str, list[Stored]] = {}
        for finding in stored:
            label = finding["label"]
            if label in self.labels:
                by_label.setdefault(label, []).append(finding)
        return tuple(
            self._host(view, context, image) if view.detector is None else self._label(view, by_label, ran)
            for view in self._views
        )

    def side(self, variable: str, member: str, value: Any) -> Hashable:
        """What the policy sees of a value."""
        cuts = self.cuts.get((variable, member))
        if cuts is None:
            return tuple(value) if isinstance(value, list) else (type(value), value)
        place = bisect_left(cuts, value)
        return 2 * place + (place < len(cuts) and cuts[place] == value)

    def _host(self, view: "_View", context: Mapping[str, str], image: Mapping[str, Any]) -> Hashable:
        values, _ = values_of(self.policy.vocabulary, (view.name,), (), context, image)
        return self._sides(view, values[view.name])

    def _label(self, view: "_View", by_label: Mapping[str, Sequence[Stored]], ran: Collection[str] | None) -> Hashable:
        """What the policy sees of a label. The usual cases are told apart by hand: nothing found, skipped, one measurement."""
        found = by_label.get(view.name)
        if found is None and (ran is None or view.detector in ran):
            return view.absent
        if found is not None and len(found) == 1 and found[0]["status"] != "ok":
            status = "failed" if found[0]["status"] == "failed" else "skipped"
            return status, found[0]["reason"]
        if found is not None and len(found) == 1:
            measured = view.measured(found[0])
            if measured is not None:
                return self._sides(view, measured)
        findings = [Finding.from_dict(values) for values in found or ()]
        values, missing = values_of(self.policy.vocabulary, (view.name,), findings, {}, {}, ran=ran)
        return missing[view.name] if view.name in missing else self._sides(view, values[view.name])

    def _sides(self, view: "_View", values: Mapping[str, Any]) -> Hashable:
        return tuple([self.side(view.name, member, values[member]) for member in view.members])


class _View(NamedTuple):
    """What a policy reads of a variable. detector: None for what the host said. shares: which of score and `fpr` its label has;
    fields: what else of its evidence. absent: what the policy sees where the label was not found."""

    name: str
    members: tuple[str, ...]
    detector: str | None
    shares: tuple[str, ...]
    fields: tuple[tuple[str, Member], ...]
    absent: Hashable

    @classmethod
    def of(cls, grouping: Grouping, name: str) -> "_View":
        variable = grouping.policy.vocabulary.variables[name]
        members = tuple(member for chain, member in grouping.chains if chain == name)
        absent = tuple(grouping.side(name, member, variable.members[member].absent) for member in members)
        shares = tuple(share for share in ("score", "fpr") if share in variable.members)
        return cls(name, members, variable.detector, shares, tuple(fields_of(variable)), absent)

    def measured(self, only: Stored) -> dict[str, Any] | None:
        """What conditions see of a label's only finding; None where something about it is unusual."""
        values: dict[str, Any] = {"present": True, "count": 1}
        for name in self.shares:
            share = only[name]
            if type(share) is not float or not 0 <= share <= 1:
                return None
            values[name] = share
        evidence = only["evidence"]
        for name, member in self.fields:
            value = evidence.get(name, member.absent)
            if not is_declared(value, member):
                return None
            values[name] = seen(value, member)
        return values


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
