"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def required(name: str) -> bool:
    """Whether this run must fail where something is missing, rather than skip (`PALISADE_TEST_REQUIRE_*=1`)."""
    return os.environ.get(f"PALISADE_TEST_REQUIRE_{name}") == "1"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared images and vectors, beside the checkout. Skips where it is absent."""
    if not SHARED_DATA.is_dir():
        message = f"the shared data folder {SHARED_DATA} is absent"
        if required("DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED_DATA
