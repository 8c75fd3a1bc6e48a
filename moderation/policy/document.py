"""The fields of a policy file. `docs/policies.md` explains each; a test fails on one that it leaves out."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

from moderation.policy.verdict import Action

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Choice = Literal["hold", "allow"]


def _as_list(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise ValueError("takes a CEL condition in quotes, or a list of them")
    return value


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleDocument(Part):
    name: Slug = Field(description="Name of the rule, unique in the policy; verdicts cite it.")
    when: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        min_length=1, max_length=32, description="A CEL condition, or a list of conditions that must all hold."
    )
    action: Action = Field(description="What follows when it holds: `allow`, `label`, `restrict`, `hold` or `block`.")
    queue: Slug | None = Field(None, description="Queue that a reviewer finds the case in. Required for `hold`.")
    priority: StrictInt = Field(50, ge=0, le=100, description="Order in the queue, 100 first.")
    reason: Words = Field(description="Why, in plain words, for the uploader and the reviewer.")
    final: StrictBool = Field(
        False, description="Whether rules below are passed over, and scanning stops, when it fires."
    )


class ExampleDocument(Part):
    name: Words = Field(description="What the example shows.")
    findings: dict[str, Any] = Field(
        default_factory=dict,
        description="Per label: its members, a list of several findings, or `skipped` or `failed`.",
    )
    context: dict[str, str] = Field(default_factory=dict, description="What the host says of the upload.")
    image: dict[str, Any] = Field(default_factory=dict, description="The file, where it matters.")
    action: Action = Field(description="The action that must come of it.")
    rules: tuple[str, ...] | None = Field(
        None, description="Exactly the rules that must fire, in any order. Not compared when left out."
    )


class PolicyDocument(Part):
    name: Slug = Field(description="Name of the policy: the file's name without `.yaml`.")
    version: StrictInt = Field(ge=1, description="Raised by whoever changes the policy; verdicts cite it.")
    description: str = Field("", max_length=2_000, description="What the policy is for.")
    keep: Literal["none", "held", "all"] = Field("none", description="Which images are kept, encrypted.")
    on_error: Choice = Field(description="What becomes of an image when a detector that matters failed.")
    on_skipped: Choice = Field(description="What becomes of an image when a detector that matters did not run.")
    undecided_queue: Slug = Field("undecided", description="Queue for what `on_error` or `on_skipped` holds.")
    cascade: Literal["full", "needed"] = Field("full", description="Whether detectors run that cannot matter any more.")
    rules: tuple[RuleDocument, ...] = Field(min_length=1, max_length=200, description="The rules, in order.")
    examples: tuple[ExampleDocument, ...] = Field(
        (), max_length=1_000, description="Golden tests: the policy does not load while one of them does not hold."
    )
