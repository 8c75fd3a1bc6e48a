"""The tables. Importing this package makes all of them known to `Base.metadata`."""

from moderation.tables.audit import AuditRecord, Event
from moderation.tables.banks import Bank, BankEntry, BankEntryDay, BankMatch, BankState
from moderation.tables.base import DEFAULT_TENANT, Base, new_id, utc_now
from moderation.tables.exchanges import Exchange
from moderation.tables.jobs import Batch, Job, Lease
from moderation.tables.people import FaceTemplate, PeopleGallery, Person, PersonEvent
from moderation.tables.scans import IdempotencyKey, Measurement, Scan, StoredImage
from moderation.tables.takedowns import CounterNotice, Notice, NoticeCopy, NoticeImage
from moderation.tables.tenants import ApiKey, Tenant

__all__ = [
    "DEFAULT_TENANT",
    "ApiKey",
    "AuditRecord",
    "Bank",
    "BankEntry",
    "BankEntryDay",
    "BankMatch",
    "BankState",
    "Base",
    "Batch",
    "CounterNotice",
    "Event",
    "Exchange",
    "FaceTemplate",
    "IdempotencyKey",
    "Job",
    "Lease",
    "Measurement",
    "Notice",
    "NoticeCopy",
    "NoticeImage",
    "PeopleGallery",
    "Person",
    "PersonEvent",
    "Scan",
    "StoredImage",
    "Tenant",
    "new_id",
    "utc_now",
]
