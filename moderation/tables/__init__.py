"""The tables. Importing this package makes all of them known to `Base.metadata`."""

from moderation.tables.accounts import Account, AccountSession, RecoveryCode
from moderation.tables.audit import AuditRecord, Event
from moderation.tables.banks import Bank, BankEntry, BankEntryDay, BankMatch, BankState
from moderation.tables.base import DEFAULT_TENANT, Base, new_id, utc_now
from moderation.tables.exchanges import Exchange
from moderation.tables.jobs import Batch, Job, Lease
from moderation.tables.people import FaceReference, FaceTemplate, PeopleGallery, Person, PersonEvent
from moderation.tables.registry import DetectorModel, ModelDay
from moderation.tables.rescans import PolicySeen, RescanFailure, RescanPlan, RescanShard
from moderation.tables.reviews import Appeal, CaseExclusion, CaseImage, Decision, Reveal, ReviewCase, ReviewerState
from moderation.tables.scans import IdempotencyKey, Measurement, Scan, StoredImage
from moderation.tables.takedowns import CounterNotice, Notice, NoticeCopy, NoticeImage
from moderation.tables.tenants import ApiKey, Tenant

__all__ = [
    "DEFAULT_TENANT",
    "Account",
    "AccountSession",
    "ApiKey",
    "Appeal",
    "AuditRecord",
    "Bank",
    "BankEntry",
    "BankEntryDay",
    "BankMatch",
    "BankState",
    "Base",
    "Batch",
    "CaseExclusion",
    "CaseImage",
    "CounterNotice",
    "Decision",
    "DetectorModel",
    "Event",
    "Exchange",
    "FaceReference",
    "FaceTemplate",
    "IdempotencyKey",
    "Job",
    "Lease",
    "Measurement",
    "ModelDay",
    "Notice",
    "NoticeCopy",
    "NoticeImage",
    "PeopleGallery",
    "Person",
    "PersonEvent",
    "PolicySeen",
    "RecoveryCode",
    "RescanFailure",
    "RescanPlan",
    "RescanShard",
    "Reveal",
    "ReviewCase",
    "ReviewerState",
    "Scan",
    "StoredImage",
    "Tenant",
    "new_id",
    "utc_now",
]
