"""Puts the parts together: what the command line, the API and the dashboard all stand on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from detectors.faces import FacesDetector
from detectors.heads import heads_in
from detectors.known import KnownDetector
from detectors.likeness import LikenessDetector
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from detectors.signals import SignalsDetector
from moderation.accounts.enrolment import EnrolmentService
from moderation.accounts.oidc import Provider
from moderation.accounts.service import AccountService
from moderation.accounts.sessions import SessionService
from moderation.accounts.signing import SignInService
from moderation.banks.indexes import BankIndexes
from moderation.banks.matcher import LocalSearch, Matcher
from moderation.banks.service import BankService
from moderation.banks.shards import ShardedSearch
from moderation.chores import Chores
from moderation.database import Database
from moderation.errors import ModerationError, NotFoundError
from moderation.events import Outbox
from moderation.exchanges.service import ExchangeService
from moderation.fetch import SafeClient
from moderation.idempotency import Idempotency
from moderation.jobs.batches import BatchService
from moderation.jobs.recovery import JobRecovery
from moderation.jobs.running import JobRunner
from moderation.jobs.service import JobService, Spool
from moderation.keys.service import KeyService
from moderation.leases import Leases
from moderation.media import MediaLimits
from moderation.people.gallery import Galleries
from moderation.people.keys import PersonKeys
from moderation.people.names import PeopleNames
from moderation.people.photos import PhotoDesk
from moderation.people.references import References
from moderation.people.service import PeopleService
from moderation.policy import PolicyLibrary, Vocabulary
from moderation.prompts.service import PromptService
from moderation.rates import Rate
from moderation.registry.service import ModelRegistry
from moderation.registry.serving import ServedModels
from moderation.rescans.automatic import BankWatch, ModelWatch, PolicyWatch, Watch
from moderation.rescans.judging import Judge
from moderation.rescans.lookup import PageLookup
from moderation.rescans.routing import Paths
from moderation.rescans.service import RescanService
from moderation.reviews.alike import AlikeService
from moderation.reviews.appeals import AppealService
from moderation.reviews.backtest import BacktestService
from moderation.reviews.deciding import DecisionService
from moderation.reviews.evidence import EvidenceService
from moderation.reviews.faces import FaceComparison
from moderation.reviews.figures import FiguresService
from moderation.reviews.intake import Intake
from moderation.reviews.records import ReviewRules
from moderation.reviews.safety import ReviewerSafety
from moderation.reviews.service import ReviewService
from moderation.reviews.statements import Statements
from moderation.reviews.training import TrainingService
from moderation.scanner import Scanner
from moderation.scans.service import ScanService
from moderation.settings import Settings
from moderation.storage import ImageStore
from moderation.takedowns.acting import TakedownDesk
from moderation.takedowns.desk import ImageDesk
from moderation.takedowns.service import TakedownService
from moderation.tasks import Tasks
from moderation.vault import Vault


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
            detectors=(*DETECTORS, *heads_in(self.settings.heads)),
        )

    @cached_property
    def person_keys(self) -> PersonKeys:
        return PersonKeys.of(self.settings)

    @cached_property
    def galleries(self) -> Galleries:
        return Galleries(self.database, self.person_keys, self.runtime.identity("sface"))

    @cached_property
    def likeness(self) -> LikenessDetector:
        """The scanner's detector, comparing with the people of our database."""
        likeness = self.scanner.detector("likeness")
        assert isinstance(likeness, LikenessDetector)  # noqa: S101 - registered under this name
        likeness.attach(self.galleries)
        return likeness

    @cached_property
    def people(self) -> PeopleService:
        faces = self.scanner.detector("faces")
        assert isinstance(faces, FacesDetector)  # noqa: S101 - registered under this name
        desk = PhotoDesk(faces, self.likeness, MediaLimits.of(self.settings))
        return PeopleService(self.database, self.person_keys, self.galleries, desk)

    @cached_property
    def references(self) -> References:
        return References(self.database, self.person_keys)

    @cached_property
    def people_names(self) -> PeopleNames:
        return PeopleNames(self.database, self.person_keys)

    @cached_property
    def prompts(self) -> PromptService:
        return PromptService(self.people_names)

    @cached_property
    def bank_indexes(self) -> BankIndexes:
        return BankIndexes(self.database)

    @cached_property
    def matcher(self) -> Matcher:
        if self.settings.bank_shards:
            secret = self.settings.bank_shard_secret
            return Matcher(self.database, ShardedSearch(self.settings.bank_shards, self.client, secret))
        return Matcher(self.database, LocalSearch(self.bank_indexes))

    @cached_property
    def known(self) -> KnownDetector:
        """The scanner's detector, looking up in the banks of our database."""
        known = self.scanner.detector("known")
        assert isinstance(known, KnownDetector)  # noqa: S101 - registered under this name
        known.attach(self.matcher)
        return known

    @cached_property
    def banks(self) -> BankService:
        def signals() -> SignalsDetector:
            detector = self.scanner.detector("signals")
            assert isinstance(detector, SignalsDetector)  # noqa: S101 - registered under this name
            return detector

        return BankService(self.database, self.bank_indexes, self.matcher, signals)

    @cached_property
    def takedowns(self) -> TakedownService:
        return TakedownService(
            self.database,
            Vault.of(self.settings.takedown_keys, setting="PALISADE_TAKEDOWN_KEYS"),
            ImageDesk(self.scanner, MediaLimits.of(self.settings)),
            self.client,
            hours=self.settings.takedown_hours,
            max_bytes=self.settings.max_bytes,
        )

    @cached_property
    def takedown_desk(self) -> TakedownDesk:
        return TakedownDesk(self.takedowns, self.bank_indexes)

    @cached_property
    def accounts(self) -> AccountService:
        return AccountService(self.database)

    @cached_property
    def sessions(self) -> SessionService:
        return SessionService(self.database, self.settings)

    @cached_property
    def signing(self) -> SignInService:
        config = self.settings
        rate = Rate(config.sign_in_rate_limit, config.rate_limit_storage, setting="PALISADE_SIGN_IN_RATE_LIMIT")
        vault = Vault.of(config.account_keys, setting="PALISADE_ACCOUNT_KEYS")
        return SignInService(self.database, self.sessions, vault, rate)

    @cached_property
    def enrolment(self) -> EnrolmentService:
        return EnrolmentService(self.signing)

    @cached_property
    def provider(self) -> Provider:
        """The OpenID Connect provider. Raises NotFoundError where none is set."""
        if not self.settings.oidc_issuer:
            raise NotFoundError("No sign-in provider is set.", hint="Set PALISADE_OIDC_ISSUER.")
        return Provider(self.settings, self.client, self.signing.key())

    @cached_property
    def chores(self) -> Chores:
        return Chores({name: partial(chore, self) for name, chore in CHORES.items()}, Leases(self.database))

    def rescan_step(self) -> int:
        """Plan and work on re-scans for a moment; further processes go on beside."""
        for watch in self.watches:
            watch.plan()
        if self.settings.rescan_queue and self.tasks.is_remote:
            return self.call_to_rescans(self.settings.rescan_queue)
        if not self.settings.rescan_seconds:
            return 0
        return self.rescans.work(f"server {os.getpid()}", seconds=self.settings.rescan_seconds)

    def call_to_rescans(self, queue: str) -> int:
        """Plan what is due, and call a worker of that queue where there is work; what is called again is not saved up."""
        planned, waits = self.rescans.due(), self.rescans.has_work()
        if waits:
            self.tasks.ring_rescan(queue, expires=self.settings.chores_seconds or 5)
        return planned + waits

    @cached_property
    def watches(self) -> list[Watch]:
        """What plans re-scans by itself, as far as the operator allows it."""
        banks = [BankWatch(self.rescans)] if self.settings.rescan_after_banks else []
        models = [ModelWatch(self.rescans, self.registry)] if self.settings.rescan_after_models else []
        policies = [PolicyWatch(self.rescans)] if self.settings.rescan_after_policies else []
        return [*banks, *models, *policies]

    @cached_property
    def rescans(self) -> RescanService:
        _ = self.likeness, self.served_models
        lookup = PageLookup(self.matcher, self.known)
        judge = Judge(self.scanner, self.policies, lookup)
        limits, source = MediaLimits.of(self.settings), self.settings.rescan_source
        paths = Paths(judge, self.store, lambda: self.client, limits, source=source)
        lease = self.settings.rescan_lease_seconds or None
        ceiling = self.settings.rescan_after_most
        return RescanService(self.database, paths, lease=lease, intake=self.intake, ceiling=ceiling)

    @cached_property
    def exchanges(self) -> ExchangeService:
        return ExchangeService(self.database, self.bank_indexes, lambda: self.client, self.settings.exchange_secrets)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.database, self.client, self.settings)

    @cached_property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.database, self.runtime)

    @cached_property
    def served_models(self) -> ServedModels:
        """The registry's models, which the scanner measures with from then on."""
        served = ServedModels(self.registry)
        self.scanner.serve(served)
        return served

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
        # scans that are kept are compared with the people who are enrolled, and looked up in banks
        _ = self.likeness, self.known, self.served_models
        return ScanService(
            self.database,
            self.scanner,
            self.policies,
            self.store,
            MediaLimits.of(self.settings),
            intake=self.intake,
        )

    @cached_property
    def review_rules(self) -> ReviewRules:
        return ReviewRules.of(self.settings)

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.review_rules)

    @cached_property
    def reviews(self) -> ReviewService:
        return ReviewService(self.database, self.review_rules, self.statements)

    @cached_property
    def decisions(self) -> DecisionService:
        return DecisionService(self.database, self.review_rules)

    @cached_property
    def appeals(self) -> AppealService:
        days = self.settings.appeal_statement_days
        return AppealService(self.database, self.review_rules, self.statements, days=days)

    @cached_property
    def statements(self) -> Statements:
        return Statements(Vault.of(self.settings.takedown_keys, setting="PALISADE_TAKEDOWN_KEYS"))

    @cached_property
    def evidence(self) -> EvidenceService:
        return EvidenceService(self.database, lambda: self.policies)

    @cached_property
    def review_figures(self) -> FiguresService:
        return FiguresService(self.database)

    @cached_property
    def review_training(self) -> TrainingService:
        return TrainingService(self.database, self.store)

    @cached_property
    def backtests(self) -> BacktestService:
        return BacktestService(self.database, Vocabulary.of(self.scanner.classes))

    @cached_property
    def reviewer_safety(self) -> ReviewerSafety:
        return ReviewerSafety(self.database, self.review_rules)

    @cached_property
    def alike(self) -> AlikeService:
        return AlikeService(self.database, lambda: self.matcher)

    @cached_property
    def face_comparison(self) -> FaceComparison:
        return FaceComparison(self.reviewer_safety, self.references)

    @cached_property
    def tasks(self) -> Tasks:
        return Tasks(self)

    @cached_property
    def jobs(self) -> JobService:
        return JobService(self.database, Spool(self.settings), self.policies, self.tasks, self.settings)

    @cached_property
    def batches(self) -> BatchService:
        return BatchService(self.jobs)

    @cached_property
    def runner(self) -> JobRunner:
        return JobRunner(self.database, self.jobs, self.scans, self.client, self.settings)

    @cached_property
    def recovery(self) -> JobRecovery:
        return JobRecovery(self.jobs, self.settings)

    @cached_property
    def keys(self) -> KeyService:
        return KeyService(self.database)

    @cached_property
    def idempotency(self) -> Idempotency:
        return Idempotency(self.database, hours=self.settings.idempotency_hours)

    def problems(self) -> list[ModerationError]:
        """What keeps this process from serving: each as an error with its mend; none when it is ready."""
        found: list[ModerationError] = []
        checks = (self._check_database, self._check_models, self._check_store)
        for check in checks:
            try:
                check()
            except ModerationError as error:
                found.append(error)
        return found

    def _check_database(self) -> None:
        self.database.check_schema()
        self.people.check()

    def _check_models(self) -> None:
        self.scanner.check(self.policies.get(""))

    def _check_store(self) -> None:
        if self.policies.get("").keep != "none":
            self.store.check()


CHORES: dict[str, Callable[[Application], int]] = {
    "events": lambda app: app.outbox.deliver(),
    "takedown clock": lambda app: app.takedown_desk.watch(),
    "takedown sweeps": lambda app: app.takedown_desk.sweep_unfinished(),
    "exchanges": lambda app: app.exchanges.sync_due(),
    "jobs": lambda app: app.recovery.recover(),
    "sessions": lambda app: app.sessions.forget(),
    "decisions": lambda app: app.decisions.release(),
    "appeals": lambda app: app.appeals.tend(),
    "rescans": lambda app: app.rescan_step(),
}
"""What is due from time to time. The parts are made by the process that runs the chore: a worker's children, not their parent."""
