"""Conditions: CEL that was checked against the vocabulary and compiled once, evaluated to true, false or undecided."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cel

from moderation.policy.bounds import check_bounds
from moderation.policy.checking import Chain, TypeChecker
from moderation.policy.evidence import Evidence
from moderation.policy.expression import Node, compile_condition
from moderation.policy.vocabulary import Vocabulary

_UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")


@dataclass(frozen=True, slots=True)
class Truth:
    """True, false, or None for undecided; `error` where that is because the evaluation failed, not for lack of a value."""

    value: bool | None
    error: str = ""


@dataclass(frozen=True)
class Condition:
    """One condition of a rule. `chains` are the members it reads, each once, in order of appearance."""

    text: str
    program: cel.Program
    tree: Node
    chains: tuple[Chain, ...]

    @classmethod
    def parse(cls, text: str, vocabulary: Vocabulary) -> "Condition":
        """Raises ExpressionError where the text is no condition, or one that is the same for every image."""
        program, tree = compile_condition(text)
        checker = TypeChecker(text, vocabulary)
        checker.condition(tree)
        check_bounds(tree, vocabulary)
        return cls(text, program, tree, tuple(dict.fromkeys(checker.chains)))

    @property
    def names(self) -> frozenset[str]:
        """The variables that it reads."""
        return frozenset(variable for variable, _ in self.chains)

    def truth(self, evidence: Evidence) -> Truth:
        """Whether it holds. Variables without a value are undefined in CEL, whose `&&` and `||` pass over an
        undefined side where the other one decides: so an answer stays the same whatever a missing detector finds."""
        try:
            value = self.program.execute(evidence.context)
        except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            undefined = _UNDEFINED.search(str(error))
            if undefined and undefined[1] in evidence.missing:
                return Truth(None)
            return Truth(None, f"{type(error).__name__}: {error}")
        if not isinstance(value, bool):
            return Truth(None, f"the condition is {value!r}, neither true nor false")
        return Truth(value)

    def values(self, evidence: Evidence) -> Mapping[str, Any]:
        """What each member that it reads is; None where its detector has no value."""
        return {
            f"{variable}.{member}": evidence.variables[variable][member] if variable in evidence.variables else None
            for variable, member in self.chains
        }


def conjunction(truths: list[Truth]) -> Truth:
    """Whether all hold: false where one is false, whatever the others are."""
    if any(truth.value is False for truth in truths):
        return Truth(False)
    undecided = [truth for truth in truths if truth.value is None]
    if not undecided:
        return Truth(True)
    return Truth(None, next((truth.error for truth in undecided if truth.error), ""))
