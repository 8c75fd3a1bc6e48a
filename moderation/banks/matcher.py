"""Looks an image's signals up in a tenant's banks."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from detectors.base import Finding
from detectors.known import ACTIONS, KnownMatch
from moderation.banks.index import Hashes, distances
from moderation.banks.indexes import BankIndexes
from moderation.banks.records import PDQ_RADIUS, PHASH_RADIUS, Signal, entry_state
from moderation.banks.repository import BankRepository
from moderation.database import Database
from moderation.tables import Bank, BankEntry, utc_now

DIGESTS = ("sha256", "md5")


class HashSearch(Protocol):
    """What finds the entries near hashes: this process's indexes, or those of other processes."""

    def near(self, tenant: str, kind: str, hashes: Hashes, radius: int) -> Iterable[int]:
        """Ids of entries that may lie within the radius of any of the hashes: all that do, and few others."""


class LocalSearch:
    """The indexes of this process."""

    def __init__(self, indexes: BankIndexes) -> None:
        self.indexes = indexes

    def near(self, tenant: str, kind: str, hashes: Hashes, radius: int) -> Iterable[int]:
        hits = self.indexes.snapshot(tenant).search(kind, hashes, radius)
        return {int(number) for number in hits.ids}


@dataclass(frozen=True)
class Probe:
    """A hash to look up. frame, orientation: which of the image's it is."""

    signal: Signal
    frame: int | None = None
    orientation: int = 0


@dataclass(frozen=True)
class Near:
    """An entry within its bank's radius of a probe."""

    entry: BankEntry
    bank: Bank
    probe: Probe
    distance: int


class Matcher:
    """A `KnownSource` over the database and its indexes.

    Every hit is compared with the entry as the database has it now: a deleted, disabled or quarantined entry does not
    match from that moment on, in every process. A match with a negative bank suppresses perceptual matches; a match of a
    digest, which is of the very file, only yields to the same digest in a negative bank.
    """

    def __init__(self, database: Database, search: HashSearch) -> None:
        self.database = database
        self.search = search

    def matches(self, tenant: str, signals: Sequence[Finding]) -> list[KnownMatch] | None:
        with self.database.read() as session:
            if not BankRepository(session, tenant).banks():
                return None
        probes = probes_of(signals)
        image = next((probe.signal.hex for probe in probes if probe.signal.kind == "sha256"), "")
        return best_of_banks(self.near(tenant, probes), image=image, now=utc_now())

    def near(self, tenant: str, probes: Sequence[Probe]) -> list[Near]:
        """Every entry near the probes, whatever its state, at its smallest distance."""
        with self.database.read() as session:
            digests = [probe.signal for probe in probes if probe.signal.kind in DIGESTS]
            rows = list(BankRepository(session, tenant).exact(digests)) if digests else []
        by_kind: dict[str, list[Probe]] = {}
        for probe in probes:
            by_kind.setdefault(probe.signal.kind, []).append(probe)
        ids = {number for kind in ("pdq", "phash") if kind in by_kind for number in self._ids(tenant, by_kind[kind])}
        if ids:
            with self.database.read() as session:
                rows += BankRepository(session, tenant).entries(sorted(ids))
        return [found for entry, bank in rows if (found := closest(entry, bank, by_kind[entry.kind]))]

    def _ids(self, tenant: str, probes: Sequence[Probe]) -> Iterable[int]:
        kind = probes[0].signal.kind
        radius = PDQ_RADIUS if kind == "pdq" else 2 * PHASH_RADIUS
        return self.search.near(tenant, kind, stacked(probes), radius)


def probes_of(signals: Sequence[Finding]) -> list[Probe]:
    """The hashes of the findings of `signals`: digests, every frame's pHash, and PDQ in eight orientations where hashable."""
    probes = []
    for finding in signals:
        evidence, kind = finding.evidence, finding.label
        if kind == "pdq" and evidence["hashable"]:
            probes += [
                Probe(Signal("pdq", bytes.fromhex(text)), finding.frame, number)
                for number, text in enumerate(evidence["orientations"])
            ]
        elif kind == "phash" and varied(bytes.fromhex(evidence["hash"])):
            probes.append(Probe(Signal(kind, bytes.fromhex(evidence["hash"])), finding.frame))
        elif kind in DIGESTS:
            probes.append(Probe(Signal(kind, bytes.fromhex(evidence["hash"]))))
    return probes


def varied(phash: bytes) -> bool:
    """Whether a pHash tells pictures apart: those of plain ones have nearly all bits alike."""
    return 8 <= int.from_bytes(phash).bit_count() <= 56


def closest(entry: BankEntry, bank: Bank, probes: Sequence[Probe]) -> Near | None:
    """The entry with the nearest of its kind's probes, if that is within the bank's radius."""
    if len(entry.value) != len(probes[0].signal.value):
        return None
    apart = distances(stacked(probes), np.frombuffer(entry.value, np.uint8)[None])
    at = int(apart.argmin())
    radius = {"pdq": bank.radius, "phash": bank.phash_radius}.get(entry.kind, 0)
    return Near(entry, bank, probes[at], int(apart[at])) if apart[at] <= radius else None


def stacked(probes: Sequence[Probe]) -> Hashes:
    return np.frombuffer(b"".join(probe.signal.value for probe in probes), np.uint8).reshape(len(probes), -1)


def best_of_banks(near: Iterable[Near], *, image: str, now: datetime) -> list[KnownMatch]:
    """The best match of each bank that is not negative, the gravest suggestion first. image: its SHA-256, '' if unknown."""
    live = [found for found in near if entry_state(found.entry, now) != "disabled"]
    negative = [found for found in live if found.bank.negative and not found.entry.quarantined_at]
    benign_file = {found.probe.signal for found in negative if found.entry.kind in DIGESTS}
    best: dict[str, KnownMatch] = {}
    for found in live:
        if found.bank.negative:
            continue
        match = described(found, _why_not(found, negative, benign_file, image))
        known = best.get(match.bank_id)
        if known is None or _rank(match) < _rank(known):
            best[match.bank_id] = match
    return sorted(best.values(), key=lambda match: (-ACTIONS.index(match.action_hint), *_rank(match), match.bank))


def _rank(match: KnownMatch) -> tuple[bool, int, int]:
    return bool(match.unapplied), match.distance, match.entry


def _why_not(found: Near, negative: Sequence[Near], benign_file: set[Signal], image: str) -> str:
    exact = found.entry.kind in DIGESTS
    if (exact and found.probe.signal in benign_file) or (not exact and negative):
        return "negative"
    if found.entry.quarantined_at:
        return "quarantine"
    return "" if in_share(found.bank, image or found.probe.signal.hex) else "share"


def in_share(bank: Bank, image: str) -> bool:
    """Whether a bank is enabled for an image: the same answer each time, for the share of images that the bank says."""
    number = int.from_bytes(hashlib.sha256(f"{bank.id}/{image}".encode()).digest()[:6])
    return number < bank.enabled_share * (1 << 48)


def described(found: Near, unapplied: str) -> KnownMatch:
    entry, bank, probe = found.entry, found.bank, found.probe
    return KnownMatch(
        entry.id,
        bank.name,
        bank.id,
        entry.kind,
        found.distance,
        bank.category,
        bank.action_hint,
        unapplied,
        probe.orientation,
        probe.frame,
    )


def matched_entries(findings: Sequence[Finding]) -> Mapping[int, Finding]:
    """The findings of `known` that name an entry, by it."""
    return {
        finding.evidence["entry"]: finding
        for finding in findings
        if finding.detector == "known" and finding.status == "ok"
    }
