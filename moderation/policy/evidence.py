"""From findings, context and file to the variables that conditions read."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cel

from detectors.base import Finding
from moderation.policy.vocabulary import CelType, Member, Variable, Vocabulary

INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Missing:
    """A label without a value: its detector `failed`, was `skipped`, or is `pending` (it has not run yet)."""

    detector: str
    status: Literal["failed", "skipped", "pending"]
    reason: str

    def __str__(self) -> str:
        words = {"failed": "failed", "skipped": "did not run", "pending": "has not run yet"}
        return f"{self.detector} {words[self.status]}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Evidence:
    """What the conditions of a policy read of one image.

    variables: the value of each variable that has one. missing: why each other label has none.
    findings: the `ok` findings of each label. context: `variables`, as `cel` takes them.
    """

    variables: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, Missing]
    findings: Mapping[str, tuple[Finding, ...]]
    context: cel.Context


def gather(
    vocabulary: Vocabulary,
    names: Collection[str],
    findings: Sequence[Finding],
    context: Mapping[str, str],
    image: Mapping[str, Any],
    *,
    ran: Collection[str] | None = None,
) -> Evidence:
    """The evidence for the variables called `names`.

    A label whose findings are all `skipped` or `failed` has no value, and neither has one whose findings are not what
    its detector declares (a score that is no number in [0, 1], evidence of another type): that counts as `failed`.
    A label without findings was looked for and not found, where its detector is among `ran` (None: every one ran).
    """
    variables, missing = values_of(vocabulary, names, findings, context, image, ran=ran)
    ok: dict[str, list[Finding]] = {name: [] for name in names}
    for finding in findings:
        if finding.status == "ok" and finding.label in ok:
            ok[finding.label].append(finding)
    return Evidence(variables, missing, {name: tuple(found) for name, found in ok.items()}, cel.Context(variables))


def values_of(
    vocabulary: Vocabulary,
    names: Collection[str],
    findings: Sequence[Finding],
    context: Mapping[str, str],
    image: Mapping[str, Any],
    *,
    ran: Collection[str] | None = None,
) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Missing]]:
    """The value of each variable that has one, and why each other has none: as `gather` says."""
    by_label: dict[str, list[Finding]] = {name: [] for name in names}
    for finding in findings:
        if finding.label in by_label:
            by_label[finding.label].append(finding)
    variables: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, Missing] = {}
    for name in names:
        variable = vocabulary.variables[name]
        if variable.detector is None:
            variables[name] = _given(variable, context if name == "context" else image)
            continue
        value = _measured(variable, by_label[name], ran)
        if isinstance(value, Missing):
            missing[name] = value
        else:
            variables[name] = value
    return variables, missing


def _given(variable: Variable, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the host said, or what the file is. What is absent, or of another type, has its absent value."""
    return {
        name: _clean(values[name]) if name in values and has_type(values[name], member.type) else member.absent
        for name, member in variable.members.items()
    }


def _measured(
    variable: Variable, findings: Sequence[Finding], ran: Collection[str] | None
) -> Mapping[str, Any] | Missing:
    detector = variable.detector or ""
    if not findings and ran is not None and detector not in ran:
        return Missing(detector, "pending", "")
    ok = [finding for finding in findings if finding.status == "ok"]
    if findings and not ok:
        status: Literal["failed", "skipped"] = "failed" if findings[0].status == "failed" else "skipped"
        return Missing(detector, status, findings[0].reason or "no reason given")
    for finding in ok:
        fault = _fault(variable, finding)
        if fault:
            return Missing(detector, "failed", fault)
    return _aggregate(variable, ok)


def _fault(variable: Variable, finding: Finding) -> str:
    for name in ("score", "fpr"):
        value = getattr(finding, name)
        if name in variable.members and not _is_share(value):
            return f"`{variable.name}.{name}` is {_shown(value)}, not a number in [0, 1]"
    for name, member in fields_of(variable):
        value = finding.evidence.get(name, member.absent)
        if not has_type(value, member.type):
            return f"`{variable.name}.{name}` is {_shown(value)}, not of type {member.type}"
        if member.choices and value not in (*member.choices, member.absent):
            return f"`{variable.name}.{name}` is {value!r:.50}, none of its declared values"
    return ""


def _shown(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, float) else f"a value of type {type(value).__name__}"


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def fields_of(variable: Variable) -> list[tuple[str, Member]]:
    """The members of a label that its evidence says."""
    derived = ("present", "count", "score", "fpr")
    return [(name, member) for name, member in variable.members.items() if name not in derived]


def _aggregate(variable: Variable, findings: Sequence[Finding]) -> dict[str, Any]:
    """The members of a label: the extremes of its measurements, and the fields of its worst finding."""
    values: dict[str, Any] = {"present": bool(findings), "count": len(findings)}
    if "score" in variable.members:
        values["score"] = float(max((finding.score or 0.0 for finding in findings), default=0.0))
    if "fpr" in variable.members:
        values["fpr"] = float(min((_fpr(finding) for finding in findings), default=1.0))
    evidence = min(findings, key=lambda f: (_fpr(f), -(f.score or 0.0))).evidence if findings else {}
    for name, member in fields_of(variable):
        values[name] = seen(evidence.get(name, member.absent), member)
    return values


def is_declared(value: Any, member: Member) -> bool:
    """Whether a field's value is of the type, and among the values, that its detector declares."""
    return has_type(value, member.type) and (not member.choices or value in (*member.choices, member.absent))


def seen(value: Any, member: Member) -> Any:
    """A declared value as conditions see it."""
    clean = _clean(value)
    return float(clean) if member.type == "double" else clean


def _fpr(finding: Finding) -> float:
    return 1.0 if finding.fpr is None else finding.fpr


def has_type(value: Any, type: CelType) -> bool:
    """Whether a value can stand for a member of this type in a condition."""
    match type:
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value in INT64
        case "double":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        case "string":
            return isinstance(value, str)
        case "list":
            return isinstance(value, list | tuple) and all(_is_item(item) for item in value)
    return True


def _is_item(value: Any) -> bool:
    return any(has_type(value, type) for type in ("bool", "int", "double", "string"))


def _clean(value: Any) -> Any:
    """Text that is no Unicode (a lone surrogate, from JSON or from metadata) with its flaws replaced."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value
