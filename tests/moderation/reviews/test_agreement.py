"""Cohen's kappa against values computed by hand."""

import pytest

from moderation.reviews.agreement import DoubleDecision, agreement, by_queue, by_reviewer, cohen_kappa


def pairs(**counts: int) -> list[tuple[str, str]]:
    return [(name[0], name[1]) for name, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("said", "kappa"),
    [
        # po = 35/50, pe = (25·30 + 25·20)/50² = 0.5
        (pairs(yy=20, yn=5, ny=10, nn=15), 0.4),
        # po = 60/100, pe = (70·60 + 30·40)/100² = 0.54: the same agreement as below, less of it beyond chance
        (pairs(yy=45, yn=25, ny=15, nn=15), 0.06 / 0.46),
        # po = 60/100, pe = (30·60 + 70·40)/100² = 0.46
        (pairs(yy=25, yn=5, ny=35, nn=35), 0.14 / 0.54),
        # three answers: po = 7/10, pe = (4·4 + 3·4 + 3·2)/100 = 0.34
        (pairs(aa=3, ab=1, ac=0, ba=1, bb=2, bc=0, ca=0, cb=1, cc=2), 0.36 / 0.66),
        (pairs(yy=5, nn=5), 1.0),
        (pairs(yn=5, ny=5), -1.0),
        (pairs(yy=4, yn=4, ny=4, nn=4), 0.0),
    ],
)
def test_kappa(said: list[tuple[str, str]], kappa: float) -> None:
    assert cohen_kappa(said) == pytest.approx(kappa, abs=1e-12)


@pytest.mark.parametrize("said", [[], pairs(yy=9)])
def test_kappa_says_nothing_where_chance_explains_all(said: list[tuple[str, str]]) -> None:
    assert cohen_kappa(said) is None


def test_agreement_by_queue_and_by_reviewer() -> None:
    doubles = [
        DoubleDecision("adult", ("anna", "ben"), ("block", "block")),
        DoubleDecision("adult", ("ben", "cara"), ("allow", "block")),
        DoubleDecision("known", ("cara", "anna"), ("allow", "allow")),
    ]

    assert {name: found.observed for name, found in by_queue(doubles).items()} == {"adult": 0.5, "known": 1.0}
    found = by_reviewer(doubles)
    assert {name: (each.cases, each.observed) for name, each in found.items()} == {
        "anna": (2, 1.0),
        "ben": (2, 0.5),
        "cara": (2, 0.5),
    }
    # anna: (block, block), (allow, allow): perfect, and beyond chance
    assert found["anna"].kappa == 1.0
    assert agreement([]).kappa is None
