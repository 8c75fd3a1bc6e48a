"""The readings of a prompt: what a person sees in it, whatever letters, signs and spaces it is spelled with.

A reading is a text of folded words. Evasions are undone in all of them (compatibility forms, case, diacritics, characters
that are not seen) or in one more reading each (look-alike letters, digits for letters, letters apart).
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import product

_LOOK_ALIKE = {
    "a": "аαɑ@",
    "b": "ьвβƅ",
    "c": "сϲ¢ⅽ",
    "d": "ԁɗđ",
    "e": "еєε€ɛэ",
    "f": "ƒ",
    "g": "ɡց",
    "h": "һнհ",
    "i": "іιıɩ¡ǀ",
    "j": "јϳ",
    "k": "кκ",
    "l": "ӏℓł|",
    "m": "мμ",
    "n": "пηո",
    "o": "оοօσø",
    "p": "рρ",
    "q": "ԛ",
    "r": "гɾ",
    "s": "ѕ$ꜱʂ",
    "t": "тτ†",
    "u": "υսʋцμ",
    "v": "ѵν",
    "w": "ԝωш",
    "x": "хχ×",
    "y": "уγү",
    "z": "ᴢʐ",
}
SKELETON = str.maketrans({sign: letter for letter, signs in _LOOK_ALIKE.items() for sign in signs})
LEET = str.maketrans("0345679826+", "oeasgtgbzgt")
LEET_ONES = ("i", "l")
_SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏ", "abcdefghijklmnoprtuvwy", strict=True))
_FOLDED = str.maketrans({**_SMALL_CAPITALS, "ß": "ss", "œ": "oe", "æ": "ae", "ё": "е", "ı": "i", "ø": "o", "ł": "l"})

WORD = re.compile(r"[^\W_]+")
_APART = re.compile(r"(?<![^\W_])[^\W_](?:[\W_]{1,5}[^\W_])+(?![^\W_])")
"""Single letters with signs or spaces between them."""
MASKED = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?:[*#•·%?_][^\W\d_]*){1,3}(?<=[^\W\d_])(?![^\W_])")
"""Words with letters hidden behind signs."""
_INSIDE = re.compile(r"(?<=[^\W_])[^\w\s,;:!?()\[\]]{1,3}(?=[^\W_])|(?<=[^\W_])_{1,3}(?=[^\W_])")
"""Signs within a word."""
_REGIONAL = {0x1F1E6 + number: chr(ord("a") + number) for number in range(26)}


def fold(text: str) -> str:
    """Lower case, compatibility forms and diacritics undone, unseen characters dropped; the script is kept."""
    text = text.translate(_REGIONAL)
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    seen = (
        sign for sign in folded if unicodedata.category(sign) not in ("Mn", "Mc", "Me", "Cf", "Cc") or sign in "\n\t"
    )
    return "".join(seen).translate(_FOLDED)


def skeleton(folded: str) -> str:
    """Look-alike letters of other scripts as the Latin letters that they look like."""
    return folded.translate(SKELETON)


def readings(text: str) -> Iterator[str]:
    """Every reading of a text, the plain one first."""
    seen: dict[str, None] = {}
    folded = fold(text)
    for base in (folded, skeleton(folded)):
        joined = _join(base)
        letters = [base, *(_unleet(text, one) for text in (base, joined) for one in LEET_ONES)]
        for reading in letters:
            seen |= dict.fromkeys((reading, _join(reading), _INSIDE.sub("", reading), _INSIDE.sub(" ", reading)))
    yield from seen


def _unleet(text: str, one: str) -> str:
    """Digits and signs within words that have a letter, as letters: `one` is what 1 and ! stand for."""

    def letters(found: re.Match[str]) -> str:
        word = found.group()
        if not any(sign.isalpha() for sign in word):
            return word
        return word.translate(LEET).replace("1", one).replace("!", one)

    return re.sub(r"[^\W_](?:[\w+!]*[^\W_])?", letters, text)


def _join(text: str) -> str:
    """Letters that stand apart, joined."""
    return _APART.sub(lambda found: "".join(WORD.findall(found.group())), text)


def spelled(text: str) -> list[str]:
    """The runs of five and more letters that stand apart, each joined: where its words end is not known."""
    runs = ["".join(WORD.findall(found.group())) for found in _APART.finditer(text)]
    return [_unleet(run, one) for run in runs if len(run) >= 5 for one in LEET_ONES]


def unrepeated(word: str) -> Iterator[str]:
    """A word with its runs of a letter shortened to one or two, where it has any."""
    runs = [(match.group(1), len(match.group())) for match in re.finditer(r"(.)\1*", word)]
    if sum(length > 1 for _, length in runs) > 6:
        runs = [(letter, min(length, 1)) for letter, length in runs]
    choices = [(letter, letter * 2) if length > 1 else (letter,) for letter, length in runs]
    if any(length > 1 for _, length in runs):
        yield from ("".join(parts) for parts in product(*choices))
    elif len(runs) != len(word):
        yield "".join(letter for letter, _ in runs)
