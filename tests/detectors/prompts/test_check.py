"""The prompt check, on the guard's own single terms: no sentence is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.prompts import MINORS, MOST_CHARACTERS, PERSON, PromptError, check_prompt
from detectors.prompts.terms import languages
from tests.bench.prompt_cases import HELD_OUT, TUNED, benign, clean, evasions

LISTS = languages()
SEXUAL = LISTS["en"]["sexual"][0]


@pytest.mark.parametrize("language", LISTS)
@pytest.mark.parametrize(("kind", "rule"), [("minors", MINORS), ("roles", PERSON)])
def test_every_term_of_every_language_counts(language: str, kind: str, rule: str) -> None:
    for term in LISTS[language][kind]:
        assert check_prompt(f"{clean(term)}, {clean(LISTS[language]['sexual'][0])}").rule in (MINORS, rule), term
        assert check_prompt(clean(term)).allowed


@pytest.mark.parametrize("kind", [*TUNED, *HELD_OUT])
def test_spellings_are_seen_through(kind: str) -> None:
    cases = list(evasions({kind: {**TUNED, **HELD_OUT}[kind]}, 6))
    refused = sum(not check_prompt(prompt).allowed for _, _, prompt in cases)

    assert refused / len(cases) >= 0.85


def test_everyday_prompts_pass() -> None:
    seen, unseen = benign()

    assert len(seen) + len(unseen) >= 300
    assert [prompt for prompt in seen if not check_prompt(prompt).allowed] == []
    assert sum(not check_prompt(prompt).allowed for prompt in unseen) <= len(unseen) / 100


@pytest.mark.parametrize("age", ["14 year old", "15yo", "aged 9", "U16", "under 18", "12-year-old", "seventeen years"])
def test_ages_under_eighteen_count(age: str) -> None:
    assert check_prompt(f"{age}, {SEXUAL}").rule == MINORS
    assert check_prompt(f"25 year old, {SEXUAL}").allowed


@pytest.mark.parametrize("who", ["Ilsabet Quornby", "@ilsabet_q", "ILSABET QUORNBY photo", "my ex", "a celebrity"])
def test_people_count(who: str) -> None:
    assert check_prompt(f"{who}, {SEXUAL}").rule == PERSON
    assert check_prompt(f"{who} on a bicycle").allowed


def test_an_enrolled_name_counts_in_any_spelling() -> None:
    for name in ("ilsabet quornby", "i l s a b e t  q u o r n b y", "1ls4b3t qu0rnby", "ilsabetquornby"):
        assert check_prompt(f"{name}, {SEXUAL}", people=["Ilsabet Quornby"]).rule == PERSON


def test_a_negative_prompt_is_not_held_against_the_prompt() -> None:
    assert check_prompt(LISTS["en"]["minors"][0], SEXUAL).allowed


def test_what_cannot_be_checked_is_refused_with_the_limit() -> None:
    with pytest.raises(PromptError, match=str(MOST_CHARACTERS)):
        check_prompt("x" * (MOST_CHARACTERS + 1))
    with pytest.raises(PromptError, match="negative"):
        check_prompt("", "x" * (MOST_CHARACTERS + 1))
    with pytest.raises(PromptError, match="surrogate"):
        check_prompt("\ud800")


@given(st.text(max_size=300))
def test_any_text_is_checked(text: str) -> None:
    if not any("\ud800" <= sign <= "\udfff" for sign in text):
        verdict = check_prompt(text)
        assert verdict.allowed == (verdict.rule is None)
