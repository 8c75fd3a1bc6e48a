"""C2PA content credentials, through `c2pa-python`. Nothing is ever fetched: remote manifests are a fact, not a request.

Three facts that are kept apart: whether there is a manifest, whether it is valid for this file, and whether its signer
is on a trust list. (C2PA Technical Specification 2, sections 14 and 15.)
"""

import functools
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import c2pa

from detectors.errors import ModelError
from detectors.provenance.source_types import EDITED, GENERATED, term

MIME = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
    "HEIC": "image/heic",
    "TIFF": "image/tiff",
}
MARKS = (b"c2pa", b"jumb", b"provenance")
"""A file without any of these bytes has no manifest, embedded or remote, and is not handed to the reader."""
STORE = b"jumdc2pa"
"""How the box of a manifest store describes itself."""

OFFLINE = {
    "core": {"allowed_network_hosts": [], "allow_redirects": False, "decode_identity_assertions": False},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""No remote manifests, no revocation lists, no identities of other services (CAWG), whatever a file refers to."""

UNTRUSTED = re.compile(r"\.(un)?trusted$")


def read_anchors(path: Path) -> str:
    """The trust list in a PEM file, '' where there is no file. Raises ModelError when it holds no certificates."""
    if not path.is_file():
        return ""
    try:
        anchors = path.read_text("ascii")
        _offline(anchors)
    except (UnicodeDecodeError, c2pa.C2paError) as error:
        raise ModelError(
            f"The trust list {path} cannot be read: {error}.",
            hint="It holds certificates in PEM format, and nothing else.",
        ) from error
    return anchors


@functools.lru_cache(maxsize=4)
def _offline(anchors: str) -> c2pa.Context:
    trust = {"trust": {"trust_anchors": anchors}} if anchors else {}
    return c2pa.Context(settings=c2pa.Settings.from_dict(OFFLINE | trust))


def read_credentials(data: bytes, format: str, anchors: str = "") -> dict[str, Any] | None:
    """The evidence of a file's content credentials, None where it has none.

    `state` is 'valid', 'invalid' (the manifest does not fit the file, its signature or its certificate fails, or it
    cannot be read) or 'remote' (the file only names where its manifest would be). anchors: certificates (PEM) by which
    signers are trusted.
    """
    if format not in MIME or not any(mark in data for mark in MARKS):
        return None
    try:
        with c2pa.Reader(MIME[format], io.BytesIO(data), context=_offline(anchors)) as reader:
            return _describe(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        return _unreadable(str(error), has_store=STORE in data)
    except (ValueError, RecursionError) as error:
        return _evidence(state="invalid", problems=[f"the report of the manifest cannot be read: {error}"])


def _unreadable(message: str, *, has_store: bool) -> dict[str, Any] | None:
    url = re.search(r"remote manifests? from url (\S+)", message)
    if url:
        return _evidence(state="remote", remote_url=url.group(1))
    # A file that the reader cannot parse as an image says nothing of credentials, unless a manifest store is in sight.
    if not has_store and ("could not be parsed" in message or "InvalidAsset" in message):
        return None
    return _evidence(state="invalid", problems=[message[:300]])


def _describe(store: Mapping[str, Any], state: str | None) -> dict[str, Any]:
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    codes = [str(status.get("code", "")) for status in store.get("validation_status") or []]
    problems = [code for code in dict.fromkeys(codes) if not UNTRUSTED.search(code)]
    return _evidence(
        state="invalid" if state == "Invalid" or (state is None and problems) else "valid",
        trusted=state == "Trusted",
        signer=signature.get("issuer") or "",
        common_name=signature.get("common_name") or "",
        signed_at=signature.get("time") or "",
        generator=_generator(active),
        title=active.get("title") or "",
        actions=[action for action in dict.fromkeys(_actions(active)) if action],
        ingredients=len(active.get("ingredients") or []),
        manifests=len(manifests),
        problems=problems,
        **_origin(manifests, str(store.get("active_manifest"))),
    )


def _origin(manifests: Mapping[str, Any], active: str) -> dict[str, Any]:
    """What the manifests declare of the picture's source.

    A model made the whole of it where the active manifest says so, or where that says nothing and the manifest of what
    it was made from does. Any other mention, as by a picture that was placed in this one, is of a part.
    """
    declared = _of_picture(manifests, active)
    mentioned = [source for manifest in manifests.values() for source in _source_types(manifest)]
    generated = any(source in GENERATED for source in declared)
    ai = [source for source in mentioned if source in GENERATED | EDITED]
    return {
        "ai_generated": generated,
        "ai_edited": any(source in EDITED for source in declared) or bool(ai and not generated),
        "source_type": next(iter(declared + ai), ""),
    }


def _of_picture(manifests: Mapping[str, Any], label: str) -> list[str]:
    """The source types that a manifest declares, or the nearest of its parents that declares any."""
    seen = set[str]()
    while label in manifests and label not in seen:
        seen.add(label)
        declared = list(_source_types(manifests[label]))
        if declared:
            return declared
        ingredients = manifests[label].get("ingredients") or []
        parents = [part.get("active_manifest") for part in ingredients if part.get("relationship") == "parentOf"]
        label = str(next(iter(parents), ""))
    return []


def _evidence(**found: Any) -> dict[str, Any]:
    """Every field that policies may read, with what was found over it."""
    return {
        "state": "",
        "trusted": False,
        "signer": "",
        "ai_generated": False,
        "ai_edited": False,
        "source_type": "",
        "generator": "",
        "problems": [],
    } | found


def _generator(manifest: Mapping[str, Any]) -> str:
    if manifest.get("claim_generator"):
        return str(manifest["claim_generator"])
    infos = manifest.get("claim_generator_info") or []
    return " ".join(
        f"{info.get('name', '')} {info.get('version', '')}".strip() for info in infos if isinstance(info, dict)
    )


def _assertions(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for assertion in manifest.get("assertions") or []:
        data = assertion.get("data")
        if isinstance(data, dict):
            yield str(assertion.get("label", "")), data


def _all_actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for label, data in _assertions(manifest):
        if label.startswith("c2pa.actions"):
            yield from (action for action in data.get("actions") or [] if isinstance(action, dict))


def _actions(manifest: Mapping[str, Any]) -> Iterator[str]:
    return (str(action.get("action", "")) for action in _all_actions(manifest))


def _source_types(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The digital source types that a manifest's actions and metadata declare."""
    for action in _all_actions(manifest):
        parameters = action.get("parameters")
        nested = parameters.get("digitalSourceType") if isinstance(parameters, dict) else None
        declared = action.get("digitalSourceType") or nested
        if isinstance(declared, str):
            yield term(declared)
    for label, data in _assertions(manifest):
        for name, value in data.items():
            if not label.startswith("c2pa.actions") and name.endswith("DigitalSourceType") and isinstance(value, str):
                yield term(value)
