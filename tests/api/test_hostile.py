"""Hostile files over HTTP: every one is answered with a clear refusal or a verdict, in time, and nothing leaks."""

import os
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.conftest import MakeApp
from tests.hostile import corpus

CORPUS = dict(corpus())


@pytest.fixture(scope="module")
def names() -> list[str]:
    return sorted(CORPUS)


@pytest.fixture
def local(make_application: MakeApp) -> Iterator[TestClient]:
    with TestClient(
        create_app(make_application(require_key=False, max_seconds=5)), raise_server_exceptions=False
    ) as client:
        yield client


def test_every_hostile_file_is_answered(local: TestClient, names: list[str]) -> None:
    for name in names:
        started = time.perf_counter()
        answer = local.post("/v1/scans", content=CORPUS[name])
        assert time.perf_counter() - started < 30, name
        assert answer.status_code == 201 or 400 <= answer.status_code < 500, (
            f"{name}: {answer.status_code} {answer.text}"
        )
        if answer.status_code != 201:
            error = answer.json()["error"]
            assert error["code"] != "internal", name
            assert error["message"], name


def test_hostile_files_in_a_batch_are_answered_one_by_one(local: TestClient, names: list[str]) -> None:
    small = [name for name in names if len(CORPUS[name]) < 1_000_000][:32]
    answer = local.post("/v1/scans/batch", files=[("image", (f"{i}", CORPUS[name])) for i, name in enumerate(small)])

    assert answer.status_code == 200
    assert len(answer.json()["items"]) == len(small)
    assert all(item["scan"] or item["error"]["code"] != "internal" for item in answer.json()["items"])


def resident() -> int:
    """Resident memory of this process, in bytes."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - not a file of a file system
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_refusals_leave_no_memory_behind(local: TestClient, names: list[str]) -> None:
    """The long run of 10,000 requests is `python -m tests.load.leak`."""
    refused = [name for name in names if len(CORPUS[name]) < 200_000]

    def round_trip() -> None:
        for name in refused:
            local.post("/v1/scans", content=CORPUS[name])

    round_trip()
    before = resident()
    for _ in range(3):
        round_trip()

    assert resident() < before * 1.05 + 10_000_000
