"""StopNCII.org: hashes of intimate images that the people in them do not want shared."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from pydantic import Field, SecretStr
from threatexchange.exchanges.clients.stopncii.api import (
    StopNCIIAPI,
    StopNCIICaseStatus,
    StopNCIICSPFeedbackValue,
    StopNCIIEndpoint,
    StopNCIISignalType,
)
from threatexchange.exchanges.impl.stop_ncii_api import StopNCIICheckpoint

from moderation.exchanges.changes import Change, MalformedError, Page, labelled, signal, text
from moderation.exchanges.remote import Checkpoint, RemoteConfig, RemotePeer, Strict, now, shape, shortened
from moderation.exchanges.transport import FORGOTTEN, BrokenError, SafeAdapter, session

KINDS = {StopNCIISignalType.ImagePDQ.value: "pdq", StopNCIISignalType.VideoMD5.value: "md5"}
GONE = frozenset((StopNCIICaseStatus.Withdrawn.value, StopNCIICaseStatus.Deleted.value))
GONE_FEEDBACK = frozenset((StopNCIICSPFeedbackValue.Withdrawn.value, StopNCIICSPFeedbackValue.Deleted.value))
TOKEN_SECONDS = 3_600  # page tokens are not valid for long


class StopNciiConfig(RemoteConfig):
    page_size: int = Field(800, ge=1, le=5_000, description="Records of one page.")


class StopNciiSecrets(Strict):
    subscription_key: SecretStr = Field(min_length=1)
    fetch_function_key: SecretStr = Field(min_length=1)


class StopNciiCheckpoint(Checkpoint):
    """since: where the set that is being read begins. token: the next page of it, as of `fetched`."""

    since: int
    token: str = ""
    fetched: int

    @property
    def stale(self) -> bool:
        return StopNCIICheckpoint(self.since, self.fetched).is_stale()


class _Client(StopNCIIAPI):
    """The library's client, whose requests go through our adapter."""

    def __init__(self, adapter: SafeAdapter, secrets: StopNciiSecrets, url: str | None) -> None:
        subscription, function = (
            secrets.subscription_key.get_secret_value(),
            secrets.fetch_function_key.get_secret_value(),
        )
        super().__init__(subscription, function, base_url_override=url)
        self._adapter = adapter

    def _get_session(self, endpoint: StopNCIIEndpoint) -> requests.Session:
        made = session(self._adapter)
        made.headers["x-functions-key"] = self._function_keys[endpoint]
        made.headers["Ocp-Apim-Subscription-Key"] = self._subscription_key
        return made

    def page(self, since: int, token: str, size: int) -> dict[str, Any]:
        """One answer of FetchHashes as it came; the library's own reading of it loses withdrawals and records."""
        asked: dict[str, Any] = {"startTimestamp": since, "pageSize": size}
        if token:
            asked["nextPageToken"] = token
        try:
            found = self._get(StopNCIIEndpoint.FetchHashes, **asked)
        except requests.JSONDecodeError:
            found = None
        if found is None:
            raise BrokenError("its page is not JSON")
        return dict(shape(found, dict, "its page"))


class StopNcii(RemotePeer):
    """Reads sets of records, each set page by page, each record as it stands now."""

    def __init__(self, name: str, config: StopNciiConfig, secrets: StopNciiSecrets, adapter: SafeAdapter) -> None:
        super().__init__(name)
        self._config, self._client = config, _Client(adapter, secrets, config.url)

    def _pages(self, checkpoint: str | None) -> Iterator[Page]:
        resumed = StopNciiCheckpoint.read(checkpoint, self._config.identity)
        mark = resumed or StopNciiCheckpoint(
            of=self._config.identity, since=StopNCIIAPI.DEFAULT_START_TIME, fetched=now()
        )
        restarted = resumed is None
        mark, answer = self._first(mark)
        while True:
            mark, done = self._after(mark, answer), not answer["hasMoreRecords"]
            yield _page(answer, mark, done=done, restarted=restarted)
            if done:
                return
            restarted, answer = False, self._client.page(mark.since, mark.token, self._config.page_size)

    def _first(self, mark: StopNciiCheckpoint) -> tuple[StopNciiCheckpoint, dict[str, Any]]:
        """The page at the mark, and the mark; without its token where that is old, or forgotten by the peer."""
        size, start = self._config.page_size, mark.model_copy(update={"token": ""})
        if not mark.token or time.time() - mark.fetched > TOKEN_SECONDS:
            return start, self._client.page(mark.since, "", size)
        try:
            return mark, self._client.page(mark.since, mark.token, size)
        except BrokenError as error:
            if error.status not in FORGOTTEN:
                raise
        return start, self._client.page(mark.since, "", size)

    def _after(self, mark: StopNciiCheckpoint, answer: Mapping[str, Any]) -> StopNciiCheckpoint:
        """Where to go on: within a set by its token, since a set's timestamp counts once all of it has been read."""
        more, token = shape(answer.get("hasMoreRecords"), bool, "hasMoreRecords"), answer.get("nextPageToken") or ""
        following = shape(answer.get("nextSetTimestamp"), int, "nextSetTimestamp")
        if more and shape(token, str, "nextPageToken"):
            if token == mark.token:
                raise BrokenError("its next page is the same page again")
            return mark.model_copy(update={"token": token, "fetched": now()})
        if more and following <= mark.since:
            raise BrokenError("it has more records but does not say where")
        since = max(mark.since, min(following, now()))  # a time to come would hide what changes until then
        return mark.model_copy(update={"since": since, "token": "", "fetched": now()})


def _page(answer: Mapping[str, Any], mark: StopNciiCheckpoint, *, done: bool, restarted: bool) -> Page:
    changes: list[Change] = []
    malformed: list[str] = []
    records, ignored = shape(answer.get("hashRecords", []), list, "hashRecords"), 0
    for number, record in enumerate(records, 1):
        try:
            change = _change(record)
        except MalformedError as error:
            malformed.append(f"record {number}: {error}")
            continue
        if change:
            changes.append(change)
        else:
            ignored += 1
    return Page(tuple(changes), mark.model_dump_json(), done, ignored, shortened(malformed), restarted)


def _change(record: object) -> Change | None:
    """What the record says now; None where it is of a kind that is not taken."""
    if not isinstance(record, dict) or not isinstance(record.get("signalType"), str):
        raise MalformedError("it names no signalType")
    kind = KINDS.get(record["signalType"])
    if kind is None:
        return None
    value = signal(kind, record.get("hashValue"))
    status = record.get("hashStatus")
    if not isinstance(status, str):
        raise MalformedError("it has no hashStatus")
    feedbacks = [one for one in record.get("CSPFeedbacks") or [] if isinstance(one, dict)]
    return Change(
        kind,
        value,
        entry=f"{kind}:{value}",
        withdrawn=_withdrawn(status, record.get("caseNumbers"), feedbacks),
        labels=labelled([tag for one in feedbacks for tag in _tags(one)]),
        note=text("; ".join((f"status {status}", *sorted(map(_opinion, feedbacks))))),
    )


def _tags(feedback: Mapping[str, Any]) -> list[object]:
    tags = feedback.get("tags")
    return tags if isinstance(tags, list) else []


def _opinion(feedback: Mapping[str, Any]) -> str:
    return f"{feedback.get('source') or 'a host'} says {feedback.get('feedbackValue')}"


def _withdrawn(status: str, cases: object, feedbacks: list[dict[str, Any]]) -> bool:
    """Whether nobody stands behind the hash any more.

    The status of the hash is the peer's own summary; where it lags, all cases have been withdrawn, or, of a hash that
    has none, all the feedback.
    """
    if status in GONE:
        return True
    if isinstance(cases, dict) and cases:
        return all(case in GONE for case in cases.values())
    return bool(feedbacks) and all(one.get("feedbackValue") in GONE_FEEDBACK for one in feedbacks)
