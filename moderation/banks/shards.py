"""Indexes in processes of their own: each holds a share of the entries, all are asked, and all have to answer."""

import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pydantic import SecretStr

from detectors.signals import SIZES
from moderation.banks.index import Hashes
from moderation.banks.indexes import PERCEPTUAL, BankIndexes
from moderation.banks.records import PDQ_RADIUS
from moderation.errors import AuthenticationError, FetchError, InvalidRequestError, ModerationError, SettingsError
from moderation.fetch import SafeClient

MOST_HASHES = 4_096
ANSWER_BYTES = 16_000_000


class ShardError(ModerationError):
    """An index process did not answer: what it holds is not known, so nothing is decided without it."""

    code = "index_unavailable"
    status = 503


@dataclass(frozen=True)
class Question:
    """What an index process is asked."""

    tenant: str
    kind: str
    radius: int
    hashes: Hashes

    def encode(self) -> bytes:
        packed = base64.b64encode(np.ascontiguousarray(self.hashes).tobytes()).decode()
        return json.dumps({"tenant": self.tenant, "kind": self.kind, "radius": self.radius, "hashes": packed}).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Question":
        """Raises InvalidRequestError."""
        try:
            said = json.loads(data)
            kind, radius = said["kind"], said["radius"]
            packed = base64.b64decode(said["hashes"], validate=True)
            hashes = np.frombuffer(packed, np.uint8).reshape(-1, SIZES[kind])
            fit = kind in PERCEPTUAL and 0 <= radius <= PDQ_RADIUS and len(hashes) <= MOST_HASHES
            tenant = str(said["tenant"])
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise InvalidRequestError(
                f"The question cannot be read: {type(error).__name__}.", hint="Ask by Palisade."
            ) from None
        if not fit:
            raise InvalidRequestError(f"{kind} within {radius} of {len(hashes)} hashes.", hint="Ask by Palisade.")
        return cls(tenant, kind, radius, hashes)


class ShardedSearch:
    """A `HashSearch` over index processes. Raises ShardError when one of them does not answer.

    urls: of the processes, `palisade banks serve-index` each, one for every share. They are reached through the SSRF-safe
    client, so a private network has to be among `PALISADE_FETCH_ALLOWED_NETWORKS`.
    """

    def __init__(self, urls: tuple[str, ...], client: SafeClient, secret: SecretStr | None) -> None:
        self.urls = urls
        self.client = client
        self.secret = shard_secret(secret)
        self._pool = ThreadPoolExecutor(max_workers=4 * len(urls), thread_name_prefix="bank shard")

    def near(self, tenant: str, kind: str, hashes: Hashes, radius: int) -> Iterable[int]:
        found: set[int] = set()
        for at in range(0, len(hashes), MOST_HASHES):
            body = Question(tenant, kind, radius, hashes[at : at + MOST_HASHES]).encode()
            for ids in self._pool.map(lambda url: self._ask(url, body), self.urls):  # noqa: B023 - awaited right here
                found |= ids
        return found

    def _ask(self, url: str, body: bytes) -> set[int]:
        headers = {"authorization": f"Bearer {self.secret}", "content-type": "application/json"}
        try:
            reply = self.client.request(
                "POST", f"{url.rstrip('/')}/search", max_bytes=ANSWER_BYTES, headers=headers, content=body
            )
            if reply.status != 200:
                raise ShardError(f"The index process {url} answered with status {reply.status}.", hint="See its log.")
            return set(json.loads(reply.data)["ids"])
        except (FetchError, ValueError, KeyError) as error:
            said = error.message if isinstance(error, FetchError) else "its answer cannot be read"
            raise ShardError(
                f"The index process {url} does not answer: {said}",
                hint="Is it running, and its network in PALISADE_FETCH_ALLOWED_NETWORKS?",
            ) from error


class ShardServer:
    """What an index process does with a question."""

    def __init__(self, indexes: BankIndexes, secret: SecretStr | None) -> None:
        self.indexes = indexes
        self.secret = shard_secret(secret)

    def answer(self, authorization: str, body: bytes) -> list[int]:
        """Ids of the entries of this share. Raises AuthenticationError, InvalidRequestError."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self.secret}".encode()):
            raise AuthenticationError(
                "The secret is wrong.", hint="Set the same PALISADE_BANK_SHARD_SECRET everywhere."
            )
        question = Question.decode(body)
        hits = self.indexes.snapshot(question.tenant).search(question.kind, question.hashes, question.radius)
        return sorted({int(number) for number in hits.ids})


def parse_shard(text: str) -> tuple[int, int]:
    """A share such as `0/4`: the first of four. Raises InvalidRequestError."""
    number, _, shards = text.partition("/")
    if not (number.isdecimal() and shards.isdecimal() and int(number) < int(shards) <= 1_000):
        raise InvalidRequestError(f"{text[:20]!r} is not a share.", hint="Write `0/4` to `3/4` for four of them.")
    return int(number), int(shards)


def shard_secret(secret: SecretStr | None) -> str:
    """Raises SettingsError where there is none, or one that could be guessed."""
    text = secret.get_secret_value() if secret else ""
    if len(text) < 20:
        raise SettingsError(
            "PALISADE_BANK_SHARD_SECRET is not set, or has fewer than 20 characters.",
            hint="Set the same long random text for all processes.",
        )
    return text
