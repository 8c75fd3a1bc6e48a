"""What a plan was made for: models of named detectors, texts of policies. Only processes that have the same work on it.

A worker that was not restarted would else pass postings by that its older model, or policy, sees nothing new in.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from moderation.errors import ModerationError
from moderation.policy import Policy
from moderation.rescans.judging import Judge
from moderation.rescans.records import PlanSpec

log = structlog.get_logger(__name__)


def basis_of(judge: Judge, spec: PlanSpec) -> dict[str, dict[str, str]]:
    """What a plan of this process rests on. models: by the name of each detector that the plan names. policies: by name, the
    first digits of its text's digest, for plans that judge by policies anew."""
    classes = {cls.name: cls for cls in judge.scanner.classes}
    models = {name: judge.scanner.identity(classes[name]) for name in spec.detectors if name in classes}
    policies = _policies(judge, spec) if spec.using == "policy" else []
    return {"models": models, "policies": {policy.name: policy.digest[:12] for policy in policies}}


def _policies(judge: Judge, spec: PlanSpec) -> list[Policy]:
    if not spec.policy:
        return loadable(judge)
    try:
        return [judge.policy(spec.policy)]
    except ModerationError:
        return []  # this process has it no more, which is another basis


def loadable(judge: Judge) -> list[Policy]:
    """All policies of this process that can be loaded."""
    found = []
    for name in ("", *judge.policies.names()):
        try:
            found.append(judge.policy(name))
        except ModerationError as error:
            log.warning("policy not loaded", policy=name, reason=error.message)
    return found


def difference(basis: Mapping[str, Any], own: Mapping[str, Mapping[str, str]]) -> str:
    """What of a plan's basis this process has not, '' where it has all: `synthetic 3 clip_vit_b16@0123, here 2 …`."""
    lacking = []
    for kind, wanted in basis.items():
        mine = own.get(kind, {})
        for name in sorted({*wanted, *mine}):
            if wanted.get(name) != mine.get(name):
                lacking.append(f"{name} {wanted.get(name, 'absent')}, here {mine.get(name, 'absent')}")
    return "; ".join(lacking)
