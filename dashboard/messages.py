"""Words for people, ready for translation: gettext, with English as what the code says.

A catalogue is `dashboard/locale/<language>/LC_MESSAGES/palisade.mo`. Where there is none, the words stay English.
"""

import gettext as catalogues
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
