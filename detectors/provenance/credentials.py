"""C2PA content credentials, through `c2pa-python`. Nothing is ever fetched: remote manifests are a fact, not a request.

Three facts that are kept apart: whether there is a manifest, whether it is valid for this file, and whether its signer
is on a trust list. (C2PA Technical Specification 2, sections 14 and 15.)
"""

import functools
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import c2pa

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

UNTRUSTED = re.compile(r"\.(un)?trusted$")
GENERATED = ("trainedAlgorithmicMedia", "algorithmicMedia")
COMPOSITE = ("compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")


@functools.cache
def _offline() -> c2pa.Context:
    settings = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    return c2pa.Context(settings=c2pa.Settings.from_dict(settings))


def read_credentials(data: bytes, format: str) -> dict[str, Any] | None:
    """The evidence of a file's content credentials, None where it has none.

    `state` is 'valid', 'invalid' (the manifest does not fit the file, its signature or its certificate fails, or it
    cannot be read) or 'remote' (the file only names where its manifest would be).
    """
    if format not in MIME or not any(mark in data for mark in MARKS):
        return None
    try:
        with c2pa.Reader(MIME[format], io.BytesIO(data), context=_offline()) as reader:
            return _describe(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        return _unreadable(str(error))


def _unreadable(message: str) -> dict[str, Any] | None:
    url = re.search(r"remote manifests? from url (\S+)", message)
    if url:
        return _evidence(state="remote", remote_url=url.group(1))
    # A file that the reader cannot parse as an image says nothing of credentials.
    if "could not be parsed" in message or "InvalidAsset" in message:
        return None
    return _evidence(state="invalid", problems=[message[:300]])


def _describe(store: Mapping[str, Any], state: str | None) -> dict[str, Any]:
    manifests = store.get("manifests") or {}
    active = manifests.get(store.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    codes = [str(status.get("code", "")) for status in store.get("validation_status") or []]
    # What the active manifest declares is of this picture; only where it declares nothing do its ingredients speak.
    declared = list(_source_types([active])) or list(_source_types(manifests.values()))
    names = [source.rsplit("/", 1)[-1] for source in declared]
    return _evidence(
        state="invalid" if state == "Invalid" else "valid",
        trusted=state == "Trusted",
        signer=signature.get("issuer") or "",
        common_name=signature.get("common_name") or "",
        signed_at=signature.get("time") or "",
        ai_generated=any(name in GENERATED for name in names),
        ai_edited=any(name in COMPOSITE for name in names),
        source_type=next(iter(names), ""),
        generator=_generator(active),
        title=active.get("title") or "",
        actions=[action for action in dict.fromkeys(_actions(active)) if action],
        ingredients=len(active.get("ingredients") or []),
        manifests=len(manifests),
        problems=[code for code in dict.fromkeys(codes) if not UNTRUSTED.search(code)],
    )


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


def _all_actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for assertion in manifest.get("assertions") or []:
        data = assertion.get("data")
        if str(assertion.get("label", "")).startswith("c2pa.actions") and isinstance(data, dict):
            yield from (action for action in data.get("actions") or [] if isinstance(action, dict))


def _actions(manifest: Mapping[str, Any]) -> Iterator[str]:
    return (str(action.get("action", "")) for action in _all_actions(manifest))


def _source_types(manifests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The digital source types that the actions of manifests declare."""
    for manifest in manifests:
        for action in _all_actions(manifest):
            declared = action.get("digitalSourceType") or (action.get("parameters") or {}).get("digitalSourceType")
            if isinstance(declared, str):
                yield declared
