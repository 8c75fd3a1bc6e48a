"""What checks of prompts look like on the wire."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from detectors.prompts import MOST_CHARACTERS, PromptVerdict


class PromptRequest(BaseModel):
    """A prompt for an image generator; `negative_prompt` is what it is told to avoid. Up to 4000 characters each."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(examples=["a lighthouse at dusk"], description=f"Up to {MOST_CHARACTERS} characters.")
    negative_prompt: str = Field(default="", description=f"Up to {MOST_CHARACTERS} characters.")


class PromptAnswer(BaseModel):
    """Whether the prompt may run. `rule`: the id of the rule that refuses it; `reason`: why, in words of no prompt."""

    allowed: bool
    rule: Literal["sexual-content-with-minors", "sexual-content-with-a-person"] | None
    reason: str

    @classmethod
    def of(cls, verdict: PromptVerdict) -> "PromptAnswer":
        return cls.model_validate({"allowed": verdict.allowed, "rule": verdict.rule, "reason": verdict.reason})
