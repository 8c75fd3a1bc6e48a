"""The templates of all pages."""

from pathlib import Path

from fastapi.templating import Jinja2Templates

from dashboard import words
from dashboard.messages import error_words, gettext, ngettext

templates = Jinja2Templates(directory=Path(__file__).with_name("templates"))
templates.env.add_extension("jinja2.ext.i18n")
templates.env.policies["ext.i18n.trimmed"] = True
templates.env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
templates.env.globals.update(
    {
        made.__name__: made
        for made in (
            words.label_words,
            words.harm_words,
            words.fpr_words,
            words.age_words,
            words.day_words,
            words.moment_words,
            words.stranger_words,
            words.bits_words,
            words.provenance_words,
            words.facts,
            error_words,
        )
    }
)
