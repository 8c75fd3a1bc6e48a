"""Turns a recipe into items: deterministic, in order, none depending on another."""

import hashlib
import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from generator.recipes.document import Group, Recipe

Split = Literal["train", "dev"]


@dataclass(frozen=True)
class Item:
    """One thing to make. key: unique in the recipe. picture: number to take, modulo the pictures there are."""

    key: str
    number: int
    group: Group
    prompt: str
    seed: int
    strength: float
    picture: int


def expand(recipe: Recipe, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """The items numbered [start, stop): groups in order, prompts in turn."""
    number = 0
    stop = recipe.count if stop is None else stop
    for order, group in enumerate(recipe.groups):
        first, last = max(start - number, 0), min(stop - number, group.count)
        for index in range(first, last):
            yield _item(recipe, group, order, index, number + index)
        number += group.count


def _item(recipe: Recipe, group: Group, order: int, index: int, number: int) -> Item:
    rng = np.random.default_rng((recipe.seed, order, index))
    template = group.templates[index % len(group.templates)] if group.templates else ""
    fields = sorted({field for _, field, _, _ in string.Formatter().parse(template) if field})
    prompt = template.format(**{field: str(rng.choice(group.slots[field])) for field in fields})
    return Item(
        key=f"{recipe.name}-{number:08d}",
        number=number,
        group=group,
        prompt=prompt,
        seed=int(rng.integers(2**31)),
        strength=recipe.strengths[index % len(recipe.strengths)],
        picture=number,
    )


def prompts(recipe: Recipe) -> list[tuple[str, str]]:
    """Every prompt and negative prompt that the recipe can ask for, each once.

    Slots are filled with all their values; where that is more than 2,000 prompts for a template, each value stands once
    with the template and all of a group's values stand together, so that no term escapes the guard.
    """
    found: dict[tuple[str, str], None] = {}
    for group in recipe.groups:
        for template in group.templates:
            for prompt in _filled(template, group):
                found[prompt, group.negative] = None
    return list(found)


def _filled(template: str, group: Group) -> list[str]:
    fields = sorted({field for _, field, _, _ in string.Formatter().parse(template) if field})
    values = [group.slots[field] for field in fields]
    total = int(np.prod([len(value) for value in values], dtype=np.int64)) if values else 1
    if total <= 2000:
        return [template.format(**dict(zip(fields, chosen, strict=True))) for chosen in itertools.product(*values)]
    longest = max(len(value) for value in values)
    turns = [[value[turn % len(value)] for value in values] for turn in range(longest)]
    together = [", ".join(value) for value in values]
    return [template.format(**dict(zip(fields, chosen, strict=True))) for chosen in (*turns, together)]


def split_of(recipe: Recipe, source: str) -> Split:
    """The split of everything that shares this source (a prompt or a parent picture)."""
    share = int.from_bytes(hashlib.sha256(f"{recipe.name}\0{source}".encode()).digest()[:8], "big") / 2**64
    return "dev" if share < recipe.dev else "train"
