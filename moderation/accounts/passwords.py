"""Passwords: what is accepted, and Argon2id hashes of them."""

import re
import threading
import unicodedata
from functools import cache

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from moderation.errors import InvalidRequestError, RateLimitError

SHORTEST, LONGEST = 12, 200

COMMONEST = (
    "password", "passwort", "motdepasse", "contrasena", "qwertyuiop", "qwerty", "azerty", "asdfghjkl", "zxcvbnm", "1q2w3e4r",
    "1qaz2wsx", "123456789", "987654321", "123123", "12345678", "123456", "12345", "1234", "abcdef", "abc123", "letmein",
    "iloveyou", "welcome", "administrator", "admin", "login", "master", "dragon", "monkey", "sunshine", "princess", "football",
    "baseball", "superman", "trustno1", "changeme", "secret", "default", "palisade", "moderator", "moderation", "reviewer",
)  # fmt: skip
"""What the commonest passwords are made of. A password has to hold something besides."""

SHORTEST_NAME = 4
"""Shorter names are parts of many words."""

REMAINDER = 6
"""Characters that have to be left of a password without its commonest parts and its repetitions."""

# RFC 9106's second recommendation, on one lane; a hash takes about 170 ms of one core and 64 MiB.
_hasher = argon2.PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)

AT_ONCE, PATIENCE = 4, 10.0
_turns = threading.BoundedSemaphore(AT_ONCE)


@cache
def _nobodys() -> str:
    """What is compared with where there is no hash. Not made on import: most commands never need it."""
    return _hasher.hash("nobody has this password")


def check_password(password: str, *, name: str) -> None:
    """Raises InvalidRequestError saying what a new password lacks. There are no rules of composition: length is what helps."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequestError(
            f"The password has {len(password)} characters.", hint=f"Choose one of {SHORTEST} to {LONGEST}."
        )
    folded = _folded(password)
    own = _folded(name.partition("@")[0])
    if len(own) >= SHORTEST_NAME and own in folded:
        raise InvalidRequestError("The password holds your name.", hint="Choose one that does not.")
    rest = re.sub("|".join(map(re.escape, COMMONEST)), "", folded)
    rest = re.sub(r"(.+?)\1+", r"\1", rest)
    if len(rest) < REMAINDER:
        raise InvalidRequestError(
            "The password is one of those that are tried first.", hint="Choose several unrelated words."
        )


def hash_password(password: str) -> str:
    """Its Argon2id hash, with salt and parameters."""
    with _Turn():
        return _hasher.hash(_normal(password))


def verify_password(hashed: str, password: str) -> bool:
    """Whether the password is right. Takes as long for an account without one, which is never right."""
    with _Turn():
        try:
            return _hasher.verify(hashed or _nobodys(), _normal(password[: LONGEST + 1])) and bool(hashed)
        except (VerificationError, InvalidHashError):
            return False


class _Turn:
    """Few hashes at once: each holds 64 MiB, and the others' requests need the cores. Raises RateLimitError."""

    def __enter__(self) -> None:
        if not _turns.acquire(timeout=PATIENCE):
            raise RateLimitError("Too many people sign in at this moment.", retry_after=5, hint="Try again.")

    def __exit__(self, *_: object) -> None:
        _turns.release()


def _normal(text: str) -> str:
    """The same characters whichever keyboard they come from."""
    return unicodedata.normalize("NFKC", text)


def _folded(text: str) -> str:
    return _normal(text).casefold()
