"""Recipes: what to make, as data. The shipped ones are the YAML files of this folder."""

from generator.recipes.document import Group, Post, Recipe
from generator.recipes.expansion import Item, expand
from generator.recipes.loader import load, shipped

__all__ = ["Group", "Item", "Post", "Recipe", "expand", "load", "shipped"]
