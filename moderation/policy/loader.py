"""Loads a policy: reads the file, checks everything that can be checked, runs its examples."""

import hashlib
import json
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from moderation.errors import PolicyError
from moderation.policy.absence import decided_by_absence
from moderation.policy.bounds import never_true
from moderation.policy.conditions import Condition
from moderation.policy.decide import Policy
from moderation.policy.document import ExampleDocument, PolicyDocument, RuleDocument
from moderation.policy.examples import check_examples
from moderation.policy.expression import ExpressionError, Logical
from moderation.policy.rules import Rule
from moderation.policy.source import Path, Source, read_source
from moderation.policy.verdict import RANK
from moderation.policy.vocabulary import Vocabulary, suggestion


def load_policy(text: str, *, file: str, vocabulary: Vocabulary) -> Policy:
    """A policy from its YAML text. Raises PolicyError with file, line, field and what to do."""
    source = read_source(text, file)
    document = _validated(source)
    _check_unique(source, document)
    policy = Policy(
        name=document.name,
        version=document.version,
        description=document.description,
        keep=document.keep,
        on_error=document.on_error,
        on_skipped=document.on_skipped,
        undecided_queue=document.undecided_queue,
        cascade=document.cascade,
        rules=tuple(_rule(source, index, rule, vocabulary) for index, rule in enumerate(document.rules)),
        digest=digest(document),
        vocabulary=vocabulary,
        file=file,
    )
    check_examples(policy, document.examples, source)
    return policy


def digest(document: PolicyDocument) -> str:
    """SHA-256 of a policy's content: the same whatever the comments, layout, order of keys or examples."""
    content = document.model_dump(mode="json", exclude={"examples"})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _validated(source: Source) -> PolicyDocument:
    if not isinstance(source.values, dict):
        raise source.error(
            "A policy is a mapping of fields.", (), f"It starts with `{next(iter(PolicyDocument.model_fields))}: …`."
        )
    try:
        return PolicyDocument.model_validate(source.values)
    except ValidationError as error:
        raise _explained(source, error.errors()[0]) from None


_MODELS: Mapping[str, type[BaseModel]] = {"rules": RuleDocument, "examples": ExampleDocument}


def _explained(source: Source, error: ErrorDetails) -> PolicyError:
    """A validation error in the words of the file."""
    path: Path = error["loc"]
    model = _MODELS.get(str(path[0]), PolicyDocument) if len(path) > 1 else PolicyDocument
    name = str(path[-1])
    match error["type"]:
        case "extra_forbidden":
            return source.error(f"Unknown field `{name}`.", path, suggestion(name, model.model_fields))
        case "missing":
            help = model.model_fields[name].description
            return source.error(f"The field `{name}` is missing.", path, f"Add `{name}: …`. {help}")
        case "literal_error":
            allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return source.error(
                f"{error['input']!r} is not one of {', '.join(allowed)}.",
                path,
                suggestion(str(error["input"]), allowed),
            )
        case "string_pattern_mismatch":
            return source.error(
                f"{error['input']!r:.80} is not a name.",
                path,
                "Lower-case letters, digits and hyphens, at most 64, such as `explicit-content`.",
            )
    message = error["msg"].removeprefix("Value error, ")
    return source.error(f"{message[:1].upper()}{message[1:]}, not {error['input']!r:.80}.", path)


def _check_unique(source: Source, document: PolicyDocument) -> None:
    for kind, names in (
        ("rules", [rule.name for rule in document.rules]),
        ("examples", [e.name for e in document.examples]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                first = source.line((kind, names.index(name), "name"))
                raise source.error(
                    f"The name `{name}` is taken by line {first}.", (kind, index, "name"), "Names are unique."
                )
    for index, rule in enumerate(document.rules):
        if rule.action == "hold" and not rule.queue:
            raise source.error(
                f"The rule `{rule.name}` holds images and names no queue.",
                ("rules", index, "queue"),
                "Add `queue: …`: somebody has to look.",
            )


def _rule(source: Source, index: int, document: RuleDocument, vocabulary: Vocabulary) -> Rule:
    conditions = tuple(
        _condition(source, ("rules", index, "when", number), text, vocabulary)
        for number, text in enumerate(document.when)
    )
    together = Logical(0, 0, "&&", tuple(condition.tree for condition in conditions))
    if never_true(together, vocabulary):
        raise source.error(
            f"The rule `{document.name}` can never fire: its conditions contradict each other.",
            ("rules", index, "when"),
        )
    names = dict.fromkeys(name for condition in conditions for name, _ in condition.chains)
    labels = tuple(name for name in names if vocabulary.variables[name].detector)
    rule = Rule(
        name=document.name,
        conditions=conditions,
        action=document.action,
        queue=document.queue,
        priority=document.priority,
        reason=document.reason,
        final=document.final,
        labels=labels,
        detectors=vocabulary.detectors_of(labels),
    )
    if RANK[rule.action] > RANK["label"] and decided_by_absence(rule, vocabulary):
        raise source.error(
            f"The rule `{rule.name}` would {rule.action} an image on which nothing was found: absence is no evidence.",
            ("rules", index, "when"),
            "Ask for something that was found as well, or use `action: label`.",
        )
    return rule


def _condition(source: Source, path: Path, text: str, vocabulary: Vocabulary) -> Condition:
    try:
        return Condition.parse(text, vocabulary)
    except ExpressionError as error:
        before = text[: error.at].splitlines() or [""]
        if text[: error.at].endswith("\n"):
            before.append("")
        row, column = len(before) - 1, len(before[-1]) + 1
        line = (text.splitlines() or [""])[row] if row < len(text.splitlines()) else ""
        shown = f" At column {column} of `{_excerpt(line, column)}`."
        block = source.is_block(path)
        raise source.error(f"{error.message}{shown}", path, error.hint, below=row if block else 0) from None


def _excerpt(line: str, column: int, width: int = 80) -> str:
    start = max(0, min(column - 1 - width // 2, len(line) - width))
    return ("…" if start else "") + line[start : start + width] + ("…" if len(line) > start + width else "")
