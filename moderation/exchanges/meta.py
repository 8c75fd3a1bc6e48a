"""Meta's ThreatExchange: the updates of one privacy group, in the order of their time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests
from pydantic import Field, SecretStr, field_validator
from threatexchange.exchanges.clients.fb_threatexchange.api import ThreatExchangeAPI, is_valid_app_token
from threatexchange.exchanges.clients.fb_threatexchange.threat_updates import ThreatUpdateJSON
from threatexchange.exchanges.fetch_state import AggregateSignalOpinionCategory
from threatexchange.exchanges.impl.fb_threatexchange_api import (
    FBThreatExchangeCheckpoint,
    FBThreatExchangeIndicatorRecord,
)

from moderation.exchanges.changes import Change, MalformedError, Page, labelled, signal, text
from moderation.exchanges.remote import Checkpoint, RemoteConfig, RemotePeer, Strict, now, shape, shortened
from moderation.exchanges.transport import BrokenError, SafeAdapter, fetched, session

KINDS = {"HASH_PDQ": "pdq", "HASH_MD5": "md5", "HASH_VIDEO_MD5": "md5", "HASH_SHA256": "sha256"}


class ThreatExchangeConfig(RemoteConfig):
    privacy_group: int = Field(ge=1, description="Number of the privacy group that is read.")
    page_size: int = Field(100, ge=1, le=1_000, description="Records of one page.")


class ThreatExchangeSecrets(Strict):
    api_token: SecretStr

    @field_validator("api_token")
    @classmethod
    def _formed(cls, value: SecretStr) -> SecretStr:
        if not is_valid_app_token(value.get_secret_value()):
            raise ValueError("it is not an app token, which is the app's number, a bar and its secret")
        return value


class ThreatExchangeCheckpoint(Checkpoint):
    """since: the time of the newest update that was read. fetched: when."""

    since: int = Field(ge=0)
    fetched: int

    @property
    def stale(self) -> bool:
        return FBThreatExchangeCheckpoint(self.since, self.fetched).is_stale()


class _Client(ThreatExchangeAPI):
    """The library's client, which would call `requests.get` outside its own session."""

    def __init__(self, adapter: SafeAdapter, token: str, url: str | None) -> None:
        super().__init__(token, endpoint_override=url)
        self._adapter = adapter

    def get_json_from_url(
        self,
        url: str,
        params: Mapping[str, Any] | None = None,
        *,
        json_obj_hook: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Any:
        with session(self._adapter) as opened:
            answer = fetched(opened, url, params)
        try:
            return answer.json(object_hook=json_obj_hook)
        except requests.JSONDecodeError:
            pass
        raise BrokenError("its page is not JSON")


class ThreatExchange(RemotePeer):
    """Reads the updates since, oldest first. The page links hold the token, so that only times are kept of them."""

    def __init__(
        self, name: str, config: ThreatExchangeConfig, secrets: ThreatExchangeSecrets, adapter: SafeAdapter
    ) -> None:
        super().__init__(name)
        self._config = config
        self._client = _Client(adapter, secrets.api_token.get_secret_value(), config.url)

    def _pages(self, checkpoint: str | None) -> Iterator[Page]:
        mark = ThreatExchangeCheckpoint.read(checkpoint, self._config.identity)
        restarted, newest = mark is None, mark.since if mark else 0
        for records, done in self._batches(newest):
            times = [_time(record) for record in records]
            newest = max([newest, *(min(time, now()) for time in times if time)])
            following = ThreatExchangeCheckpoint(of=self._config.identity, since=newest, fetched=now())
            yield self._page(records, following, done=done, restarted=restarted)
            restarted = False

    def _batches(self, since: int) -> Iterator[tuple[list[Any], bool]]:
        """Pages of records from the second `since` on, which may have been read in part, and whether each is the last."""
        cursor = self._client.get_threat_updates(
            self._config.privacy_group,
            start_time=since - 1 if since else None,
            page_size=self._config.page_size,
            fields=FBThreatExchangeIndicatorRecord.te_threat_updates_fields(),
        )
        url, params = cursor.next_url, cursor.params
        while url:
            answer = shape(self._client.get_json_from_url(url, params), dict, "its page")
            following = shape(answer.get("paging") or {}, dict, "paging").get("next")
            if following == url:
                raise BrokenError("its next page is the same page again")
            url, params = shape(following, str, "the next page") if following else "", {}
            yield shape(answer.get("data"), list, "data"), not url

    def _page(self, records: list[Any], mark: Checkpoint, *, done: bool, restarted: bool) -> Page:
        changes: list[Change] = []
        malformed: list[str] = []
        ignored = 0
        for number, record in enumerate(records, 1):
            try:
                change = _change(self._client.app_id, record)
            except MalformedError as error:
                malformed.append(f"record {number}: {error}")
                continue
            if change:
                changes.append(change)
            else:
                ignored += 1
        return Page(tuple(changes), mark.model_dump_json(), done, ignored, shortened(malformed), restarted)


def _time(record: object) -> int | None:
    said = record.get("last_updated") if isinstance(record, dict) else None
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _change(app: int, record: object) -> Change | None:
    """What the record says now; None where it is of a kind that is not taken.

    A record that no visible member stands behind, or that all say is harmless, is as good as withdrawn.
    """
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise MalformedError("it names no type")
    kind = KINDS.get(record["type"])
    if kind is None:
        return None
    value, entry = signal(kind, record.get("indicator")), f"{record['type']}:{text(record.get('indicator')).lower()}"
    try:
        held = FBThreatExchangeIndicatorRecord.from_threatexchange_json(app, ThreatUpdateJSON(record))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(f"its descriptors cannot be read ({type(error).__name__})") from None
    if held is None:
        return Change(kind, value, entry, withdrawn=True)
    opinion = held.get_as_aggregate_opinion()
    return Change(
        kind,
        value,
        entry,
        withdrawn=opinion.category is AggregateSignalOpinionCategory.NEGATIVE_CLASS,
        labels=labelled(opinion.tags),
        note=f"{opinion.category.name.lower().replace('_', ' ')} by {len(held.opinions)}",
    )
