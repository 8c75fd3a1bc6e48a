"""StopNCII.org."""

import json
import time
from typing import Any

import pytest

from moderation.exchanges.peers import Change
from tests.moderation.exchanges import servers
from tests.moderation.exchanges.conftest import Exchange
from tests.moderation.exchanges.contract import VALUES, PeerContract, held, interrupted, values
from tests.moderation.exchanges.servers import Answer


class TestStopNcii(PeerContract):
    player = servers.StopNcii

    def test_the_request_is_stopncii_s_own(self, filled: Exchange) -> None:
        filled.read()

        assert [one.path for one in filled.server.asked] == ["/v1/FetchHashes"] * 3
        assert filled.server.asked[0].query == {"startTimestamp": "10", "pageSize": "2"}
        assert filled.server.asked[1].query["nextPageToken"] == "page-2"
        assert filled.server.asked[0].headers["x-functions-key"] == filled.player.secrets["fetch_function_key"]

    def test_a_record_is_told_with_its_tags_and_status(self, exchange: Exchange) -> None:
        feedback = {"source": "A host", "feedbackValue": "Blocked", "tags": ["b", "a", "a"]}
        exchange.player.put(VALUES[0].upper(), CSPFeedbacks=[feedback])
        exchange.player.put("A" * 32, signalType="VideoMD5")

        page = exchange.read()[0]

        assert page.changes == (
            Change("pdq", VALUES[0], f"pdq:{VALUES[0]}", False, ("a", "b"), "status Active; A host says Blocked"),
            Change("md5", "a" * 32, "md5:" + "a" * 32, False, (), "status Active"),
        )

    @pytest.mark.parametrize(
        ("fields", "withdrawn"),
        [
            ({"hashStatus": "Withdrawn"}, True),
            ({"hashStatus": "Deleted"}, True),
            ({"hashStatus": "Withdrawn", "caseNumbers": []}, True),
            ({"caseNumbers": {"a": "Withdrawn", "b": "Deleted"}}, True),
            ({"caseNumbers": {"a": "Withdrawn", "b": "Active"}}, False),
            ({"caseNumbers": {}, "CSPFeedbacks": [{"feedbackValue": "Withdrawn", "source": "x"}]}, True),
            ({"caseNumbers": [], "CSPFeedbacks": [{"feedbackValue": "Deleted"}, {"feedbackValue": "Blocked"}]}, False),
            ({"CSPFeedbacks": [{"feedbackValue": "Withdrawn"}]}, False),
            ({"caseNumbers": {}}, False),
            ({"hashStatus": "Received"}, False),
            ({"hashStatus": "Something new"}, False),
            ({"hashStatus": "Withdrawn", "CSPFeedbacks": [{"feedbackValue": "Something new", "tags": None}]}, True),
        ],
    )
    def test_who_no_longer_stands_behind_a_hash_withdraws_it(
        self, exchange: Exchange, fields: dict[str, Any], withdrawn: bool
    ) -> None:
        exchange.player.put(VALUES[0], **fields)

        (change,) = exchange.read()[0].changes

        assert change.withdrawn is withdrawn
        assert change.value == VALUES[0]

    def test_malformed_records_are_named_and_the_rest_counts(self, exchange: Exchange) -> None:
        exchange.peer = exchange.connect(page_size=20)
        exchange.player.put(VALUES[0])
        for bad in ("", "abc", "z" * 64):
            exchange.player.put(bad)
        exchange.player.put(17)
        exchange.player.put("e" * 64, signalType=None)
        exchange.player.put("d" * 64, hashStatus=None)
        exchange.player.put("https://x.test/", signalType="URL")
        exchange.player.put("1" * 40, signalType="Something new")

        (page,) = exchange.read()

        assert values([page]) == [VALUES[0]]
        assert page.ignored == 2
        assert page.malformed == (
            "record 2: the pdq value has 0 characters, not 64",
            "record 3: the pdq value has 3 characters, not 64",
            "record 4: the pdq value is not hexadecimal",
            "record 5: the pdq value is int, not text",
            "record 6: it names no signalType",
            "record 7: it has no hashStatus",
        )

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"hasMoreRecords": None}, "hasMoreRecords is NoneType, not bool"),
            ({"nextSetTimestamp": "x"}, "nextSetTimestamp is str, not int"),
            ({"nextSetTimestamp": True}, "nextSetTimestamp is bool, not int"),
            ({"hashRecords": {}}, "hashRecords is dict, not list"),
            ({"hasMoreRecords": True, "nextSetTimestamp": 3}, "does not say where"),
            ({"hasMoreRecords": True, "nextPageToken": 3}, "nextPageToken is int, not str"),
        ],
    )
    def test_pages_of_another_shape_are_refused(self, exchange: Exchange, change: dict[str, Any], said: str) -> None:
        whole = {"count": 0, "nextPageToken": None, "nextSetTimestamp": 9, "hasMoreRecords": False, "hashRecords": []}
        exchange.server.fail(1, servers.as_json(whole | change))

        _, error = interrupted(exchange, None)

        assert said in error.message

    def test_a_time_to_come_hides_nothing(self, filled: Exchange) -> None:
        whole = {"count": 0, "nextPageToken": None, "nextSetTimestamp": 9_999_999_999, "hasMoreRecords": False}
        filled.server.fail(1, servers.as_json(whole | {"hashRecords": []}))

        (page,) = filled.read()

        assert json.loads(page.checkpoint)["since"] <= time.time()

    def test_it_goes_on_within_the_set(self, filled: Exchange) -> None:
        filled.server.fail(3, Answer(500))
        pages, _ = interrupted(filled, None)

        rest = filled.read(pages[-1].checkpoint)

        assert filled.server.asked[3].query == {"startTimestamp": "10", "pageSize": "2", "nextPageToken": "page-4"}
        assert values(rest) == VALUES[4:]
        assert not rest[0].restarted

    def test_a_forgotten_token_begins_the_set_again(self, filled: Exchange) -> None:
        filled.server.fail(2, Answer(500))
        pages, _ = interrupted(filled, None)
        filled.player.tokens = False
        filled.peer = filled.connect(page_size=9)

        rest = filled.read(pages[-1].checkpoint)

        assert values(rest) == VALUES
        assert "nextPageToken" not in filled.server.asked[-1].query

    def test_an_old_token_is_not_used(self, filled: Exchange) -> None:
        first = next(iter(filled.peer.pages(None)))
        mark = json.loads(first.checkpoint)
        assert mark["token"] == "page-2"

        rest = filled.read(json.dumps(mark | {"fetched": int(time.time()) - 7_200}))

        assert values(rest) == VALUES
        assert not rest[0].restarted

    def test_after_a_month_everything_is_listed_and_the_forgotten_withdrawn(self, filled: Exchange) -> None:
        first = filled.read()
        mark = json.loads(first[-1].checkpoint)
        filled.player.records = filled.player.records[1:]  # withdrawn, and even the withdrawal forgotten since

        later = filled.read(json.dumps(mark | {"fetched": int(time.time()) - 31 * 86_400}))

        assert later[0].restarted
        assert values(later, held(first)) == VALUES[1:]
        assert not filled.read(json.dumps(mark | {"fetched": int(time.time()) - 29 * 86_400}))[0].restarted
