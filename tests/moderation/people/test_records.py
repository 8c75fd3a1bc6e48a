"""On what grounds nobody is enrolled."""

from datetime import datetime, timedelta

import pytest

from moderation.errors import InvalidRequestError
from moderation.people.records import check_applicant, check_count
from moderation.tables import utc_now
from tests.moderation.people.conftest import applicant


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("minor", {"guardian": " "}, "without a guardian"),
        ("minor", {"kind": "consent"}, "own consent does not do"),
        ("adult", {"kind": "guardian"}, "no guardian here"),
        ("adult", {"expires_at": utc_now() - timedelta(seconds=1)}, "consent ended on"),
        ("adult", {"expires_at": datetime(2099, 1, 1)}, "has no time zone"),
        ("adult", {"document": ""}, "document is empty"),
        ("adult", {"vouched_by": ""}, "vouched_by is empty"),
        ("adult", {"name": "  "}, "name is empty"),
        ("adult", {"name": "n" * 501}, "501 characters"),
        ("adult", {"kind": "rumour"}, "'rumour' is not a ground"),
        ("robot", {}, "'robot' is not a kind"),
    ],
)
def test_grounds_that_do_not_do(kind: str, changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        check_applicant(applicant(kind, **changed))


@pytest.mark.parametrize(("kind", "ground"), [("adult", "consent"), ("minor", "guardian"), ("minor", "representative")])
def test_grounds_that_do(kind: str, ground: str) -> None:
    check_applicant(applicant(kind, kind=ground))


@pytest.mark.parametrize("count", [0, 21])
def test_too_few_and_too_many_photos(count: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"{count} photos") as refusal:
        check_count(count)

    assert refusal.value.error_code == "photo_count"
