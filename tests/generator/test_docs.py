"""docs/generator.md names every field of a recipe."""

from pathlib import Path

from generator.recipes.document import Group, Identity, Post, Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "generator.md").read_text()


def test_every_field_is_documented() -> None:
    for kind in (Recipe, Group, Identity, Post):
        for name, field in kind.model_fields.items():
            assert f"| `{name}` | {field.description}" in PAGE, (
                f"{kind.__name__}.{name} is missing in docs/generator.md"
            )
