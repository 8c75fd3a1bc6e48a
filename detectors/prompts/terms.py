"""The lists of single terms, by language, and whether a word is one of a list."""

import functools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectors.prompts.normalise import WORD, fold, skeleton, unrepeated

FOLDER = Path(__file__).with_name("terms")
UNSPACED = ("ja", "zh")
"""Languages that are written without spaces: their terms are looked for anywhere."""
PREFIXES = ("وال", "بال", "ال", "لل", "و", "ب")
"""What Arabic writes together with the word after it."""
MASKS = "*#•·%?_"
"""Signs that stand for a letter that is not written."""
KINDS = ("minors", "sexual", "roles", "relations", "possessives", "years", "aged", "numbers")


@dataclass(frozen=True)
class TermList:
    """Folded terms of one kind: whole words, beginnings of words, and pieces of unspaced text."""

    words: frozenset[str]
    beginnings: tuple[str, ...]
    pieces: tuple[str, ...]

    @classmethod
    def of(cls, terms: Iterable[str], pieces: Iterable[str]) -> "TermList":
        folded = {_key(term) for term in terms}
        keys = folded | {skeleton(term) for term in folded}
        return cls(
            frozenset(term for term in keys if not term.endswith("*")),
            tuple(sorted(term[:-1] for term in keys if term.endswith("*"))),
            tuple(sorted({_key(piece) for piece in pieces})),
        )

    def has(self, word: str) -> bool:
        """Whether a folded word is a term, with a prefix or letters repeated if need be."""
        if self._is(word):
            return True
        if any(word.startswith(prefix) and self._is(word[len(prefix) :]) for prefix in PREFIXES):
            return True
        return any(self._is(shorter) for shorter in unrepeated(word))

    def _is(self, word: str) -> bool:
        return word in self.words or word.startswith(self.beginnings)

    def has_swapped(self, word: str) -> bool:
        """Whether a word of five letters and more is a term with two neighbouring letters swapped, not the first."""
        if not 5 <= len(word) <= 16 or not word.isalpha():
            return False
        return any(
            self._is(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
            for at in range(1, len(word) - 1)
            if word[at] != word[at + 1]
        )

    def inside(self, run: str) -> bool:
        """Whether a run of letters, whose words are not known apart, holds a term of three letters and more."""
        return any(len(term) >= 3 and term in run for terms in (self.words, self.beginnings) for term in terms)

    def hidden(self, masked: str) -> bool:
        """Whether a word with signs for some of its letters may be a term of four letters and more."""
        if len(masked) < 4:
            return False
        pattern = re.compile("".join(sign if sign.isalpha() else "." for sign in masked))
        if any(pattern.fullmatch(term) for term in self._alike.get((masked[0], len(masked)), ())):
            return True
        beginnings = (term for term in self.beginnings if 4 <= len(term) <= len(masked))
        return any(all(a in (b, *MASKS) for a, b in zip(masked, term, strict=False)) for term in beginnings)

    @functools.cached_property
    def _alike(self) -> Mapping[tuple[str, int], Sequence[str]]:
        """The whole words by first letter, which is never hidden, and length."""
        alike = defaultdict[tuple[str, int], list[str]](list)
        for word in self.words:
            alike[word[:1], len(word)].append(word)
        return alike

    def spells(self, word: str) -> bool:
        """Whether a word is a term, or the beginning that stands for many, letter for letter."""
        return word in self.words or word in self.beginnings

    def within(self, unspaced: str) -> bool:
        """Whether a text without spaces holds a piece."""
        return any(piece in unspaced for piece in self.pieces)


@dataclass(frozen=True)
class Lexicon:
    """All lists, and the everyday language that they are kept from."""

    kinds: Mapping[str, TermList]
    neutral: tuple[str, ...]
    capitals: frozenset[str]
    fragments: frozenset[str]

    def __getitem__(self, kind: str) -> TermList:
        return self.kinds[kind]


def languages() -> dict[str, dict[str, Sequence[str]]]:
    """The lists as they are written, by language."""
    files = sorted(path for path in FOLDER.glob("*.toml") if path.stem != "common")
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in files}


@functools.cache
def lexicon() -> Lexicon:
    """The shipped lists, read once."""
    lists = languages()
    common = tomllib.loads((FOLDER / "common.toml").read_text("utf-8"))
    kinds = {
        kind: TermList.of(
            (term for name, terms in lists.items() if name not in UNSPACED for term in terms[kind]),
            (term for name in UNSPACED for term in lists[name][kind]),
        )
        for kind in KINDS
    }
    neutral = tuple(" ".join(WORD.findall(fold(pair))) for pair in common["neutral"])
    return Lexicon(kinds, neutral, frozenset(common["capitals"]), frozenset(fold(word) for word in common["fragments"]))


def _key(term: str) -> str:
    end = "*" if term.endswith("*") else ""
    return "".join(WORD.findall(fold(term))) + end
