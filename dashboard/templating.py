"""The templates of all pages."""

from pathlib import Path

from fastapi.templating import Jinja2Templates

from dashboard.messages import gettext, ngettext

templates = Jinja2Templates(directory=Path(__file__).with_name("templates"))
templates.env.add_extension("jinja2.ext.i18n")
templates.env.policies["ext.i18n.trimmed"] = True
templates.env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
