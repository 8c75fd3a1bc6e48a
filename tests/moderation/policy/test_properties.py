"""What holds for every condition, every policy and every finding."""

import operator
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import Finding
from moderation.errors import PolicyError
from moderation.policy import Policy, load_policy
from moderation.policy.bounds import never_true
from moderation.policy.evidence import gather
from moderation.policy.expression import Binary, LiteralNode, Logical, Name, Node, Select, Unary, compile_condition
from moderation.policy.verdict import ACTIONS, RANK
from tests.moderation.policy.vocabularies import DETECTORS, PICTURE, VOCABULARY, face, likeness, manifest, nsfw

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

shares = st.sampled_from([1e-9, 0.001, 0.005, 0.01, 0.05, 0.5, 1.0])
atoms = st.one_of(
    st.builds("nsfw.fpr {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), shares),
    st.builds("{1} {0} likeness.score".format, st.sampled_from(["<", "<=", ">", ">="]), shares),
    st.builds("face.count {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-1, 3)),
    st.builds(
        "manifest.state {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from(["", "valid", "invalid"])
    ),
    st.sampled_from(
        [
            "nsfw.present",
            "face.present",
            "likeness.person in ['p_17', 'p_18']",
            "manifest.trusted",
            "manifest.problems.exists(p, p == 'x')",
            "context.surface == 'adult'",
            "image.frames > 1",
        ]
    ),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)
by_detector = {
    "origin": st.lists(
        st.builds(manifest, st.sampled_from(["valid", "invalid", ""]), trusted=st.booleans()), max_size=1
    ),
    "nsfw": st.lists(st.builds(nsfw, shares, shares), min_size=1, max_size=2),
    "faces": st.lists(st.builds(face), max_size=3),
    "likeness": st.lists(st.builds(likeness, shares, st.sampled_from(["p_17", "p_19"])), max_size=2),
}
reports = st.fixed_dictionaries(by_detector)
contexts = st.sampled_from([{}, {"surface": "adult"}])


def everything(report: dict[str, list[Finding]]) -> list[Finding]:
    return [finding for findings in report.values() for finding in findings]


@st.composite
def policies(draw: st.DrawFn, on: str = "allow") -> Policy | None:
    """A policy of random rules that loads, or None."""
    rules = [
        {
            "name": f"r{index}",
            "when": draw(conditions),
            "action": draw(st.sampled_from(ACTIONS)),
            "queue": "q",
            "reason": "r",
            "final": draw(st.integers(0, 5)) == 0,
        }
        for index in range(draw(st.integers(1, 4)))
    ]
    kept: list[dict[str, Any]] = []
    for rule in rules:
        try:
            load(on, [rule])
        except PolicyError:
            continue
        kept.append(rule)
    return load(on, kept) if kept else None


def load(on: str, rules: Sequence[dict[str, Any]]) -> Policy:
    rows = "".join(
        f'  - {{name: {r["name"]}, when: "{r["when"]}", action: {r["action"]}, queue: q, reason: r, '
        f"final: {str(r['final']).lower()}}}\n"
        for r in rules
    )
    text = f"name: random\nversion: 1\non_error: {on}\non_skipped: {on}\nrules:\n{rows}"
    return load_policy(text, file="random.yaml", vocabulary=VOCABULARY)


@quick
@given(conditions, st.lists(reports, min_size=1, max_size=4), contexts)
def test_what_is_refused_as_constant_is_constant(text: str, found: list[Any], context: dict[str, str]) -> None:
    program, tree = compile_condition(text)
    never, always = never_true(tree, VOCABULARY), never_true(tree, VOCABULARY, wanted=False)

    for report in found:
        evidence = gather(VOCABULARY, VOCABULARY.variables, everything(report), context, PICTURE)
        value = program.execute(evidence.context)
        assert not (never and value)
        assert not (always and not value)


@quick
@given(policies(), reports, contexts, st.sets(st.sampled_from(sorted(by_detector))))
def test_what_is_decided_without_a_detector_stays_decided_with_it(
    policy: Policy | None, report: dict[str, list[Finding]], context: dict[str, str], missing: set[str]
) -> None:
    if policy is None:
        return
    lacking = [
        finding
        for cls in DETECTORS
        for finding in (cls.did_not_measure("skipped", "later") if cls.name in missing else report[cls.name])
    ]

    before = policy.judge(policy.evidence(lacking, context, PICTURE))
    after = policy.judge(policy.evidence(everything(report), context, PICTURE))

    open_finals = any(rule.final for rule, _ in before.undecided)
    if not open_finals:
        assert {rule.name for rule in before.fired} <= {rule.name for rule in after.fired}
        assert before.rank <= after.rank


@quick
@given(policies(), reports, contexts)
def test_a_cascade_comes_to_the_action_of_a_full_scan(
    policy: Policy | None, report: dict[str, list[Finding]], context: dict[str, str]
) -> None:
    if policy is None:
        return
    found: list[Finding] = []
    ran: list[str] = []
    for cls in DETECTORS:
        if cls.name in policy.still_needed(found, context, PICTURE, ran):
            found += report[cls.name]
            ran.append(cls.name)
    spared = [f for cls in DETECTORS if cls.name not in ran for f in cls.did_not_measure("skipped", "spared")]

    assert (
        policy.decide([*found, *spared], context, PICTURE).action
        == policy.decide(everything(report), context, PICTURE).action
    )


@quick
@given(policies("hold"), reports, contexts, st.sets(st.sampled_from(sorted(by_detector))))
def test_holding_on_lack_is_never_milder(
    policy: Policy | None, report: dict[str, list[Finding]], context: dict[str, str], missing: set[str]
) -> None:
    if policy is None or any(rule.final for rule in policy.rules):
        return
    lacking = [
        finding
        for cls in DETECTORS
        for finding in (cls.did_not_measure("failed", "x") if cls.name in missing else report[cls.name])
    ]

    full = RANK[policy.decide(everything(report), context, PICTURE).action]
    least = min(full, RANK["hold"]) if full > RANK["label"] else 0
    assert RANK[policy.decide(lacking, context, PICTURE).action] >= least


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("\ud800")),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
any_number = st.one_of(st.none(), st.floats(), st.integers())
any_finding = st.builds(
    Finding,
    st.sampled_from(["origin", "nsfw", "faces", "likeness", "other"]),
    st.sampled_from(["manifest", "mark", "nsfw", "face", "likeness", "other"]),
    st.sampled_from(["ok", "skipped", "failed"]),
    any_number,
    any_number,
    evidence=st.dictionaries(st.sampled_from(["state", "trusted", "problems", "size", "person", "bits"]), json_values),
)


@quick
@given(
    policies("hold"),
    st.lists(any_finding, max_size=6),
    st.dictionaries(st.sampled_from(["surface", "uploader"]), st.one_of(st.text(), st.just("\udfff"))),
    st.dictionaries(st.sampled_from(["width", "frames", "format"]), json_values),
)
def test_decide_answers_whatever_was_found(
    policy: Policy | None, findings: list[Finding], context: dict[str, str], image: dict[str, Any]
) -> None:
    if policy is None:
        return
    verdict = policy.decide(findings, context, image)

    assert verdict.action in ACTIONS
    assert verdict == policy.decide(findings, context, image)
    assert all(policy.needs >= set(entry.detectors) for entry in verdict.undecided)


OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
sums = st.recursive(
    st.one_of(st.integers(0, 9).map(str), st.sampled_from(["image.width", "-image.height", "face.count"])),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from("+-*"), inner), st.builds("({})".format, inner)
    ),
    max_leaves=4,
)
comparisons = st.builds("{} {} {}".format, sums, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), sums)
sentences = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["&&", "||"]), inner), st.builds("!({})".format, inner)
    ),
    max_leaves=4,
)
VALUES = {"image": {"width": 3, "height": 5}, "face": {"count": 2}}


def value(node: Node) -> Any:
    """What a tree says by its own structure: checks the parser against `cel`."""
    match node:
        case LiteralNode():
            return node.value
        case Select(operand=Name(name=name), member=member):
            return VALUES[name][member]
        case Unary(operator="!"):
            return not value(node.operand)
        case Unary():
            return -value(node.operand)
        case Logical():
            return (all if node.operator == "&&" else any)(value(part) for part in node.parts)
        case Binary():
            return OPERATORS[node.operator](value(node.left), value(node.right))
    raise AssertionError(node)


@quick
@given(sentences)
def test_the_tree_means_what_cel_evaluates(text: str) -> None:
    program, tree = compile_condition(text)

    assert value(tree) == program.execute(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "'a\\'b' == \"a'b\"",
        r"r'a\b' == 'a\\b'",
        "'''a\n'b''' != ''",
        "1 < 2 // nothing && x",
        "\"\\u0041\" == 'A'",
    ],
)
def test_texts_are_read_as_cel_reads_them(text: str) -> None:
    program, tree = compile_condition(text)

    assert value(tree) is program.execute({})
