"""Recipes: strict, with the place of an error; expanded the same every time."""

from pathlib import Path

import pytest

from generator import recipes
from generator.errors import RecipeError
from generator.recipes.expansion import prompts, split_of
from generator.recipes.loader import parse

GOOD = b"""name: things
about: Things to test with.
mode: text
seed: 7
groups:
  - name: one
    label: synthetic
    count: 5
    templates: ["a {colour} thing", "the {colour} one"]
    slots: {colour: [red, blue]}
  - name: two
    label: benign
    hard_negative: true
    count: 4
    templates: ["a sculpture"]
"""


@pytest.mark.parametrize("path", recipes.shipped(), ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = recipes.load(path.stem)

    assert recipe.name == path.stem
    assert len({item.key for item in recipes.expand(recipe)}) == recipe.count


def test_hard_negatives_name_all_five_kinds() -> None:
    groups = recipes.load("hard-negatives").groups

    assert {group.name for group in groups} == {"art", "sculpture", "medicine", "swimwear", "breastfeeding"}
    assert all(group.hard_negative and group.label == "benign" for group in groups)


def test_expansion_is_deterministic_and_can_begin_anywhere() -> None:
    recipe = parse(GOOD, "r.yaml")
    items = list(recipes.expand(recipe))

    assert items == list(recipes.expand(recipe))
    assert [item.number for item in items] == list(range(9))
    assert list(recipes.expand(recipe, 3, 7)) == items[3:7]
    assert len({item.seed for item in items}) == 9


def test_all_prompts_are_known_beforehand() -> None:
    recipe = parse(GOOD, "r.yaml")
    asked = {prompt for prompt, _ in prompts(recipe)}

    assert {item.prompt for item in recipes.expand(recipe)} <= asked
    assert len(asked) == 5


def test_many_slots_leave_no_term_out() -> None:
    names = "abcd"
    slots = "".join(f"      {name}: [{', '.join(f'{name}{i}' for i in range(9))}]\n" for name in names)
    text = GOOD.decode().split("groups:")[0] + (
        'groups:\n  - name: one\n    label: x\n    count: 5\n    templates: ["{a} {b} {c} {d}"]\n    slots:\n' + slots
    )
    asked = " ".join(prompt for prompt, _ in prompts(parse(text.encode(), "r.yaml")))

    assert all(f"{name}{i}" in asked for name in names for i in range(9))


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "says"),
    [
        (b"seed: 7", b"sead: 7", 4, "sead", "not permitted"),
        (b"    count: 5", b"    count: 0", 8, "groups.0.count", "greater than or equal to 1"),
        (b"seed: 7", b"width: 60", 4, "width", "multiple of 8"),
        (b"seed: 7", b"width: 99992", 4, "width", "less than or equal"),
        (b"mode: text", b"mode: video", 3, "mode", "should be"),
        (b"{colour: [red, blue]}", b"{color: [red]}", 6, "groups.0", "slots that are not there: colour"),
        (b"name: two", b"name: one", 5, "groups", "same name: one"),
        (b"seed: 7", b"seed: 7\nseed: 8", 5, "seed", "stands twice"),
        (b"seed: 7", b"post: {quality: [90, 20]}", 4, "post", "30 to 100"),
        (b"seed: 7", b"pairs: true", 1, "", "no source pictures"),
        (b"seed: 7", b"seed: [", 6, "", "not YAML"),
        (b'["a sculpture"]', b'["a {"]', 11, "groups.1", "string"),
    ],
)
def test_an_error_names_file_line_field_and_mend(old: bytes, new: bytes, line: int, field: str, says: str) -> None:
    with pytest.raises(RecipeError, match=r"^r\.yaml") as caught:
        parse(GOOD.replace(old, new, 1), "r.yaml")

    assert (caught.value.field, says in caught.value.message, bool(caught.value.hint)) == (field, True, True)
    assert caught.value.line == line


@pytest.mark.parametrize("text", [b"", b"- a\n", b"\xff\xfe", b"just words"])
def test_what_is_no_recipe_is_refused(text: bytes) -> None:
    with pytest.raises(RecipeError):
        parse(text, "r.yaml")


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.load("nothing-of-the-kind")
    assert "everyday" in caught.value.hint


def test_a_source_is_in_one_split() -> None:
    recipe = parse(GOOD, "r.yaml")
    splits = [split_of(recipe, f"source {number}") for number in range(1000)]

    assert 60 < splits.count("dev") < 140
    assert splits == [split_of(recipe, f"source {number}") for number in range(1000)]
