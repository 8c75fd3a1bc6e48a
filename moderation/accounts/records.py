"""What accounts are made of, and the checks on what people enter."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from moderation.errors import InvalidRequestError
from moderation.roles import Person, Role
from moderation.settings import Settings
from moderation.tables import Account, AccountSession

LANGUAGES = {"en": "English"}

BLURS = (0, 8, 16, 28, 40)
"""Strengths of blur that a person may choose between, in pixels."""


@dataclass(frozen=True)
class Display:
    """How images are shown before somebody asks for more. blur: in pixels."""

    blur: int
    grey: bool
    small: bool

    @classmethod
    def of(cls, settings: Settings) -> "Display":
        """The team's."""
        return cls(settings.display_blur, settings.display_grey, settings.display_small)

    @classmethod
    def kept(cls, preferences: Mapping[str, Any]) -> "Display":
        """A person's own wishes."""
        return cls(
            int(preferences.get("blur", 0)), bool(preferences.get("grey", False)), bool(preferences.get("small", False))
        )

    def safer(self, other: "Display") -> "Display":
        """The safer of both in each respect: how a person's wishes and the team's setting are joined."""
        return Display(max(self.blur, other.blur), self.grey or other.grey, self.small or other.small)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SignedIn:
    """A session and who it is of, as they are now."""

    account: Account
    session: AccountSession
    person: Person
    display: Display
    token: str

    @property
    def language(self) -> str:
        return str(self.account.preferences.get("language", "en"))


def person_of(account: Account) -> Person:
    """Whom the rest of Palisade knows."""
    roles = frozenset(Role(role) for role in account.roles)
    queues = None if account.queues is None else frozenset(account.queues)
    return Person(account.id, account.tenant_id, account.name, roles, queues)


def state(account: Account) -> str:
    """`disabled`, `provider`, `enrolled` or `invited`."""
    if account.disabled_at:
        return "disabled"
    if account.subject:
        return "provider"
    return "enrolled" if account.enrolled_at else "invited"


def clean_name(text: str) -> str:
    """An account's name as it is kept: in lower case. Raises InvalidRequestError."""
    name = unicodedata.normalize("NFKC", text).strip().casefold()
    if not re.fullmatch(r"[\w.@+-]{2,100}", name):
        raise InvalidRequestError(
            f"{text[:40]!r} is not a name for an account.",
            hint="Use 2 to 100 letters, digits and `. @ + - _`, such as an e-mail address.",
        )
    return name


def clean_roles(values: Iterable[str]) -> list[str]:
    """Roles in the order of `Role`. Raises InvalidRequestError for none, and for one that is unknown."""
    asked = set(values)
    known = [role.value for role in Role]
    unknown = sorted(asked - set(known))
    if unknown or not asked:
        what = f"{unknown[0][:40]!r} is not a role." if unknown else "The account has no role."
        raise InvalidRequestError(what, hint=f"Roles are {', '.join(known)}.")
    return [role for role in known if role in asked]


def clean_queues(values: Iterable[str]) -> list[str] | None:
    """Names of queues, sorted; None, which is all of them, where none is named. Raises InvalidRequestError."""
    names = sorted({name for value in values if (name := value.strip())})
    wrong = next((name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name)), None)
    if wrong is not None:
        raise InvalidRequestError(
            f"{wrong[:40]!r} is not the name of a queue.", hint="Names are of small letters, digits and hyphens."
        )
    return names or None


def clean_preferences(blur: str, *, grey: bool, small: bool, language: str) -> dict[str, Any]:
    """A person's own wishes as they are kept. Raises InvalidRequestError."""
    if blur not in map(str, BLURS):
        raise InvalidRequestError(f"{blur[:20]!r} is not a strength of blur.", hint=f"Choose of {BLURS}.")
    if language not in LANGUAGES:
        raise InvalidRequestError(f"{language[:20]!r} is not a language here.", hint="Choose of those in the list.")
    return {**Display(int(blur), grey, small).as_dict(), "language": language}
