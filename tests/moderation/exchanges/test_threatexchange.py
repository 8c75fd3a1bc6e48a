"""Meta's ThreatExchange."""

import json
import time
from typing import Any

import pytest

from moderation.exchanges.peers import Change
from tests.moderation.exchanges import servers
from tests.moderation.exchanges.conftest import Exchange
from tests.moderation.exchanges.contract import VALUES, LinkedPeerContract, held, interrupted, values
from tests.moderation.exchanges.servers import Answer, described


class TestThreatExchange(LinkedPeerContract):
    player = servers.ThreatExchange
    other_server = "it named a page on another server, which is never asked"

    def linking(self, exchange: Exchange, url: str) -> Answer:
        return servers.as_json({"data": [], "paging": {"next": f"{url}/v26.0/777/threat_updates/?access_token=x"}})

    def test_the_request_is_meta_s_own(self, filled: Exchange) -> None:
        filled.read()

        first, second, _ = filled.server.asked
        assert first.path == second.path == "/v26.0/777/threat_updates/"
        assert first.query["access_token"] == filled.player.secrets["api_token"]
        assert first.query["limit"] == "2"
        assert "descriptors{id,reactions,owner{id},tags,status}" in first.query["fields"]
        assert "start_time" not in first.query
        assert second.query["after"] == "2"

    def test_a_record_is_told_with_its_tags_and_opinion(self, exchange: Exchange) -> None:
        exchange.player.put(VALUES[0].upper())
        exchange.player.put("A" * 32, type="HASH_MD5", descriptors=described("UNKNOWN", ()))
        exchange.player.put("b" * 64, type="HASH_SHA256")

        changes = [change for page in exchange.read() for change in page.changes]

        assert changes[0] == Change(
            "pdq", VALUES[0], f"HASH_PDQ:{VALUES[0]}", False, ("media_type_photo",), "positive class by 1"
        )
        assert [(one.kind, one.note) for one in changes[1:]] == [
            ("md5", "investigation seed by 1"),
            ("sha256", "positive class by 1"),
        ]

    @pytest.mark.parametrize(
        ("fields", "withdrawn", "note"),
        [
            ({"should_delete": True}, True, ""),
            ({"descriptors": described("NON_MALICIOUS")}, True, "negative class by 1"),
            ({"descriptors": {"data": []}}, True, ""),
            (
                {"descriptors": {"data": [*described()["data"], *described("NON_MALICIOUS", owner="66")["data"]]}},
                False,
                "disputed by 2",
            ),
        ],
    )
    def test_what_no_member_stands_behind_is_withdrawn(
        self, exchange: Exchange, fields: dict[str, Any], withdrawn: bool, note: str
    ) -> None:
        exchange.player.put(VALUES[0], **fields)

        (change,) = exchange.read()[0].changes

        assert (change.value, change.withdrawn, change.note) == (VALUES[0], withdrawn, note)

    def test_malformed_records_are_named_and_the_rest_counts(self, exchange: Exchange) -> None:
        exchange.peer = exchange.connect(page_size=20)
        exchange.player.put(VALUES[0])
        exchange.player.put("abc")
        exchange.player.put("e" * 64, type=None)
        exchange.player.put("d" * 64, descriptors={"data": [{"id": "x"}]})
        exchange.player.put("c" * 64, descriptors=[])
        exchange.player.put("b" * 64, descriptors={"data": [{"id": "1", "owner": {"id": "2"}}]})
        exchange.player.put("x.test", type="DOMAIN")
        exchange.server.fail(1, self.spoiled(exchange))

        (page,) = exchange.read()

        assert values([page]) == [VALUES[0]]
        assert page.ignored == 1
        assert page.malformed == (
            "record 2: the pdq value has 3 characters, not 64",
            "record 3: it names no type",
            "record 4: its descriptors cannot be read (ValueError)",
            "record 5: its descriptors cannot be read (TypeError)",
            "record 6: its descriptors cannot be read (KeyError)",
            "record 8: it names no type",
            "record 9: its descriptors cannot be read (KeyError)",
        )

    def spoiled(self, exchange: Exchange) -> Answer:
        return servers.as_json({"data": [*exchange.player.records, 7, {"type": "HASH_PDQ", "indicator": "9" * 64}]})

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"error": {"message": "An unknown error"}}, "data is NoneType, not list"),
            ({"data": {}}, "data is dict, not list"),
            ({"data": [], "paging": 3}, "paging is int, not dict"),
            ({"data": [], "paging": {"next": 3}}, "the next page is int, not str"),
            ({"data": [], "paging": {"next": "ftp://graph.test/"}}, "no valid URL"),
            ({"data": [], "paging": {"next": "nowhere"}}, "no valid URL"),
        ],
    )
    def test_pages_of_another_shape_are_refused(self, exchange: Exchange, body: dict[str, Any], said: str) -> None:
        exchange.server.fail(1, servers.as_json(body))

        _, error = interrupted(exchange, None)

        assert said in error.message

    def test_an_empty_page_is_no_end(self, filled: Exchange) -> None:
        following = (
            f"{filled.server.url}/v26.0/777/threat_updates/?access_token={filled.player.secrets['api_token']}&limit=9"
        )
        filled.server.fail(1, servers.as_json({"data": [], "paging": {"next": following}}))

        pages = filled.read()

        assert [len(page.changes) for page in pages] == [0, 5]
        assert values(pages) == VALUES

    def test_a_time_to_come_hides_nothing(self, filled: Exchange) -> None:
        filled.player.put("e" * 64, last_updated=9_999_999_999)

        assert json.loads(filled.read()[-1].checkpoint)["since"] <= time.time()

    def test_it_goes_on_from_the_second_that_it_had_begun(self, filled: Exchange) -> None:
        for record in filled.player.records:
            record["last_updated"] = 1_700_000_000
        filled.server.fail(2, Answer(500))

        pages, _ = interrupted(filled, None)
        rest = filled.read(pages[-1].checkpoint)

        assert filled.server.asked[2].query["start_time"] == "1699999999"
        assert values(pages + rest) == VALUES

    def test_after_85_days_everything_is_listed_and_the_forgotten_withdrawn(self, filled: Exchange) -> None:
        first = filled.read()
        mark = json.loads(first[-1].checkpoint)
        filled.player.records = filled.player.records[1:]

        later = filled.read(json.dumps(mark | {"fetched": int(time.time()) - 86 * 86_400}))

        assert later[0].restarted
        assert "start_time" not in filled.server.asked[3].query
        assert values(later, held(first)) == VALUES[1:]
        assert not filled.read(json.dumps(mark | {"fetched": int(time.time()) - 84 * 86_400}))[0].restarted
