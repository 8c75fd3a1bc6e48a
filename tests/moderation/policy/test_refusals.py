"""What cannot stand in a policy is refused on loading, with its line, its field and a mend."""

import re

import pytest

from moderation.errors import PolicyError
from moderation.policy import Policy, load_policy
from moderation.policy.source import MAX_BYTES
from tests.moderation.policy.vocabularies import VOCABULARY

HEAD = """\
name: house
version: 1
on_error: hold
on_skipped: allow
"""
RULE = """\
rules:
  - name: explicit
    when: {when}
    action: {action}
    queue: explicit
    reason: It looks explicit.
"""
WHEN_LINE = 7


def refused(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        load_policy(text, file="house.yaml", vocabulary=VOCABULARY)
    error = caught.value
    assert error.file == "house.yaml"
    assert error.message.startswith("house.yaml:")
    return error


def refused_rule(when: str, action: str = "hold") -> PolicyError:
    """The refusal of a policy whose one rule has this condition, written as YAML."""
    return refused(HEAD + RULE.format(when=when, action=action))


def policy(when: str, action: str = "hold") -> Policy:
    return load_policy(HEAD + RULE.format(when=when, action=action), file="house.yaml", vocabulary=VOCABULARY)


GOOD = HEAD + RULE.format(when="nsfw.fpr <= 0.001", action="hold")

FILES = {
    "not YAML": ("name: house\nrules: [a", 2, "", "not YAML"),
    "a tab": ("name: house\n\tversion: 1", 2, "", "not YAML"),
    "a control character": ("name: ho\x01use", 0, "", "not YAML"),
    "another language's object": ("name: !!python/object:os.system {}", 1, "name", "valid string"),
    "an unknown tag": ("name: !secret house", 1, "", "not YAML"),
    "empty": ("# nothing\n", 1, "", "empty"),
    "a list": ("- name: house", 1, "", "mapping of fields"),
    "an alias": ("name: &n house\ndescription: *n", 2, "", r"alias \*n"),
    "two documents": (GOOD + "---\nname: other\n", 11, "", "second document"),
    "nested without end": ("name: " + "[" * 500, 1, "", "deeper than 16"),
    "a key twice": (HEAD + "version: 2\n", 5, "version", "given twice"),
    "a key that is no text": (HEAD + "3: x\n", 5, "", "not text"),
    "unknown field": (HEAD + "on_eror: hold\n" + RULE.format(when="nsfw.present", action="hold"), 5, "on_eror", "Unknown field"),
    "no on_error": (GOOD.replace("on_error: hold\n", ""), 1, "on_error", "missing"),
    "no on_skipped": (GOOD.replace("on_skipped: allow\n", ""), 1, "on_skipped", "missing"),
    "no rules": (HEAD, 1, "rules", "missing"),
    "an empty list of rules": (HEAD + "rules: []", 5, "rules", "at least 1"),
    "version 0": (GOOD.replace("version: 1", "version: 0"), 2, "version", "greater than or equal to 1"),
    "version in words": (GOOD.replace("version: 1", "version: one"), 2, "version", "valid integer"),
    "version true": (GOOD.replace("version: 1", "version: true"), 2, "version", "valid integer"),
    "version 1.0": (GOOD.replace("version: 1", "version: 1.0"), 2, "version", "valid integer"),
    "a name with a path": (GOOD.replace("name: house", "name: ../house"), 1, "name", "not a name"),
    "unknown choice": (GOOD.replace("on_error: hold", "on_error: block"), 3, "on_error", "not one of hold, allow"),
    "unknown rule field": (GOOD + "    prio: 3\n", 11, "rules[0].prio", "Unknown field"),
    "unknown action": (GOOD.replace("action: hold", "action: ban"), 8, "rules[0].action", "not one of allow, label"),
    "priority 101": (GOOD + "    priority: 101\n", 11, "rules[0].priority", "less than or equal to 100"),
    "hold without queue": (GOOD.replace("    queue: explicit\n", ""), 6, "rules[0].queue", "names no queue"),
    "no reason": (GOOD.replace("It looks explicit.", "'  '"), 10, "rules[0].reason", "at least 1 character"),
    "a reserved name": (GOOD.replace("name: explicit", "name: on_error"), 6, "rules[0].name", "not a name"),
    "no condition": (GOOD.replace("nsfw.fpr <= 0.001", "[]"), 7, "rules[0].when", "at least 1 item"),
    "a condition that is no text": (GOOD.replace("nsfw.fpr <= 0.001", "true"), 7, "rules[0].when", "CEL condition"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_file_is_refused_with_line_and_field(case: str) -> None:
    text, line, field, message = FILES[case]

    error = refused(text)

    assert error.line == line
    assert error.field == field
    assert re.search(message, error.message), error.message


def test_two_rules_of_one_name_are_refused_with_both_lines() -> None:
    error = refused(GOOD + RULE.format(when="face.count > 3", action="hold").removeprefix("rules:\n"))

    assert (error.line, error.field) == (11, "rules[1].name")
    assert "taken by line 6" in error.message


def test_too_large_a_file_is_refused() -> None:
    assert str(MAX_BYTES) in refused(GOOD + "#" * MAX_BYTES).message


@pytest.mark.parametrize(
    ("field", "mend"),
    [("on_eror", "on_error"), ("vesion", "version"), ("rule", "rules")],
)
def test_unknown_field_is_told_the_nearest(field: str, mend: str) -> None:
    assert f"`{mend}`" in refused(GOOD + f"{field}: 1\n").hint


CONDITIONS = {
    # condition: (what the message says, the column, what the hint says)
    "nsfw.fprr <= 0.1": ("no member `fprr`", 6, "`fpr`"),
    "nswf.fpr <= 0.1": ("Unknown label `nswf`", 1, "`nsfw`"),
    "'gore.fpr < 0.1'": ("Unknown label `gore`", 1, "There are"),
    "nsfw.fpr <= 0.1 && fase.count > 1": ("Unknown label `fase`", 20, "`face`"),
    "context.surfase == 'adult'": ("no member `surfase`", 9, "`surface`"),
    "image.widht > 3": ("no member `widht`", 7, "`width`"),
    "face.fpr <= 0.1": ("not calibrated", 6, "face.score"),
    "manifest.fpr <= 0.1": ("not calibrated", 10, "manifest.present"),
    "manifest.score > 0.5": ("a fact, not a measurement", 10, "manifest.present"),
    "manifest.state.startswith('x')": ("Unknown function `startswith`", 1, "`startsWith`"),
    "sqrt(nsfw.score) > 0.5": ("Unknown function `sqrt`", 1, "There are"),
    "manifest.state.contains(3)": ("does not take `3`", 25, "text.contains"),
    "size(manifest.state) > 3": ("not used like this", 1, "text.size()"),
    "manifest.state.matches('(')": ("unclosed group", 24, "RE2"),
    r"manifest.state.matches('\bfoo\b')": ("backspace", 24, r"r'\bword\b'"),
    "manifest.state.matches(context.surface)": ("written out", 24, ""),
    "nsfw.fpr <=": ("not CEL", 12, ""),
    "nsfw.fpr <= 0.1 and face.present": ("not CEL", 17, "`&&`"),
    "nsfw.present or face.present": ("not CEL", 14, "`||`"),
    "not nsfw.present": ("not CEL", 5, "`!`"),
    "nsfw.present = true": ("not CEL", 14, "`==`"),
    "(nsfw.present": ("not CEL", 14, ""),
    '"manifest.state == \'ok"': ("not CEL", 19, ""),
    "nsfw.score": ("`nsfw.score` is a number", 1, "nsfw.score > 0"),
    "nsfw": ("not a value by itself", 1, "nsfw.present"),
    "nsfw && face.present": ("not a value by itself", 1, "nsfw.present"),
    "manifest.state": ("`manifest.state` is text", 1, ""),
    "face.count && nsfw.present": ("Each side of `&&`", 1, "face.count > 0"),
    "'!face.count'": ("`face.count` is a whole number", 2, ""),
    "nsfw.fpr < '0.1'": ("cannot compare", 1, ""),
    "nsfw.present == 1": ("cannot compare", 1, "true or false"),
    "manifest.state == 3": ("cannot compare", 1, "text"),
    "manifest.problems > 3": ("cannot compare", 1, ""),
    "manifest.state in 'abc'": ("not a list", 19, "in ["),
    "manifest.state in ['a', 3]": ("one type", 19, ""),
    "manifest.state in [1, 3]": ("it is never `1`", 20, ""),
    "face.count * 1.5 > 3.0": ("`*` does not go with", 1, "double(count)"),
    "face.count.exists(x, x > 1)": ("not a list", 1, ""),
    "manifest.problems.exists(nsfw, nsfw == 'a')": ("is a variable already", 26, ""),
    "manifest.problems.exists('a')": ("takes a name and a condition|not CEL", 0, ""),
    "manifest['state'] == 'x'": ("Indexing", 9, "label.member"),
    "face.count == 3u": ("Unsigned", 15, "`3`"),
    "manifest.state == null": ("`null` is not used", 19, ""),
    "manifest.state == b'x'": ("not expected here", 20, ""),
    "'{1: 2}.size() == nsfw.present'": ("`{` is not used", 1, ""),
    "'true'": ("reads nothing of the image", 1, "nsfw.fpr"),
    "1 < 2": ("reads nothing of the image", 1, ""),
}


@pytest.mark.parametrize("when", CONDITIONS)
def test_condition_is_refused_with_column_and_mend(when: str) -> None:
    message, column, hint = CONDITIONS[when]

    error = refused_rule(when)

    assert error.line == WHEN_LINE
    assert error.field == "rules[0].when[0]"
    assert any(part in error.message for part in message.split("|")), error.message
    assert not column or f"At column {column} of" in error.message, error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("nsfw.fpr < 0", "never true"),
        ("nsfw.fpr <= 0.0", "never true"),
        ("nsfw.fpr == 0", "never true"),
        ("0 > nsfw.score", "never true"),
        ("nsfw.score > 1", "never true"),
        ("nsfw.score >= 95", "never true"),
        ("nsfw.score == 2", "never true"),
        ("nsfw.fpr <= 1", "always true"),
        ("face.count >= 0", "always true"),
        ("face.count < 0", "never true"),
        ("face.count == 1.5", "never true"),
        ("image.width > -1", "always true"),
        ("face.present || nsfw.score > 1.0", "never true"),
        ("nsfw.fpr <= 0.01 && nsfw.fpr > 0.02", "contradict"),
        ("face.count > 2 && face.count < 3", "contradict"),
        ("manifest.signer == 'a' && manifest.signer == 'b'", "contradict"),
        ("manifest.signer == 'a' && manifest.signer != 'a'", "contradict"),
        ("manifest.signer in ['a', 'b'] && !(manifest.signer in ['b', 'a', 'c'])", "contradict"),
        ("nsfw.present && !nsfw.present", "contradict"),
        ("'!face.present && face.count > 0'", "contradict"),
        ("'!nsfw.present && nsfw.fpr < 0.1'", "contradict"),
        ("'(nsfw.present ? face.present : false) && !face.present'", "contradict"),
        ("[nsfw.fpr <= 0.01, nsfw.fpr >= 0.1]", "contradict"),
        ("face.present || !face.present", "always true"),
    ],
)
def test_condition_that_is_the_same_for_every_image_is_refused(when: str, says: str) -> None:
    error = refused_rule(when, "label")

    assert says in error.message
    assert error.line == WHEN_LINE


@pytest.mark.parametrize(
    "when",
    [
        "nsfw.score > 0.99",
        "nsfw.score >= 1.0",
        "nsfw.fpr < 1.0",
        "nsfw.fpr > 0.001 && nsfw.fpr <= 0.01",
        "face.count > 2 && face.count < 4",
        "face.count == 3.0",
        "face.count >= 1",
        "face.count > 1 && face.size < 0.1",
        "manifest.signer == 'a' || manifest.signer == 'b'",
        "manifest.state in ['valid', 'invalid']",
        "manifest.state == '' && manifest.present",
        "manifest.state != '' && manifest.state != 'valid'",
        "manifest.present && manifest.state == ''",
        "manifest.problems.exists(p, p.startsWith('hash')) && manifest.problems.size() < 9",
        "manifest.problems.all(p, p != 'x') && manifest.present",
        "nsfw.present && nsfw.score * 2.0 + double(face.count) > 3.0",
        "nsfw.present && int(nsfw.score * 100.0) % 2 == 1",
        "-nsfw.score < -0.5",
        "face.present && (context.surface == 'adult' ? nsfw.fpr < 0.1 : nsfw.fpr < 0.01)",
        "likeness.person in ['p_1', 'p_2']",
        "'x' in manifest.problems",
        "image.frames > 100 && nsfw.fpr < 0.1",
        "context.uploader == 'banned'",
        "image.width > 100000",
        "manifest.state.matches(r'(?i)\\binvalid\\b')",
        "mark.score > 0.9 && mark.bits >= 40",
    ],
)
def test_sound_condition_is_accepted(when: str) -> None:
    (rule,) = policy(f'"{when}"' if "\\" not in when else when).rules

    assert rule.conditions


@pytest.mark.parametrize(
    "when",
    [
        "'!manifest.present'",
        "'!face.present'",
        "face.count == 0",
        "nsfw.fpr > 0.5",
        "nsfw.score < 0.2 || nsfw.fpr < 0.1",
        "manifest.state != 'valid'",
        "manifest.problems.all(p, p != 'x')",
        "context.locale != 'en'",
        "image.frames > 100 && !manifest.present",
        "image.format == 'GIF' && !manifest.present",
    ],
)
@pytest.mark.parametrize("action", ["restrict", "hold", "block"])
def test_nothing_is_decided_by_absence(when: str, action: str) -> None:
    assert "absence is no evidence" in refused_rule(when, action).message


@pytest.mark.parametrize("action", ["allow", "label"])
def test_absence_may_be_labelled(action: str) -> None:
    assert policy("'!manifest.present'", action).rules


@pytest.mark.parametrize("when", ["image.width < 64", "image.bytes > 40000000", "nsfw.fpr < 0.1 && !manifest.present"])
def test_facts_of_the_file_and_findings_may_decide(when: str) -> None:
    assert policy(f"'{when}'", "block").rules


@pytest.mark.parametrize(
    ("when", "mend"),
    [
        ("manifest.state == 'invlid'", "`invalid`"),
        ("manifest.state in ['valid', 'invlid']", "`invalid`"),
        ("nsfw.present && manifest.state != 'gone'", "There are"),
    ],
)
def test_value_that_a_member_never_has_is_refused(when: str, mend: str) -> None:
    error = refused_rule(when)

    assert "`manifest.state` is one of 'valid', 'invalid', or ''" in error.message
    assert mend in error.hint


def test_line_in_a_block_of_text_is_named() -> None:
    when = "|\n      nsfw.fpr <= 0.01 &&\n      fase.present"

    error = refused_rule(when)

    assert error.line == WHEN_LINE + 2
    assert "At column 1 of `fase.present`" in error.message


def test_condition_of_a_list_is_named() -> None:
    error = refused_rule("\n      - nsfw.fpr <= 0.01\n      - fase.present")

    assert (error.line, error.field) == (WHEN_LINE + 2, "rules[0].when[1]")


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("(" * 200 + "nsfw.present" + ")" * 200, "not CEL|nested deeper than 32"),
        ("(" * 40 + "nsfw.present" + ")" * 40, "nested deeper than 32"),
        ("!" * 301 + "nsfw.present", "nested deeper than 32"),
        ("nsfw.present || " * 3000 + "nsfw.present", "more than 4000"),
        (" + ".join(["1"] * 500) + " > face.count", "More than 64 operations"),
        ("nsfw" + ".present" * 300, "More than 64 members"),
    ],
    ids=["parentheses", "more than ours", "signs", "long", "sum", "members"],
)
def test_extreme_condition_is_refused(when: str, says: str) -> None:
    assert re.search(says, refused_rule(f"'{when}'").message)


def test_condition_with_too_many_branches_to_follow_is_accepted() -> None:
    assert policy("'" + " && ".join(["(nsfw.fpr < 0.1 || face.count > 1)"] * 60) + "'").rules


EXAMPLES = {
    "wrong action": ("{name: a, findings: {nsfw: {fpr: 0.5}}, action: hold}", "expects hold, and the policy says allow by no rule"),
    "wrong rules": ("{name: a, findings: {nsfw: {fpr: 1e-4}}, action: hold, rules: []}", "by `explicit`"),
    "unknown rule": ("{name: a, action: allow, rules: [explict]}", "no rule `explict`"),
    "unknown label": ("{name: a, findings: {nfsw: {fpr: 0.5}}, action: hold}", "Unknown label `nfsw`"),
    "unknown member": ("{name: a, findings: {nsfw: {fbr: 0.5}}, action: hold}", "no member `fbr`"),
    "no fpr": ("{name: a, findings: {nsfw: {score: 0.5}}, action: hold}", "needs its `fpr`"),
    "fpr 0": ("{name: a, findings: {nsfw: {fpr: 0}}, action: hold}", "cannot be 0"),
    "score 2": ("{name: a, findings: {face: {score: 2}}, action: hold}", "cannot be 2"),
    "wrong type": ("{name: a, findings: {manifest: {state: 3}}, action: hold}", "not of type string"),
    "count of millions": ("{name: a, findings: {face: {count: 1000000}}, action: hold}", "more than 100"),
    "count below zero": ("{name: a, findings: {face: {count: -1}}, action: hold}", "cannot be -1"),
    "status": ("{name: a, findings: {nsfw: absent}, action: hold}", "`absent` is not what became"),
    "half a detector": ("{name: a, findings: {manifest: failed, mark: {}}, action: allow}", "says otherwise"),
    "no mapping": ("{name: a, findings: {nsfw: 0.5}, action: hold}", "not a mapping"),
    "a value it never has": ("{name: a, findings: {manifest: {state: gone}}, action: allow}", "cannot be gone"),
    "context": ("{name: a, context: {surfase: x}, action: allow}", "no member `surfase`"),
    "image": ("{name: a, image: {width: -1}, action: allow}", "cannot be -1"),
    "unknown action": ("{name: a, action: alow}", "not one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", EXAMPLES)
def test_example_is_refused(case: str) -> None:
    example, message = EXAMPLES[case]

    error = refused(GOOD + f"examples:\n  - {example}\n")

    assert error.line == 12
    assert error.field.startswith("examples[0]")
    assert message in error.message
