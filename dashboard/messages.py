"""Words for people, ready for translation: gettext, with English as what the code says.

A catalogue is `dashboard/locale/<language>/LC_MESSAGES/palisade.mo`. Where there is none, the words stay English.
"""

import gettext as catalogues
import re
from contextvars import ContextVar
from functools import cache
from pathlib import Path

LOCALE = Path(__file__).with_name("locale")

language: ContextVar[str] = ContextVar("language", default="en")
"""Of whoever asks for a page."""


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    return catalogues.translation("palisade", LOCALE, [code], fallback=True)


def gettext(message: str) -> str:
    """The words in the language of whoever asks."""
    return _catalogue(language.get()).gettext(message)


def ngettext(one: str, many: str, number: int) -> str:
    """The words for a number."""
    return _catalogue(language.get()).ngettext(one, many, number)


def marked(message: str) -> str:
    """Marks words that are translated where they are shown."""
    return message


VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d[\d,.]*\b")
"""What an error says of this case: quoted parts and numbers."""


def error_words(text: str) -> str:
    """What the domain's errors say, which is made before anybody knows who reads it.

    A catalogue has such a sentence with `{}` in the place of each quoted part and number, such as `There is no case {}.`
    """
    found = gettext(text) if text else ""
    if found != text:
        return found
    sentence = gettext(VALUES.sub("{}", text)) if text else ""
    values = iter(VALUES.findall(text))
    return re.sub(r"\{\}", lambda _: next(values, ""), sentence) if sentence else text
