"""Finds conditions that are always or never true, by what is known of each member's values.

Sound, not complete: what it refuses is certainly constant; what it cannot follow it lets pass.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from moderation.policy.expression import (
    Binary,
    Conditional,
    ExpressionError,
    ListNode,
    LiteralNode,
    Logical,
    Name,
    Node,
    Select,
    Unary,
)
from moderation.policy.vocabulary import Member, Vocabulary, suggestion

MOST_BRANCHES = 256

_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in", "not in": "in"}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Atom:
    """A member compared with a constant, or with a tuple of constants for `in` and `not in`."""

    node: Node
    variable: str
    member: str
    operator: str
    value: Any

    def negated(self) -> "Atom":
        return replace(self, operator=_NEGATED[self.operator])


Branch = tuple[Atom, ...]
"""Atoms that hold together. A condition is true in one of its branches, or in none."""


@dataclass(frozen=True)
class Domain:
    """The values a member may still have: an interval, less some values, or one of a few."""

    member: Member
    low: float
    high: float
    low_open: bool
    high_open: bool = False
    allowed: frozenset[Any] | None = None
    excluded: frozenset[Any] = frozenset()

    @classmethod
    def of(cls, member: Member) -> "Domain":
        allowed = frozenset({*member.choices, member.absent}) if member.choices else None
        if member.type == "bool":
            allowed = frozenset({True, False})
        return cls(member, member.low, member.high, member.low_open, allowed=allowed)

    def narrowed(self, operator: str, value: Any) -> "Domain":
        """The domain under one more comparison."""
        match operator:
            case "==" | "in":
                chosen = frozenset((value,) if operator == "==" else value)
                return replace(self, allowed=chosen if self.allowed is None else self.allowed & chosen)
            case "!=" | "not in":
                return replace(self, excluded=self.excluded.union((value,) if operator == "!=" else value))
        if not isinstance(value, int | float):
            return self
        return self._below(value, operator == "<") if operator in ("<", "<=") else self._above(value, operator == ">")

    def _below(self, value: float, is_open: bool) -> "Domain":
        tighter = value < self.high or (value == self.high and is_open)
        return replace(self, high=value, high_open=is_open) if tighter else self

    def _above(self, value: float, is_open: bool) -> "Domain":
        tighter = value > self.low or (value == self.low and is_open)
        return replace(self, low=value, low_open=is_open) if tighter else self

    def holds(self, value: Any) -> bool:
        """Whether the member may have this value."""
        if value in self.excluded or (self.allowed is not None and value not in self.allowed):
            return False
        if self.member.type not in ("int", "double"):
            return True
        above = value > self.low or (value == self.low and not self.low_open)
        return above and (value < self.high or (value == self.high and not self.high_open))

    @property
    def empty(self) -> bool:
        if self.allowed is not None:
            return not any(self._fits(value) and self.holds(value) for value in self.allowed)
        if self.member.type not in ("int", "double"):
            return False
        if self.member.type == "int" and math.isfinite(self.high - self.low) and self.high - self.low < MOST_BRANCHES:
            return not any(self.holds(value) for value in range(math.floor(self.low), math.ceil(self.high) + 1))
        return not self._has_room()

    def _fits(self, value: Any) -> bool:
        return self.member.type != "int" or float(value).is_integer()

    def _has_room(self) -> bool:
        return self.low < self.high or (self.low == self.high and self.holds(self.low))


def check_bounds(node: Node, vocabulary: Vocabulary) -> None:
    """Raises ExpressionError where a comparison, or the whole condition, is the same for every image."""
    for atom in atoms(node):
        single = [replace(atom, operator="==", value=value) for value in atom.value] if atom.operator == "in" else []
        for candidate, word in ((atom, "never"), (atom.negated(), "always"), *((one, "never") for one in single)):
            if not _possible((candidate,), vocabulary):
                raise ExpressionError(
                    f"This is {word} true: {_domain(atom, vocabulary)}.", atom.node.at, _mend(candidate, vocabulary)
                )
    if never_true(node, vocabulary):
        raise ExpressionError("The condition can never be true: its parts contradict each other.", node.at)
    if never_true(node, vocabulary, wanted=False):
        raise ExpressionError("The condition is always true: one of its parts holds for every image.", node.at)


def never_true(node: Node, vocabulary: Vocabulary, *, wanted: bool = True) -> bool:
    """Whether no image can make the condition true (or false, where that is `wanted`)."""
    branches = _branches(node, wanted)
    return branches is not None and not any(_possible(branch, vocabulary) for branch in branches)


def atoms(node: Node) -> list[Atom]:
    """Every comparison of a member with a constant that can be followed, as it is written."""
    match node:
        case Logical(parts=parts):
            return [atom for part in parts for atom in atoms(part)]
        case Unary(operator="!", operand=operand):
            return atoms(operand)
        case Conditional(test=test, then=then, otherwise=otherwise):
            return [*atoms(test), *atoms(then), *atoms(otherwise)]
    atom = atom_of(node)
    return [atom] if atom else []


def _domain(atom: Atom, vocabulary: Vocabulary) -> str:
    member = vocabulary.variables[atom.variable].members[atom.member]
    name = f"`{atom.variable}.{atom.member}`"
    if member.choices:
        return f"{name} is one of {', '.join(repr(choice) for choice in member.choices)}, or {member.absent!r}"
    if math.isinf(member.high):
        kind = "a whole number" if member.type == "int" else "a number"
        return f"{name} is {kind}" + (f" of at least {member.low:g}" if math.isfinite(member.low) else "")
    return f"{name} lies in {'(' if member.low_open else '['}{member.low:g}, {member.high:g}]"


def _mend(atom: Atom, vocabulary: Vocabulary) -> str:
    choices = vocabulary.variables[atom.variable].members[atom.member].choices
    return suggestion(str(atom.value), choices) if choices else "Compare it with a value that it can have."


def _branches(node: Node, wanted: bool) -> list[Branch] | None:
    """The ways in which a condition becomes `wanted`; an empty branch where it cannot be followed; None where too many."""
    match node:
        case Logical(operator=operator, parts=parts):
            found = [_branches(part, wanted) for part in parts]
            return _all(found) if (operator == "&&") == wanted else _any(found)
        case Unary(operator="!", operand=operand):
            return _branches(operand, not wanted)
        case Conditional(test=test, then=then, otherwise=otherwise):
            first = _all([_branches(test, True), _branches(then, wanted)])
            return _any([first, _all([_branches(test, False), _branches(otherwise, wanted)])])
        case LiteralNode(type="bool", value=value):
            return [()] if value == wanted else []
    atom = atom_of(node)
    if not atom:
        return [()]
    return [(atom if wanted else atom.negated(),)]


def _all(found: Sequence[list[Branch] | None]) -> list[Branch] | None:
    known = [branches for branches in found if branches is not None]
    if any(not branches for branches in known):
        return []
    if len(known) < len(found) or math.prod(len(branches) for branches in known) > MOST_BRANCHES:
        return None
    return [tuple(atom for branch in chosen for atom in branch) for chosen in product(*known)]


def _any(found: Sequence[list[Branch] | None]) -> list[Branch] | None:
    known = [branches for branches in found if branches is not None]
    joined = [branch for branches in known for branch in branches]
    return joined if len(known) == len(found) and len(joined) <= MOST_BRANCHES else None


def atom_of(node: Node) -> Atom | None:
    """The comparison of a member with a constant that a node is, None where it is anything else."""
    match node:
        case Select(operand=Name(name=variable), member=member):
            return Atom(node, variable, member, "==", True)
        case Binary(
            operator="in", left=Select(operand=Name(name=variable), member=member), right=ListNode(items=items)
        ):
            values = [item.value for item in items if isinstance(item, LiteralNode)]
            return Atom(node, variable, member, "in", tuple(values)) if len(values) == len(items) else None
        case Binary(
            operator=op, left=Select(operand=Name(name=variable), member=member), right=LiteralNode(value=value)
        ):
            return Atom(node, variable, member, op, value) if op in _FLIPPED else None
        case Binary(
            operator=op, left=LiteralNode(value=value), right=Select(operand=Name(name=variable), member=member)
        ):
            return Atom(node, variable, member, _FLIPPED[op], value) if op in _FLIPPED else None
    return None


def _possible(branch: Iterable[Atom], vocabulary: Vocabulary) -> bool:
    domains: dict[tuple[str, str], Domain] = {}
    for atom in branch:
        key = atom.variable, atom.member
        member = vocabulary.variables[atom.variable].members[atom.member]
        if member.type not in ("list", "any"):
            domains[key] = domains.get(key, Domain.of(member)).narrowed(atom.operator, atom.value)
    if any(domain.empty for domain in domains.values()):
        return False
    return all(_coherent(variable, domains) for variable in {variable for variable, _ in domains})


def _coherent(variable: str, domains: Mapping[tuple[str, str], Domain]) -> bool:
    """Whether a label can be like this, found or not: where it was not found, each member has its absent value."""
    members = {member: domain for (name, member), domain in domains.items() if name == variable}
    if "present" not in members and "count" not in members:
        return True
    absent = all(domain.holds(domain.member.absent) for domain in members.values())
    present, count = members.get("present"), members.get("count")
    found = (present is None or present.holds(True)) and (count is None or not count.narrowed(">=", 1).empty)
    return absent or found
