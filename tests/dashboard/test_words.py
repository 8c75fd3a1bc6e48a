"""Words that people read are ready for translation, and browsers are named as people know them."""

import gettext
import re
from pathlib import Path

import pytest

from dashboard import messages
from dashboard.clients import browser_words
from dashboard.templating import templates

FOLDER = Path(messages.__file__).with_name("templates")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_words_that_cannot_be_translated(path: Path) -> None:
    text = re.sub(r"\{% trans.*?\{% endtrans %\}", "", path.read_text(), flags=re.S)
    text = re.sub(r"<(code|title)\b.*?</\1>", "", text, flags=re.S)
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>", "", text, flags=re.S)

    assert re.findall(r"[A-Za-z]{2,}", text.replace("Palisade", "")) in ([], ["UTC"])


def test_the_words_of_a_template_can_be_extracted() -> None:
    source = (FOLDER / "sign_in.html").read_text()

    words = [found[2] for found in templates.env.extract_translations(source)]  # type: ignore[attr-defined]
    assert "Sign in" in words
    assert "Password" in words


def test_a_catalogue_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class German(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return {"Sign in": "Anmelden"}.get(message, message)

    monkeypatch.setattr(messages, "_catalogue", {"de": German(), "en": gettext.NullTranslations()}.__getitem__)
    token = messages.language.set("de")
    shown = templates.env.from_string(
        "{{ _('Sign in') }} {% trans n=2 %}one{% pluralize %}{{ n }}{% endtrans %}"
    ).render()
    messages.language.reset(token)

    assert shown == "Anmelden 2"
    assert templates.env.from_string("{{ _('Sign in') }}").render() == "Sign in"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0", "Firefox on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) CriOS/140.0 Mobile Safari/604.1", "Chrome on iPhone"),
        ("curl/8.0", "curl/8.0"),
        ("", "Unknown browser"),
    ],
)  # fmt: skip
def test_browsers_are_named_as_people_know_them(agent: str, words: str) -> None:
    assert browser_words(agent) == words
