"""Puts the parts together: what the command line, the API and the dashboard all stand on."""

import os
from dataclasses import dataclass
from functools import cached_property

from detectors.runtime import Runtime
from moderation.database import Database
from moderation.errors import ModerationError
from moderation.fetch import SafeClient
from moderation.idempotency import Idempotency
from moderation.keys.service import KeyService
from moderation.media import MediaLimits
from moderation.policy import PolicyLibrary, Vocabulary
from moderation.scanner import Scanner
from moderation.scans.service import ScanService
from moderation.settings import Settings
from moderation.storage import ImageStore


@dataclass(frozen=True)
class Application:
    """The parts, each made when it is first asked for."""

    settings: Settings

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database, pool=self.settings.database_pool)

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime(self.settings.models, threads=self.settings.inference_threads)

    @cached_property
    def scanner(self) -> Scanner:
        return Scanner(
            self.runtime,
            concurrency=self.settings.scan_concurrency or len(os.sched_getaffinity(0)),
            waiting=self.settings.scan_waiting,
        )

    @cached_property
    def policies(self) -> PolicyLibrary:
        return PolicyLibrary(
            self.settings.policy, folder=self.settings.policies_dir, vocabulary=Vocabulary.of(self.scanner.classes)
        )

    @cached_property
    def store(self) -> ImageStore:
        return ImageStore.of(self.settings)

    @cached_property
    def client(self) -> SafeClient:
        return SafeClient(self.settings)

    @cached_property
    def scans(self) -> ScanService:
        return ScanService(self.database, self.scanner, self.policies, self.store, MediaLimits.of(self.settings))

    @cached_property
    def keys(self) -> KeyService:
        return KeyService(self.database)

    @cached_property
    def idempotency(self) -> Idempotency:
        return Idempotency(self.database, hours=self.settings.idempotency_hours)

    def problems(self) -> list[ModerationError]:
        """What keeps this process from serving: each as an error with its mend; none when it is ready."""
        found: list[ModerationError] = []
        checks = (self.database.check_schema, self._check_models, self._check_store)
        for check in checks:
            try:
                check()
            except ModerationError as error:
                found.append(error)
        return found

    def _check_models(self) -> None:
        self.scanner.check(self.policies.get(""))

    def _check_store(self) -> None:
        if self.policies.get("").keep != "none":
            self.store.check()
