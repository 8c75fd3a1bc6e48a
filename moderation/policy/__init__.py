"""Policies: YAML files of rules over findings, with CEL conditions, checked on loading. See docs/policies.md."""

from moderation.policy.decide import Policy
from moderation.policy.explain import Explanation, explain
from moderation.policy.library import PolicyLibrary, find_policy, find_shipped_or_own, policy_names, read_policy
from moderation.policy.loader import load_policy
from moderation.policy.verdict import ACTIONS, Action, Reason, Undecided, Verdict
from moderation.policy.vocabulary import Vocabulary

__all__ = [
    "ACTIONS",
    "Action",
    "Explanation",
    "Policy",
    "PolicyLibrary",
    "Reason",
    "Undecided",
    "Verdict",
    "Vocabulary",
    "explain",
    "find_policy",
    "find_shipped_or_own",
    "load_policy",
    "policy_names",
    "read_policy",
]
