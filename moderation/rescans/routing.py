"""Chooses the path of a plan, and makes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detectors.heads import EmbeddingHead
from moderation.errors import InvalidRequestError
from moderation.fetch import SafeClient
from moderation.media import MediaLimits
from moderation.policy import Policy
from moderation.rescans.banks import MOST_ENTRIES, BankPath, NewEntries
from moderation.rescans.basis import basis_of, difference, loadable
from moderation.rescans.heads import HeadPath
from moderation.rescans.images import ImagePath
from moderation.rescans.judging import Judge
from moderation.rescans.paths import Path, PolicyPath
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import RescanRepository
from moderation.rescans.sources import KeptImages, Source, UrlImages
from moderation.storage import ImageStore
from moderation.tables import RescanPlan


@dataclass(frozen=True)
class Route:
    """Along which path a plan goes, one of `records.PATHS`, and why that one."""

    path: str
    why: str


class Paths:
    """source: where images are, for plans that name no source of their own; '' for nowhere. client: made when first needed."""

    def __init__(
        self,
        judge: Judge,
        store: ImageStore,
        client: Callable[[], SafeClient],
        limits: MediaLimits,
        *,
        source: str = "",
    ) -> None:
        self.judge = judge
        self.store = store
        self.client = client
        self.limits = limits
        self.source = source

    def route(self, spec: PlanSpec, tenant: str) -> Route:
        """The cheapest path that is exact. Raises InvalidRequestError where there is none, ModelError, PolicyError, …"""
        self.judge.policy(spec.policy)
        self._check_detectors(spec.detectors)
        if spec.using == "policy":
            return Route("policy", "Findings are stored: they are judged anew.")
        if spec.using == "banks":
            return self._bank_route(spec, tenant)
        if spec.using == "head":
            others = [name for name in spec.detectors if self._head(name) is None]
            if not others:
                return Route("head", "The heads read nothing but embeddings, which are stored.")
            route = self._image_route(spec)
            needs = "; ".join(f"{name} reads {', '.join(self._needs(name)) or 'pixels'}" for name in others)
            return Route("images", f"{needs}: that is not stored. {route.why}")
        return self._image_route(spec)

    def _check_detectors(self, names: Sequence[str]) -> None:
        known = [cls.name for cls in self.judge.scanner.classes if not cls.looks_up]
        for name in names:
            if name not in known:
                raise InvalidRequestError(
                    f"{name[:40]!r} is no detector that measures images.", hint=f"Those are {', '.join(known)}."
                )

    def _bank_route(self, spec: PlanSpec, tenant: str) -> Route:
        with self.judge.lookup.matcher.database.read() as session:
            new = RescanRepository(session).entries_since(tenant, spec.since_entry)
        if new > MOST_ENTRIES:
            return Route("policy", f"{new:,} entries are new: every image is looked up in the whole index.")
        return Route("banks", f"{new:,} entries are new: they are compared with stored hashes.")

    def _image_route(self, spec: PlanSpec) -> Route:
        if not (spec.source or self.source):
            raise InvalidRequestError(
                "This plan has to read the images, and nothing says where they are.",
                hint="Give it a source (`kept`, or a URL with `{external_id}`), or set PALISADE_RESCAN_SOURCE.",
            )
        for name in spec.detectors:
            self.judge.scanner.detector(name)
        return Route("images", "The images are read from their source and measured.")

    def basis(self, spec: PlanSpec) -> dict[str, dict[str, str]]:
        """The models and policies of this process that a plan rests on."""
        return basis_of(self.judge, spec)

    def lacks(self, plan: RescanPlan) -> str:
        """What a plan was made for that this process has not, '' where it may work on it."""
        return difference(plan.basis, self.basis(PlanSpec.from_dict(plan.spec))) if plan.basis else ""

    def policies(self) -> list[Policy]:
        """All policies of this process that can be loaded."""
        return loadable(self.judge)

    def of(self, plan: RescanPlan) -> Path:
        """The path of a plan. Raises ModelError when a model is missing."""
        spec = PlanSpec.from_dict(plan.spec)
        if plan.path == "banks":
            with self.judge.lookup.matcher.database.read() as session:
                return BankPath(plan, self.judge, NewEntries.read(session, plan.tenant_id, spec))
        if plan.path == "head":
            heads = [head for name in spec.detectors if (head := self._head(name))]
            return HeadPath(plan, self.judge, heads, self._images(plan, spec) if spec.source or self.source else None)
        return self._images(plan, spec) if plan.path == "images" else PolicyPath(plan, self.judge)

    def _images(self, plan: RescanPlan, spec: PlanSpec) -> ImagePath:
        detectors = frozenset(spec.detectors) or None
        return ImagePath(plan, self.judge, self._source(spec.source or self.source), self.limits, detectors)

    def _source(self, url: str) -> Source:
        if url == "kept":
            return KeptImages(self.store)
        return UrlImages(url, self.client(), max_bytes=self.limits.max_bytes)

    def _head(self, name: str) -> EmbeddingHead | None:
        """A detector that reads embeddings only; None for others."""
        cls = next(cls for cls in self.judge.scanner.classes if cls.name == name)
        if not issubclass(cls, EmbeddingHead):
            return None
        head = self.judge.scanner.detector(name)
        return head if isinstance(head, EmbeddingHead) else None

    def _needs(self, name: str) -> tuple[str, ...]:
        return next(cls.needs for cls in self.judge.scanner.classes if cls.name == name)
