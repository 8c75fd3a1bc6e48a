"""Prompts of generation services, checked against the rules and the names of those who are enrolled."""

import structlog

from detectors.prompts import PromptVerdict, check_prompt
from moderation.people.names import PeopleNames

log = structlog.get_logger(__name__)


class PromptService:
    """Keeps nothing of a prompt: a refusal is logged by its rule, without the text."""

    def __init__(self, names: PeopleNames) -> None:
        self.names = names

    def check(self, tenant: str, prompt: str, negative: str = "") -> PromptVerdict:
        """Raises PromptError (too long, not text), and StorageError when no enrolled name can be read."""
        verdict = check_prompt(prompt, negative, people=self.names.of(tenant))
        if not verdict.allowed:
            log.info("prompt refused", tenant=tenant, rule=verdict.rule)
        return verdict
