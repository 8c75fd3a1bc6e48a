"""The exchanges that can be read, and what each needs to be told."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from pydantic import SecretStr, ValidationError
from threatexchange.exchanges.clients.fb_threatexchange.api import ThreatExchangeAPI
from threatexchange.exchanges.clients.ncmec.hash_api import NCMECEnvironment
from threatexchange.exchanges.clients.stopncii.api import StopNCIIAPI

from moderation.errors import InvalidRequestError
from moderation.exchanges.changes import Change, Page, Peer
from moderation.exchanges.listfile import FileConfig, ListFile
from moderation.exchanges.meta import ThreatExchange, ThreatExchangeConfig, ThreatExchangeSecrets
from moderation.exchanges.ncmec import Ncmec, NcmecConfig, NcmecSecrets
from moderation.exchanges.remote import Strict
from moderation.exchanges.stopncii import StopNcii, StopNciiConfig, StopNciiSecrets
from moderation.exchanges.transport import Limits, SafeAdapter
from moderation.fetch import SafeClient

__all__ = ["CONFIGS", "SECRETS", "Change", "Page", "Peer", "peer"]

CONFIGS: dict[str, type[Strict]] = {
    "file": FileConfig,
    "ncmec": NcmecConfig,
    "stopncii": StopNciiConfig,
    "threatexchange": ThreatExchangeConfig,
}
"""The configuration that each kind of exchange takes: it is kept and shown, and holds no credentials."""

SECRETS: dict[str, type[Strict]] = {
    "file": Strict,
    "ncmec": NcmecSecrets,
    "stopncii": StopNciiSecrets,
    "threatexchange": ThreatExchangeSecrets,
}
"""The credentials that each kind of exchange needs."""

Model = TypeVar("Model", bound=Strict)


def peer(
    kind: str,
    config: Mapping[str, object],
    client: SafeClient,
    secrets: Mapping[str, str | SecretStr] | None = None,
    *,
    name: str = "",
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Peer:
    """The exchange of that kind, ready to be read. name: how errors call it; its kind by default.

    Raises InvalidRequestError (`exchange_invalid`) for an unknown kind, and for a configuration or credentials that
    cannot be used, naming each field and never its value. clock, sleep: what waiting for a busy peer goes by.
    """
    if kind not in CONFIGS:
        raise _invalid(f"There is no exchange of the kind {kind[:40]!r}.", f"Take one of {', '.join(CONFIGS)}.")
    read = _read(CONFIGS[kind], config, f"configuration of the {kind} exchange")
    keys = _read(SECRETS[kind], secrets or {}, f"credentials of the {kind} exchange")
    if isinstance(read, FileConfig):
        return ListFile(name or kind, read)
    return _remote(name or kind, read, keys, partial(SafeAdapter, client, clock=clock, sleep=sleep))


def _remote(name: str, config: Strict, secrets: Strict, connect: Callable[[str, Limits], SafeAdapter]) -> Peer:
    match config, secrets:
        case NcmecConfig(), NcmecSecrets():
            base = config.url or NCMECEnvironment[config.environment].value
            return Ncmec(name, config, secrets, connect(base, config.limits))
        case StopNciiConfig(), StopNciiSecrets():
            return StopNcii(name, config, secrets, connect(config.url or StopNCIIAPI.BASE_URL, config.limits))
        case ThreatExchangeConfig(), ThreatExchangeSecrets():
            base = config.url or ThreatExchangeAPI._TE_BASE_URL
            return ThreatExchange(name, config, secrets, connect(base, config.limits))
    raise TypeError(f"{type(config).__name__} and {type(secrets).__name__} belong to no exchange")


def _read(model: type[Model], given: Mapping[str, object], what: str) -> Model:
    """The fields that were given, checked. The error says where and why, and not what."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        reasons = [
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors(include_input=False)
        ]
    fields = ", ".join(model.model_fields) or "none"
    raise _invalid(f"The {what} cannot be used: {'; '.join(reasons)}.", f"It takes the fields: {fields}.")


def _invalid(message: str, hint: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="exchange_invalid", hint=hint)
