"""`/v1/banks`: lists of signals of known images."""

import io
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Path, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.banks import (
    LARGEST_NUMBER,
    NAME,
    AddedAnswer,
    BankAnswer,
    BankChanges,
    BanksAnswer,
    EntriesAnswer,
    EntryAnswer,
    EntryChange,
    HashValue,
    LoadAnswer,
    MatchAnswer,
    MatchesAnswer,
    NearAnswer,
    NewBank,
    NewSignals,
    SearchAnswer,
)
from detectors.image import Image
from detectors.signals import KINDS
from moderation import media
from moderation.application import Application
from moderation.banks.lists import FORMATS, read_list, write_list
from moderation.banks.matcher import Probe
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.errors import InvalidRequestError
from moderation.keys.service import Caller
from moderation.media import MediaLimits

router = APIRouter(prefix="/v1/banks", tags=["banks"], responses=ERRORS)


def bank_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `banks`."""
    caller.require("banks")
    return caller


BankCaller = Annotated[Caller, Depends(bank_caller)]
Name = Annotated[str, Path(pattern=f"^{NAME}$", description="The bank's name.", examples=["ncii"])]
EntryId = Annotated[int, Path(ge=1, le=LARGEST_NUMBER, description="The entry's number.")]
Limit = Annotated[int, Query(ge=1, le=5_000)]
ListFormat = Literal[FORMATS]  # type: ignore[valid-type]


@router.post("", status_code=201)
def create_bank(bank: NewBank, caller: BankCaller, app: ApplicationDep) -> BankAnswer:
    """Make a bank."""
    app.banks.create(caller.tenant, BankSpec(**bank.model_dump()), actor=caller.key_id)
    return BankAnswer.of(app.banks.find(caller.tenant, bank.name))


@router.get("")
def list_banks(caller: BankCaller, app: ApplicationDep) -> BanksAnswer:
    """All banks, and how much is in them."""
    return BanksAnswer(banks=[BankAnswer.of(bank) for bank in app.banks.banks(caller.tenant)])


@router.post("/search")
def search_hash(signal: HashValue, caller: BankCaller, app: ApplicationDep) -> SearchAnswer:
    """Entries that a hash matches, in whatever state they are: the nearest first."""
    near = app.banks.search(caller.tenant, [Probe(Signal.parse(signal.kind, signal.value))])
    return SearchAnswer(matches=[NearAnswer.of(match) for match in near])


@router.post("/search/image")
def search_image(image: Annotated[UploadFile, File()], caller: BankCaller, app: ApplicationDep) -> SearchAnswer:
    """Entries that an image matches, turned and mirrored too. The image is not kept."""
    with app.scanner.turn():
        near = app.banks.search_image(caller.tenant, opened(app, image))
    return SearchAnswer(matches=[NearAnswer.of(match) for match in near])


@router.get("/{name}")
def read_bank(name: Name, caller: BankCaller, app: ApplicationDep) -> BankAnswer:
    """A bank by name."""
    return BankAnswer.of(app.banks.find(caller.tenant, name))


@router.patch("/{name}")
def change_bank(name: Name, changes: BankChanges, caller: BankCaller, app: ApplicationDep) -> BankAnswer:
    """Change a bank. What is left away stays as it is."""
    bank = app.banks.update(caller.tenant, name, changes.model_dump(), actor=caller.key_id)
    return BankAnswer.of(app.banks.find(caller.tenant, bank.name))


@router.delete("/{name}", status_code=204)
def delete_bank(name: Name, caller: BankCaller, app: ApplicationDep) -> Response:
    """Delete a bank and all its entries."""
    app.banks.delete(caller.tenant, name, actor=caller.key_id)
    return Response(status_code=204)


@router.post("/{name}/signals", status_code=201)
def add_signals(name: Name, new: NewSignals, caller: BankCaller, app: ApplicationDep) -> AddedAnswer:
    """Add hashes. One that is not a hash refuses the request; for long lists see `/list`."""
    entries = [NewEntry(Signal.parse(s.kind, s.value), s.external_id, s.note) for s in new.signals]
    added = app.banks.add(caller.tenant, name, entries, actor=caller.key_id)
    return AddedAnswer(added=added, present=len(entries) - added)


@router.post("/{name}/images", status_code=201)
def add_image(
    name: Name,
    image: Annotated[UploadFile, File(description="Listed by its hashes; not kept.")],
    caller: BankCaller,
    app: ApplicationDep,
    note: Annotated[str, Form(max_length=2_000)] = "",
) -> AddedAnswer:
    """Add an image by its SHA-256, MD5 and PDQ. One too plain for PDQ is `unhashable`, and listed by its digests alone."""
    with app.scanner.turn():
        signals, missing = app.banks.signals_of(opened(app, image))
    entries = [NewEntry(signal, note=note) for signal in signals]
    added = app.banks.add(caller.tenant, name, entries, actor=caller.key_id)
    shown = [HashValue(kind=signal.kind, value=signal.hex) for signal in signals]
    return AddedAnswer(added=added, present=len(entries) - added, signals=shown, unhashable=missing)


@router.get("/{name}/entries")
def list_entries(
    name: Name,
    caller: BankCaller,
    app: ApplicationDep,
    *,
    after: Annotated[int, Query(ge=0, le=LARGEST_NUMBER, description="Only entries behind this number.")] = 0,
    limit: Limit = 100,
    state: Annotated[Literal["", "quarantined", "disabled"], Query(description="Only of this state.")] = "",
) -> EntriesAnswer:
    """A page of a bank's entries."""
    page = app.banks.entries(caller.tenant, name, after=after, limit=limit, state=state)
    last = page[-1].id if len(page) == limit else None
    return EntriesAnswer(entries=[EntryAnswer.of(entry) for entry in page], next=last)


@router.get("/{name}/matches")
def list_matches(
    name: Name,
    caller: BankCaller,
    app: ApplicationDep,
    *,
    entry: Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER, description="Only of this entry.")] = None,
    before: Annotated[str, Query(max_length=40, description="Only matches before this one.")] = "",
    limit: Limit = 100,
) -> MatchesAnswer:
    """Images that the bank matched, the newest first."""
    found = app.banks.matches(caller.tenant, name, entry_id=entry, after=before.replace("\0", ""), limit=limit)
    return MatchesAnswer(matches=[MatchAnswer.of(match) for match in found])


@router.post("/{name}/list")
def load_list(
    name: Name,
    file: Annotated[UploadFile, File(description="The list.")],
    caller: BankCaller,
    app: ApplicationDep,
    *,
    list_format: Annotated[ListFormat, Form(alias="format")] = "csv",
    kind: Annotated[str, Form(max_length=40, description=f"Of rows without one: {', '.join(KINDS)}.")] = "",
    all_or_nothing: Annotated[bool, Form(description="Load nothing when a row is malformed.")] = False,
) -> LoadAnswer:
    """Load a list. Malformed rows are told by line, and the rest is loaded. For lists of any length: `palisade banks import`."""
    data = file.file.read()
    if all_or_nothing:
        for line, row in read_list(io.BytesIO(data), list_format, kind=kind):
            if isinstance(row, InvalidRequestError):
                raise InvalidRequestError(f"Line {line}: {row.message} Nothing was loaded.", hint=row.hint)
    rows = read_list(io.BytesIO(data), list_format, kind=kind)
    return LoadAnswer.model_validate(app.banks.load(caller.tenant, name, rows, actor=caller.key_id).as_dict())


@router.get("/{name}/list", response_class=StreamingResponse)
def export_list(
    name: Name,
    caller: BankCaller,
    app: ApplicationDep,
    list_format: Annotated[ListFormat, Query(alias="format")] = "csv",
) -> StreamingResponse:
    """The bank as a list."""
    app.banks.find(caller.tenant, name)
    kind = {"csv": "text/csv", "jsonl": "application/x-ndjson"}.get(list_format, "application/json")
    return StreamingResponse(write_list(app.banks.all_entries(caller.tenant, name), list_format), media_type=kind)


@router.patch("/entries/{entry_id}")
def change_entry(entry_id: EntryId, change: EntryChange, caller: BankCaller, app: ApplicationDep) -> EntryAnswer:
    """Disable an entry until a moment, enable it, or release it from quarantine."""
    about = {"actor": caller.key_id, "note": change.note}
    if change.release:
        return EntryAnswer.of(app.banks.release(caller.tenant, entry_id, **about))
    return EntryAnswer.of(app.banks.disable(caller.tenant, entry_id, change.disabled_until, **about))


@router.delete("/entries/{entry_id}", status_code=204)
def delete_entry(entry_id: EntryId, caller: BankCaller, app: ApplicationDep) -> Response:
    """Delete an entry. It does not match from now on."""
    app.banks.remove(caller.tenant, entry_id, actor=caller.key_id)
    return Response(status_code=204)


def opened(app: Application, file: UploadFile) -> Image:
    """The image of a form, within the limits. Raises MediaError."""
    return media.open(file.file.read(), MediaLimits.of(app.settings), name=file.filename)
