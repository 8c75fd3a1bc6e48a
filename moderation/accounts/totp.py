"""Time-based codes of authenticator apps (RFC 6238: SHA-1, six digits, 30 seconds), and recovery codes."""

import hashlib
import hmac
import re
import secrets
import time

import pyotp
import segno

ISSUER = "Palisade"

STEP = 30

DRIFT = 1
"""Time steps that a phone's clock may be off."""

RECOVERY_CODES = 10

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def new_secret() -> str:
    """160 random bits in base 32."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, *, after: int, now: float | None = None) -> int | None:
    """The time step that a code is of; None where it is wrong, or of a step that is not behind `after`: used already."""
    totp, current = pyotp.TOTP(secret), int(time.time() if now is None else now) // STEP
    matches = [
        step
        for step in range(current - DRIFT, current + DRIFT + 1)
        if hmac.compare_digest(totp.generate_otp(step), code) and step > after
    ]
    return max(matches, default=None)


def uri(secret: str, name: str) -> str:
    """What an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def qr_svg(text: str) -> str:
    """A QR code as an SVG element, dark on light whatever the theme, without any style attribute."""
    drawn: str = segno.make(text, error="m").svg_inline(scale=5, border=4, dark="#000", light="#fff", svgclass="qr")
    return drawn


def new_recovery_codes() -> list[str]:
    """Ten codes such as `k3f9-x2mw-7hqd-p8rt`, of 79 random bits each."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4)) for _ in range(RECOVERY_CODES)
    ]


def recovery_digest(account: str, code: str) -> str:
    """What is kept of a recovery code, however it was typed."""
    return hashlib.sha256(f"{account}\0{re.sub(r'[^a-z0-9]', '', code.casefold())}".encode()).hexdigest()


def digits(code: str) -> str:
    """The code with its spaces taken out."""
    return re.sub(r"\s", "", code)
