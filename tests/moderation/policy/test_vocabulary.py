import pytest

from detectors.base import Field, Label
from moderation.policy import Vocabulary
from moderation.policy.vocabulary import suggestion
from tests.moderation.policy.vocabularies import VOCABULARY, Declared


def members(name: str) -> list[str]:
    return list(VOCABULARY.variables[name].members)


def test_a_label_has_the_members_that_its_declaration_gives_it() -> None:
    assert members("likeness") == ["present", "count", "score", "fpr", "person"]
    assert members("face") == ["present", "count", "score", "size"]
    assert members("manifest") == ["present", "count", "state", "signer", "trusted", "problems"]


def test_where_nothing_was_found_measurements_are_the_mildest() -> None:
    likeness = VOCABULARY.variables["likeness"].members

    assert {name: member.absent for name, member in likeness.items()} == {
        "present": False,
        "count": 0,
        "score": 0.0,
        "fpr": 1.0,
        "person": "",
    }


def test_context_and_image_belong_to_no_detector() -> None:
    assert VOCABULARY.detectors_of(["context", "image", "face"]) == {"faces"}


def test_labels_of_a_detector() -> None:
    assert VOCABULARY.labels_of("origin") == {"manifest", "mark"}


@pytest.mark.parametrize(
    "label",
    [
        Label("context", "Taken by what the host says."),
        Label("two words", "No identifier."),
        Label("Upper", "No identifier of ours."),
        Label("x", "A field is taken.", fields={"count": Field("int", "Taken.")}),
        Label("x", "A field is no identifier.", fields={"a-b": Field("int", "No identifier.")}),
    ],
)
def test_a_label_that_cannot_be_a_variable_is_a_defect(label: Label) -> None:
    class Broken(Declared):
        name = "broken"
        labels = (label,)

    with pytest.raises(ValueError, match="is taken, or is no identifier"):
        Vocabulary.of([Broken])


def test_two_detectors_cannot_share_a_label() -> None:
    class One(Declared):
        name = "one"
        labels = (Label("same", "Twice."),)

    class Two(Declared):
        name = "two"
        labels = (Label("same", "Twice."),)

    with pytest.raises(ValueError, match="'same' of 'two'"):
        Vocabulary.of([One, Two])


def test_suggestion_names_the_nearest_or_all() -> None:
    assert suggestion("nswf", ["nsfw", "face"]) == "Did you mean `nsfw`?"
    assert suggestion("quality", ["nsfw", "face"]) == "There are: `face`, `nsfw`."
