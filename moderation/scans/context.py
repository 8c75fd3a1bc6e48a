"""Reads what a host says of an image, from forms, queries, JSON and manifests."""

from collections.abc import Mapping
from typing import Any, TypedDict

from moderation.errors import InvalidRequestError
from moderation.scans.service import HostContext

CONTEXT_LIMITS = {"external_id": 200, "uploader": 200, "surface": 100, "locale": 35}
FIELDS = (*CONTEXT_LIMITS, "policy", "reach", "consent")
MOST_REACH = 1_000_000_000


def host_context(values: Mapping[str, Any]) -> HostContext:
    """The host's context from form fields, query parameters or JSON. Raises InvalidRequestError."""
    found: dict[str, str] = {}
    for name, limit in CONTEXT_LIMITS.items():
        value = values.get(name)
        if value in (None, ""):
            continue
        if not isinstance(value, str) or len(value) > limit or not value.isprintable():
            raise InvalidRequestError(
                f"{name} is not text of at most {limit} printable characters.", hint="Shorten or encode it."
            )
        found[name] = value
    return HostContext(**found)


def policy_name(values: Mapping[str, Any]) -> str:
    """The name of the policy that was asked for, '' for the default. Raises InvalidRequestError."""
    value = values.get("policy") or ""
    if not isinstance(value, str) or len(value) > 100:
        raise InvalidRequestError("policy is not a name of at most 100 characters.")
    return value


class ReviewFacts(TypedDict):
    """What reviewers' cases and training need to know of an upload."""

    reach: int
    consent: bool


def review_facts(values: Mapping[str, Any]) -> ReviewFacts:
    """How far an image reaches, and whether it may train detectors (no, unless the host says so). Raises InvalidRequestError."""
    reach, consent = str(values.get("reach") or 0), str(values.get("consent") or "false").lower()
    if not (reach.isascii() and reach.isdigit() and len(reach) <= 10 and int(reach) <= MOST_REACH):
        raise InvalidRequestError(
            f"reach is {reach[:20]!r}.", hint=f"Send how many people saw the image or may, up to {MOST_REACH:,}."
        )
    if consent not in ("true", "false"):
        raise InvalidRequestError(f"consent is {consent[:20]!r}.", hint="Send `true` or `false`.")
    return {"reach": int(reach), "consent": consent == "true"}
