"""What a prompt asks for that is refused: sexual content with minors, or with people who exist."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from detectors.errors import ModerationError
from detectors.prompts.normalise import MASKED, WORD, fold, readings, spelled
from detectors.prompts.terms import KINDS, Lexicon, TermList, lexicon

MINORS = "sexual-content-with-minors"
PERSON = "sexual-content-with-a-person"
REASONS = {
    MINORS: "The prompt brings minors and sexual content together. This is always refused; there is no setting for it.",
    PERSON: "The prompt brings a person who may be real and sexual content together.",
}

MOST_CHARACTERS = 4_000
"""Of a prompt, and of a negative prompt: twenty times what a text encoder of 77 tokens reads."""
ADULT = 18
_AGE = re.compile(r"(?<!\d)(?<!\d[.,])(\d{1,2})\s{0,4}-?\s{0,4}([^\W\d_]+)")
_AGE_AFTER = re.compile(r"(?<![^\W\d_])([^\W\d_]+)\s{0,4}:?\s{0,4}(\d{1,2})(?!\d|[.,]\d)")
_UNDER = re.compile(r"(?<!\w)(?:under[\s-]*(?:1[0-8]|[1-9])|u-?1[0-8])(?!\d)")
_HANDLE = re.compile(r"(?<![\w.@])@[A-Za-z]\w{2,}")
_NAMES = re.compile(r"[^\W\d_][^\W\d_'’]*(?:[ \t-]+[^\W\d_][^\W\d_'’]*)+")
_BY = re.compile(r"(?:\bby|\bafter|\bstyle of|\bvon|\bpar|\bpor|\bdi|\bvan)\s+$", re.IGNORECASE)


class PromptError(ModerationError):
    """A prompt that cannot be checked."""

    code = "prompt_invalid"
    status = 422


@dataclass(frozen=True)
class PromptVerdict:
    """Whether a prompt may run. `rule`: the id of the rule that refuses it; `reason`: why, never with its words."""

    allowed: bool
    rule: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Text:
    """One reading: its words, the words without spaces, runs of letters that stood apart, and words with letters hidden."""

    words: Sequence[str]
    unspaced: str
    spelled: Sequence[str]
    masked: Sequence[str]


def check_prompt(prompt: str, negative: str = "", *, people: Sequence[str] = ()) -> PromptVerdict:
    """Check what a prompt asks for. What a negative prompt excludes is not asked for, so that only its length counts.

    people: names of people who are protected. Raises PromptError on a text that is too long or is not text.
    """
    for name, text in (("prompt", prompt), ("negative prompt", negative)):
        _check_text(name, text)
    words = lexicon()
    texts = [_text(reading, words) for reading in readings(prompt)]
    if not any(_has(text, words, "sexual") for text in texts):
        return PromptVerdict(True)
    if _minors(prompt, texts, words):
        return PromptVerdict(False, MINORS, REASONS[MINORS])
    if _person(prompt, texts, words, people):
        return PromptVerdict(False, PERSON, REASONS[PERSON])
    return PromptVerdict(True)


def _check_text(name: str, text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise PromptError(
            f"The {name} has {len(text)} characters; {MOST_CHARACTERS} are allowed.",
            hint="Shorten it.",
            code="prompt_too_long",
        )
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise PromptError(f"The {name} is not valid Unicode: it holds half a surrogate pair.", hint="Send UTF-8.")


def _text(reading: str, words: Lexicon) -> _Text:
    found = WORD.findall(reading)
    spaced = f" {' '.join(found)} "
    for pair in words.neutral:
        spaced = spaced.replace(f" {pair} ", " ")
    return _Text(spaced.split(), "".join(found), spelled(reading), MASKED.findall(reading))


def _has(text: _Text, words: Lexicon, kind: str) -> bool:
    terms = words[kind]
    if terms.within(text.unspaced) or any(terms.has(word) for word in text.words):
        return True
    if any(terms.inside(run) for run in text.spelled) or any(terms.hidden(word) for word in text.masked):
        return True
    if any(terms.has_swapped(word) for word in text.words):
        return True
    return any(terms.has(joined) for joined in _joined(text, words)) or any(
        terms.has(part) for word in text.words for part in _parts(word, words)
    )


def _joined(text: _Text, words: Lexicon) -> Iterator[str]:
    """Neighbouring pieces as one word, where they are not all words of their own."""
    for count in (2, 3):
        for start in range(len(text.words) - count + 1):
            pieces = text.words[start : start + count]
            joined = "".join(pieces)
            everyday = all(piece in words.fragments for piece in pieces) or (
                pieces[0] in words.fragments and not any(words[kind].spells(joined) for kind in KINDS)
            )
            short = min(len(piece) for piece in pieces) <= 3 or len(joined) >= 7
            if short and not everyday and 4 <= len(joined) <= 16 and joined.isalpha():
                yield joined


def _parts(word: str, words: Lexicon) -> Iterator[str]:
    """The terms that a word is put together of: both halves are terms."""
    if not 6 <= len(word) <= 30:
        return
    both = words["minors"], words["sexual"]
    for at in range(3, len(word) - 2):
        left, right = word[:at], word[at:]
        if any(left in terms.words for terms in both) and any(right in terms.words for terms in both):
            yield left
            yield right


def _minors(prompt: str, texts: Sequence[_Text], words: Lexicon) -> bool:
    return any(_has(text, words, "minors") for text in texts) or _says_an_age(fold(prompt), texts, words)


def _says_an_age(folded: str, texts: Sequence[_Text], words: Lexicon) -> bool:
    """Whether an age under 18 is said, in digits or in words."""
    folded = " ".join(folded.split())
    years, aged, numbers = words["years"], words["aged"], words["numbers"]
    if any(
        int(found[1]) < ADULT and (years.has(found[2]) or years.within(found[2])) for found in _AGE.finditer(folded)
    ):
        return True
    if any(int(found[2]) < ADULT and aged.has(found[1]) for found in _AGE_AFTER.finditer(folded)):
        return True
    if _UNDER.search(folded):
        return True
    pairs = [pair for text in texts for pair in pairwise(text.words)]
    return any((numbers.has(a) and years.has(b)) or (aged.has(a) and numbers.has(b)) for a, b in pairs)


def _person(prompt: str, texts: Sequence[_Text], words: Lexicon, people: Sequence[str]) -> bool:
    if _HANDLE.search(prompt) or _names_somebody(prompt, words):
        return True
    if any(_has(text, words, "roles") or _names_a_relation(text, words) for text in texts):
        return True
    return _names_one_of(people, texts)


def _names_a_relation(text: _Text, words: Lexicon) -> bool:
    """Whether somebody is said to be the writer's own: `my` and a relation within two words."""
    mine, relations = words["possessives"], words["relations"]
    if mine.within(text.unspaced) and relations.within(text.unspaced):
        return True
    return any(
        mine.has(word) and any(relations.has(next_word) for next_word in text.words[at + 1 : at + 3])
        for at, word in enumerate(text.words)
    )


def _names_somebody(prompt: str, words: Lexicon) -> bool:
    """Whether two words in a row are written as a person's name is; artists and places are not."""
    lists = [words[kind] for kind in ("sexual", "minors", "roles", "relations")]
    shouted = prompt.isupper()
    for found in _NAMES.finditer(prompt):
        names = re.split(r"[\s-]+", found.group())
        likely = [
            name[0].isupper() and not shouted and not _everyday(fold(name), words, lists) and len(name) > 1
            for name in names
        ]
        if any(a and b for a, b in pairwise(likely)):
            before = prompt[: found.start() + found.group().find(names[likely.index(True)])]
            if not _BY.search(before):
                return True
    return False


def _everyday(name: str, words: Lexicon, lists: Sequence[TermList]) -> bool:
    return name in words.capitals or any(terms.has(name) for terms in lists)


def _names_one_of(people: Sequence[str], texts: Sequence[_Text]) -> bool:
    """Whether an enrolled name is in a reading, all of its words in a row."""
    for name in people:
        wanted = " ".join(WORD.findall(fold(name)))
        joined = wanted.replace(" ", "")
        if len(joined) < 3:
            continue
        for text in texts:
            if f" {wanted} " in f" {' '.join(text.words)} " or (len(joined) >= 8 and joined in text.unspaced):
                return True
            if not joined.isascii() and joined in text.unspaced:
                return True
    return False
