"""Reads uploads from requests: multipart forms, raw bodies, and URLs in JSON."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from api.dependencies import ApplicationDep, CallerDep
from moderation.application import Application
from moderation.errors import InvalidRequestError, MediaError, TooLargeError
from moderation.scans.context import FIELDS, host_context, policy_name, review_facts
from moderation.scans.service import Upload

# Uploads stay in memory: their plain bytes are never written to a disk. The body's limit bounds them.
MultiPartParser.spool_max_size = 1 << 40


async def read_upload(request: Request, app: ApplicationDep, caller: CallerDep) -> Upload:
    """The one image of a request. Raises InvalidRequestError, MediaError, TooLargeError or FetchError."""
    caller.require("scan")
    later = is_asynchronous(request)
    if later:
        await run_in_threadpool(app.jobs.check_room, declared_size(request))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, app.settings.max_bytes)
    if kind == "application/json":
        return await _from_json(request, app, later=later)
    data = await request.body()
    if not data:
        raise MediaError(
            "The request has no body.", code="empty", hint="Send the image's bytes, a form, or a URL in JSON."
        )
    query = request.query_params
    declared = kind if kind.startswith("image/") else None
    return Upload(data, query.get("name"), declared, host_context(query), policy_name(query), **review_facts(query))


def is_asynchronous(request: Request) -> bool:
    """Whether the answer is wanted before the scan is done: `?async=true`, as FastAPI reads truth."""
    return request.query_params.get("async", "").lower() in ("true", "1", "on", "t", "y", "yes")


def declared_size(request: Request) -> int:
    """The body's length as its header says it, 0 where it does not."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0


@dataclass(frozen=True)
class Batch:
    """The images of a batch request, in order."""

    uploads: tuple[Upload, ...]


async def read_batch(request: Request, app: ApplicationDep, caller: CallerDep) -> Batch:
    """The images of a multipart form: every field `image`, under one context. Raises InvalidRequestError."""
    caller.require("scan")
    most = app.settings.max_batch
    async with _form(request, files=most) as form:
        files = [value for key, value in form.multi_items() if isinstance(value, UploadFile) and key == "image"]
        if not files:
            raise InvalidRequestError("The form has no file field `image`.", hint="Send each image as a field `image`.")
        values = _values(request, form)
        uploads = [await _upload(file, values) for file in files]
    return Batch(tuple(uploads))


async def _from_form(request: Request, limit: int) -> Upload:
    async with _form(request, files=1) as form:
        file = form.get("image") or form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequestError(
                "The form has no file field `image`.", hint="Send it as `curl -F image=@photo.jpg`."
            )
        if file.size is not None and file.size > limit:
            raise TooLargeError(
                f"The file has {file.size:,} bytes; at most {limit:,} are taken.",
                code="too_many_bytes",
                hint="Send a smaller file, or raise PALISADE_MAX_BYTES.",
            )
        values = _values(request, form)
        return await _upload(file, values)


@asynccontextmanager
async def _form(request: Request, *, files: int) -> AsyncIterator[FormData]:
    try:
        form = await request.form(max_files=files, max_fields=20)
    except HTTPException as error:
        raise InvalidRequestError(
            f"The form cannot be read: {error.detail}", hint=f"Send multipart/form-data with at most {files} files."
        ) from error
    try:
        yield form
    finally:
        await form.close()


def _values(request: Request, form: FormData) -> dict[str, Any]:
    """What is said of the images: the query's fields, and the form's over them."""
    return {**request.query_params, **{key: value for key, value in form.items() if key in FIELDS}}


async def _upload(file: UploadFile, values: Mapping[str, Any]) -> Upload:
    kind = (file.content_type or "").partition(";")[0].strip().lower()
    context, policy, facts = host_context(values), policy_name(values), review_facts(values)
    declared = kind if kind.startswith("image/") else None
    return Upload(await file.read(), file.filename, declared, context, policy, **facts)


async def _from_json(request: Request, app: Application, *, later: bool) -> Upload:
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not JSON: {error}", hint='Send {"url": "https://…"}.') from error
    if not isinstance(values, dict) or not isinstance(values.get("url"), str):
        raise InvalidRequestError("The JSON has no text `url`.", hint='Send {"url": "https://…"}.')
    unknown = sorted(set(values) - {"url", *FIELDS})
    if unknown:
        raise InvalidRequestError(f"The JSON has unknown fields: {', '.join(map(repr, unknown))[:200]}.")
    context, policy, facts = host_context(values), policy_name(values), review_facts(values)
    if later:
        return Upload(b"", None, None, context, policy, url=values["url"], **facts)
    fetched = await run_in_threadpool(app.client.fetch, values["url"], max_bytes=app.settings.max_bytes)
    return Upload(fetched.data, None, None, context, policy, **facts)


UploadDep = Annotated[Upload, Depends(read_upload)]
BatchDep = Annotated[Batch, Depends(read_batch)]
