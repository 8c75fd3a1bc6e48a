"""NCMEC's hash sharing: fingerprints by record, changed and deleted records by time."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import requests
from pydantic import Field, SecretStr
from threatexchange.exchanges.clients.ncmec.hash_api import (
    FeedbackType,
    GetEntriesResponse,
    NCMECEntryUpdate,
    NCMECEnvironment,
    NCMECHashAPI,
    _XMLWrapper,
)
from threatexchange.exchanges.impl.ncmec_api import (
    NCMECCheckpoint,
    NCMECCollabConfig,
    NCMECSignalExchangeAPI,
    _NCMECPagingInfo,
)

from moderation.exchanges.changes import HEX_DIGITS, Change, MalformedError, Page, signal, text
from moderation.exchanges.remote import Checkpoint, RemoteConfig, RemotePeer, Strict, shortened
from moderation.exchanges.transport import FORGOTTEN, BrokenError, SafeAdapter, fetched, session

LAG = 5  # seconds before now up to which the library reads

Environment = Literal[
    "Industry", "Industry_Exploitative", "LawEnforcement", "NGO", "Exploitative", "NGO_Generative_AI",
    "NGO_Generative_AI_Exploitative", "test_Industry", "test_Industry_Exploitative", "test_LawEnforcement", "test_NGO",
    "test_Exploitative", "test_NGO_Generative_AI", "test_NGO_Generative_AI_Exploitative",
]  # fmt: skip


class NcmecConfig(RemoteConfig):
    environment: Environment = Field(description="Which of NCMEC's databases is read.")
    only_members: frozenset[int] = Field(
        frozenset(), description="Only take the records of these members, by number. Default: of all."
    )


class NcmecSecrets(Strict):
    user: SecretStr = Field(min_length=1)
    password: SecretStr = Field(min_length=1)


class NcmecCheckpoint(Checkpoint):
    """since: up to when everything has been read. page, until, at: within a span, its next page and its end, as of `at`."""

    since: int = Field(ge=0)
    page: str = ""
    until: int = 0
    at: int = 0

    @classmethod
    def of_library(cls, of: str, at: NCMECCheckpoint) -> "NcmecCheckpoint":
        paging = at.paging_info
        if paging is None:
            return cls(of=of, since=at.get_entries_max_ts)
        return cls(
            of=of,
            since=at.get_entries_max_ts,
            page=paging.paging_url,
            until=paging.paging_end_ts,
            at=paging.paging_url_ts,
        )

    def library(self) -> NCMECCheckpoint:
        """The library's own. A page of a span that ends this very second is not gone on from, which the library cannot."""
        if not self.page or self.until >= int(time.time()) - LAG:
            return NCMECCheckpoint(self.since)
        return NCMECCheckpoint(self.since, _NCMECPagingInfo(self.page, self.until, self.at))


class _Client(NCMECHashAPI):
    """The library's client, whose requests go through our adapter, whose times are UTC wherever it runs, and which
    leaves out a malformed record (`malformed`, of the last page) rather than the page.
    """

    def __init__(self, adapter: SafeAdapter, secrets: "NcmecSecrets", config: NcmecConfig) -> None:
        user, password = secrets.user.get_secret_value(), secrets.password.get_secret_value()
        super().__init__(user, password, NCMECEnvironment[config.environment])
        self._base_url = config.url or self._base_url
        self._adapter = adapter
        self.malformed: list[str] = []
        self.resumed = ""  # the page that this run began with; the peer may not know it any more

    def get_entries(self, *, start_timestamp: int = 0, end_timestamp: int = 0, next_: str = "") -> GetEntriesResponse:
        """One page of a span of time, or the page that another one named as `next_`."""
        try:
            answer = self._page(next_, {"from": _date(start_timestamp), "to": _date(end_timestamp)})
        except BrokenError as error:
            if not next_ or next_ != self.resumed or error.status not in FORGOTTEN:
                raise
            self.resumed = ""  # from the start of the span once only: the same link may come again
            return self.get_entries(start_timestamp=start_timestamp, end_timestamp=end_timestamp)
        root, self.malformed = _parsed(answer), []
        for group in (*root.findall("images"), *root.findall("videos")):
            self._sift(group)
        found = GetEntriesResponse.from_xml(_XMLWrapper(root), int(time.time()))
        if next_ and found.next == next_:
            raise BrokenError("its next page is the same page again")
        return found

    def _page(self, next_: str, span: dict[str, str]) -> requests.Response:
        if next_ and not next_.startswith("/"):
            raise BrokenError("its next page is not a path", "Tell the peer.")
        with session(self._adapter) as opened:
            opened.auth = (self.username, self.password)
            if next_:
                return fetched(opened, self._base_url + next_)
            return fetched(opened, f"{self._base_url}/{self.VERSION}/entries", span)

    def _sift(self, group: ET.Element) -> None:
        """Takes the records out of the group that the library cannot read."""
        _maximum(group)
        for number, record in enumerate(list(group), 1):
            try:
                NCMECEntryUpdate.from_xml(_XMLWrapper(record))
            except (AssertionError, IndexError, ValueError):
                self.malformed.append(f"{group.tag} {number} ({text(record.findtext('id'))}): it is not a record")
                group.remove(record)


class _Exchange(NCMECSignalExchangeAPI):
    """The library's flow control over our client."""

    def __init__(self, config: NcmecConfig, client: _Client) -> None:
        super().__init__(NCMECCollabConfig(environment=NCMECEnvironment[config.environment], name="ncmec"), "", "")
        self._client = client

    def get_client(self, environment: NCMECEnvironment) -> NCMECHashAPI:  # noqa: ARG002
        return self._client


class Ncmec(RemotePeer):
    """Reads the records that changed since, in spans that the library fits to their number."""

    def __init__(self, name: str, config: NcmecConfig, secrets: NcmecSecrets, adapter: SafeAdapter) -> None:
        super().__init__(name)
        self._config, self._client = config, _Client(adapter, secrets, config)
        self._exchange = _Exchange(config, self._client)

    def _pages(self, checkpoint: str | None) -> Iterator[Page]:
        mark = NcmecCheckpoint.read(checkpoint, self._config.identity)
        restarted = mark is None
        self._client.resumed = mark.page if mark else ""
        for delta in self._exchange.fetch_iter((), mark.library() if mark else None):
            mark = NcmecCheckpoint.of_library(self._config.identity, delta.checkpoint)
            yield self._page(list(delta.updates.values()), mark, restarted=restarted)
            restarted = False
        if mark is not None:
            yield Page((), mark.model_dump_json(), done=True, restarted=restarted)

    def _page(self, updates: list[NCMECEntryUpdate | None], mark: NcmecCheckpoint, *, restarted: bool) -> Page:
        changes: list[Change] = []
        malformed, ignored = list(self._client.malformed), 0
        for update in filter(None, updates):
            if self._config.only_members and update.member_id not in self._config.only_members:
                ignored += 1
                continue
            told, bad = _changes(update)
            changes += told
            malformed += bad
            ignored += not any(change.value for change in told) and not bad
        return Page(tuple(changes), mark.model_dump_json(), False, ignored, shortened(malformed), restarted)


def _changes(update: NCMECEntryUpdate) -> tuple[list[Change], list[str]]:
    """What a record holds now, and why some of it cannot be used.

    Of a deleted one only the id is told; one that holds nothing of ours may have held some before.
    """
    entry = text(f"{update.member_id}-{update.id}")
    if update.deleted:
        return [Change("", "", entry, withdrawn=True)], []
    changes, malformed = [], []
    for tag, value in sorted(update.fingerprints.items()):
        kind = tag.lower()
        if kind not in HEX_DIGITS:
            continue
        try:
            changes.append(_taken(update, entry, kind, value))
        except MalformedError as error:
            malformed.append(f"{entry}: {error}")
    return changes or [Change("", "", entry, withdrawn=True)], malformed


def _taken(update: NCMECEntryUpdate, entry: str, kind: str, value: str) -> Change:
    opinions = [one for tag, given in update.feedback.items() if tag.lower() == kind for one in given]
    refused = any(one.feedback_type is FeedbackType.downvote for one in opinions)
    labels = (update.classification, update.entry_type.value, "disputed" if refused else None)
    return Change(
        kind,
        signal(kind, value),
        entry,
        labels=tuple(sorted(text(label) for label in labels if label)),
        note=f"member {update.member_id}",
    )


def _parsed(answer: requests.Response) -> ET.Element:
    """The root of the page, all tags without their namespace. A page that declares entities is refused unread."""
    try:
        page = answer.content.decode("utf-8")  # and nothing else, so that no other encoding hides a declaration
        if "<!DOCTYPE" in page or "<!ENTITY" in page:
            raise BrokenError("its page declares a document type, which is refused", "Tell the peer.")
        root = ET.fromstring(page, ET.XMLParser(encoding="utf-8"))  # noqa: S314  (no entities: see above)
    except (UnicodeDecodeError, ET.ParseError):
        root = None
    if root is None:
        raise BrokenError("its page is not XML")
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "queryResult":
        raise BrokenError(f"its page is a {text(root.tag)!r}, not a 'queryResult'")
    return root


def _maximum(group: ET.Element) -> None:
    """Raises BrokenError where the group does not say up to when it reads."""
    said = group.get("maxTimestamp", "")
    try:
        datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        said = ""
    if not said and len(group):
        raise BrokenError(f"its {group.tag} have no maxTimestamp that is a time", "Tell the peer.")


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
