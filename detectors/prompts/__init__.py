"""Checks what a prompt asks for. Text only: no model, no database, no settings, no web."""

from detectors.prompts.rules import MINORS, MOST_CHARACTERS, PERSON, REASONS, PromptError, PromptVerdict, check_prompt

__all__ = ["MINORS", "MOST_CHARACTERS", "PERSON", "REASONS", "PromptError", "PromptVerdict", "check_prompt"]
