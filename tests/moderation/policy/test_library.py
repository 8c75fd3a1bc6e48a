from pathlib import Path

import pytest

from moderation.errors import NotFoundError, PolicyError
from moderation.policy import PolicyLibrary, find_policy, find_shipped_or_own, policy_names
from tests.moderation.policy.vocabularies import VOCABULARY

TEXT = """\
name: {name}
version: 1
on_error: hold
on_skipped: allow
rules:
  - {{name: explicit, when: nsfw.fpr <= 0.001, action: block, reason: r}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("house", "mainstream"):
        (own / f"{name}.yaml").write_text(TEXT.format(name=name))
    (tmp_path / "secret.yaml").write_text(TEXT.format(name="secret"))
    return own


def test_own_policies_come_before_shipped_ones(folder: Path) -> None:
    policy = find_shipped_or_own("mainstream", folder=folder, vocabulary=VOCABULARY)

    assert Path(policy.file).parent == folder


def test_names_are_own_and_shipped(folder: Path) -> None:
    assert policy_names(folder) == ["adult", "house", "likeness-in-adult-context", "mainstream", "strict-generator"]
    assert "house" not in policy_names(None)


@pytest.mark.parametrize(
    "name", ["../secret", "own/house", "/etc/passwd", "house.yaml", "..", "", "HOUSE", "house\n", "a" * 300, "house\0"]
)
def test_a_name_over_the_network_is_never_a_path(folder: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        find_shipped_or_own(name, folder=folder, vocabulary=VOCABULARY)


def test_an_unknown_name_is_told_what_there_is(folder: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_shipped_or_own("nothing-like-it", folder=folder, vocabulary=VOCABULARY)

    assert caught.value.as_dict()["code"] == "policy_not_found"
    assert all(f"`{name}`" in caught.value.hint for name in policy_names(folder))


def test_a_near_miss_is_told_the_name(folder: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_shipped_or_own("hose", folder=folder, vocabulary=VOCABULARY)

    assert caught.value.hint == "Did you mean `house`?"


def test_an_operator_may_name_a_path(folder: Path) -> None:
    assert find_policy(str(folder.parent / "secret.yaml"), folder=None, vocabulary=VOCABULARY).name == "secret"
    assert find_policy("house", folder=folder, vocabulary=VOCABULARY).name == "house"


def test_a_policy_under_another_name_is_refused(folder: Path) -> None:
    (folder / "alias.yaml").write_text(TEXT.format(name="house"))

    with pytest.raises(PolicyError, match="calls itself `house`"):
        find_shipped_or_own("alias", folder=folder, vocabulary=VOCABULARY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: \xff", "not UTF-8: byte 6"),
        (None, "cannot be read: No such file"),
        (b"#" * 300_000, "more than 262144"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(PolicyError, match=message):
        find_policy(str(path), folder=None, vocabulary=VOCABULARY)


def test_library_reads_each_policy_once(folder: Path) -> None:
    library = PolicyLibrary("house", folder=folder, vocabulary=VOCABULARY)

    assert library.get("").name == "house"
    assert library.get("house") is library.get("house")


def test_library_takes_a_file_as_default_only(folder: Path) -> None:
    path = str(folder.parent / "secret.yaml")

    assert PolicyLibrary(path, folder=folder, vocabulary=VOCABULARY).get("").name == "secret"
    with pytest.raises(NotFoundError):
        PolicyLibrary("house", folder=folder, vocabulary=VOCABULARY).get(path)
    assert PolicyLibrary("house", folder=folder, vocabulary=VOCABULARY).read(path).name == "secret"
