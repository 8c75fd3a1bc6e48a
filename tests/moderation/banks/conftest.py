"""Banks on a real database, with real signals."""

import pytest

from detectors.runtime import Runtime
from detectors.signals import SignalsDetector
from moderation.banks.indexes import BankIndexes
from moderation.banks.matcher import LocalSearch, Matcher
from moderation.banks.records import BankSpec
from moderation.banks.service import BankService
from moderation.database import Database


@pytest.fixture(scope="session")
def signals(runtime: Runtime) -> SignalsDetector:
    return SignalsDetector(runtime)


@pytest.fixture
def service(database: Database, signals: SignalsDetector) -> BankService:
    return make_service(database, signals)


def make_service(database: Database, signals: SignalsDetector) -> BankService:
    """A service as another process would have it: its own indexes over the same database."""
    indexes = BankIndexes(database)
    return BankService(database, indexes, Matcher(database, LocalSearch(indexes)), lambda: signals)


@pytest.fixture
def bank(service: BankService) -> str:
    service.create("default", BankSpec("ncii", category="intimate", action_hint="block"), actor="test")
    return "ncii"
