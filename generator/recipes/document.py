"""The shape of a recipe. Unknown fields are refused; every field has a help text."""

import string
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Mode = Literal["text", "image", "inpaint", "reconstruct", "invert", "personalise", "self_blend", "swap"]
FROM_PICTURES = ("image", "inpaint", "reconstruct", "invert", "self_blend", "swap")
"""Modes whose items each begin with a picture."""
NEEDS_PICTURES = (*FROM_PICTURES, "personalise")
FROM_WORDS = ("text", "personalise")
"""Modes whose items begin with words alone, and are made several at once."""
PROMPTED = (*FROM_WORDS, "image", "inpaint", "invert")
Side = Annotated[int, Field(ge=32, le=2048, multiple_of=8)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Words = Annotated[str, Field(min_length=1, max_length=400)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Post(Strict):
    """What an image host does to an upload; drawn once for an item and done alike to its real and its made picture."""

    resize: tuple[float, float] = Field((1.0, 1.0), description="Smallest and largest factor of both sides.")
    formats: tuple[Literal["jpeg", "webp", "png"], ...] = Field(("jpeg",), min_length=1, description="Drawn evenly.")
    quality: tuple[int, int] = Field((75, 95), description="Lowest and highest quality of JPEG and WebP.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0.1 <= self.resize[0] <= self.resize[1] <= 4:
            raise ValueError("resize needs two factors from 0.1 to 4, the smaller first")
        if not 30 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError("quality needs two values from 30 to 100, the lower first")
        return self


class Group(Strict):
    """Items that share a label and prompt templates.

    `hard_negative` names pictures that look like what a detector should flag, and must not be flagged.
    """

    name: Name = Field(description="Unique in the recipe.")
    label: Name = Field(description="The label that the images carry.")
    count: int = Field(ge=1, le=10_000_000, description="Images to make (pairs, with `pairs`).")
    templates: tuple[Words, ...] = Field((), description="Prompts with {slots}.")
    slots: dict[Name, tuple[Words, ...]] = Field(default_factory=dict, description="What each slot may hold.")
    negative: str = Field("", max_length=400, description="Negative prompt.")
    hard_negative: bool = Field(False, description="Whether these must not be flagged.")

    @model_validator(mode="after")
    def _slots_fit(self) -> Self:
        asked = {field for template in self.templates for _, field, _, _ in string.Formatter().parse(template) if field}
        if missing := sorted(asked - set(self.slots)):
            raise ValueError(f"templates ask for slots that are not there: {', '.join(missing)}")
        if unused := sorted(set(self.slots) - asked):
            raise ValueError(f"slots that no template uses: {', '.join(unused)}")
        if empty := sorted(name for name, values in self.slots.items() if not values):
            raise ValueError(f"slots without a value: {', '.join(empty)}")
        return self


class Identity(Strict):
    """Whom mode personalise teaches, and why that is allowed."""

    subject: str = Field(min_length=1, max_length=200, description="Who: a name in your files, not a prompt.")
    basis: Literal["written-consent-of-an-adult", "synthetic-face"] = Field(description="Why it may be taught.")
    note: str = Field(
        min_length=10, max_length=2000, description="Where the written consent is kept, or how the face was made."
    )
    recorded: date = Field(description="When that was written down.")
    token: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,30}$")] = Field(
        "sks", description="The word that stands for the identity; every template has it."
    )
    steps: int = Field(200, ge=1, le=20_000, description="Steps of training.")
    rank: int = Field(4, ge=1, le=128, description="Rank of the LoRA.")
    rate: float = Field(1e-3, gt=0, le=1, description="Learning rate.")


class Recipe(Strict):
    """A dataset to make. The same recipe, pictures and model give the same bytes."""

    name: Name = Field(description="Name of the dataset.")
    about: str = Field(min_length=10, description="What it is for.")
    mode: Mode = Field(description="How images are made.")
    seed: int = Field(0, ge=0, le=2**31, description="Everything drawn comes from it.")
    width: Side = Field(64, description="Pixels, a multiple of 8.")
    height: Side = Field(64, description="Pixels, a multiple of 8.")
    steps: int = Field(30, ge=1, le=200, description="Steps of the scheduler.")
    guidance: float = Field(4.0, ge=1, le=30, description="Classifier-free guidance; 1 is none.")
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.5,), min_length=1, description="For image and inpaint; taken in turn."
    )
    autoencoder: Literal["kl", "tiny", "flux2-tiny"] = Field("kl", description="For reconstruct.")
    identity: Identity | None = Field(None, description="For personalise: whom it teaches, and why that is allowed.")
    pairs: bool = Field(False, description="Keep the source picture beside the made one, with label `real`.")
    shard: int = Field(64, ge=1, le=100_000, description="Items in a shard: the unit of work and of resuming.")
    batch: int = Field(8, ge=1, le=256, description="Images made at once, in mode text.")
    dev: float = Field(
        0.1, ge=0, le=0.9, description="Share of the dev split; a prompt or parent is in one split only."
    )
    post: Post = Field(default_factory=lambda: Post.model_validate({}), description="What hosts do to uploads.")
    groups: tuple[Group, ...] = Field(min_length=1, description="What to make.")

    @field_validator("groups")
    @classmethod
    def _names_are_unique(cls, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        names = [group.name for group in groups]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two groups have the same name: {', '.join(twice)}")
        return groups

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.mode in PROMPTED and any(not group.templates for group in self.groups):
            raise ValueError(f"mode {self.mode} needs templates in every group")
        if (self.identity is None) == (self.mode == "personalise"):
            raise ValueError("mode personalise needs an identity, and no other mode takes one")
        if self.identity and any(
            self.identity.token not in t.split() for group in self.groups for t in group.templates
        ):
            raise ValueError(f"every template needs the word {self.identity.token!r}, which stands for the identity")
        if self.pairs and self.mode not in FROM_PICTURES:
            raise ValueError(f"mode {self.mode} has no source pictures, so there are no pairs")
        if self.mode in ("image", "inpaint") and any(int(s * self.steps) < 1 for s in self.strengths):
            raise ValueError("the smallest strength x steps is below 1: nothing would be done")
        return self

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)
