"""Where a host's images are: kept here, or behind a URL with the image's id in it."""

from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import quote

import fsspec

from moderation.errors import FetchError, ModerationError, StorageError
from moderation.fetch import SafeClient
from moderation.rescans.records import check_template
from moderation.storage import OPEN_ERRORS, ImageStore


class SourceError(ModerationError):
    """An image could not be had. again: whether another try may succeed."""

    code = "source_failed"
    status = 502

    def __init__(self, message: str, *, again: bool = True, code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.again = again


class Source(Protocol):
    def read(self, tenant: str, sha256: str, external_id: str) -> bytes:
        """The image's file. Raises SourceError."""


class KeptImages:
    """Images that policies had kept."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store

    def read(self, tenant: str, sha256: str, external_id: str) -> bytes:  # noqa: ARG002 - other sources need it
        try:
            return self.store.get(tenant, sha256)
        except StorageError as error:
            raise SourceError(error.message, again=error.http_status != 404, code=error.error_code) from error


class UrlImages:
    """Images behind a URL, `{external_id}` or `{sha256}` in it filled in. http(s) goes through the safe client only."""

    def __init__(self, template: str, client: SafeClient, *, max_bytes: int) -> None:
        check_template(template)
        self.template = template
        self.client = client
        self.max_bytes = max_bytes
        self.web = template.startswith(("http://", "https://"))

    def read(self, tenant: str, sha256: str, external_id: str) -> bytes:  # noqa: ARG002 - the URL is the tenant's
        if "{external_id}" in self.template and not external_id:
            raise SourceError("The host gave no external id for it.", again=False, code="no_external_id")
        if self.web:
            url = self._filled(quote(external_id, safe=""), sha256)
            try:
                return self.client.fetch(url, max_bytes=self.max_bytes).data
            except FetchError as error:
                raise SourceError(
                    error.message, code=error.error_code, again=error.error_code != "fetch_refused"
                ) from error
        if not inside(external_id):
            raise SourceError("Its external id is no path below the source.", again=False, code="no_path")
        return self._open(self._filled(external_id, sha256))

    def _filled(self, external_id: str, sha256: str) -> str:
        return self.template.replace("{external_id}", external_id).replace("{sha256}", sha256)

    def _open(self, url: str) -> bytes:
        try:
            with fsspec.open(url, "rb") as stream:
                data = bytes(stream.read(self.max_bytes + 1))
        except FileNotFoundError as error:
            raise SourceError("It is not at the source any more.", code="not_found") from error
        except OPEN_ERRORS as error:
            raise SourceError(f"The source cannot be read: {type(error).__name__}: {error}.") from error
        if len(data) > self.max_bytes:
            raise SourceError(f"It has more than {self.max_bytes:,} bytes.", again=False, code="too_large")
        return data


def inside(path: str) -> bool:
    """Whether a path stays below where it starts."""
    return not path.startswith("/") and "\\" not in path and "\0" not in path and ".." not in PurePosixPath(path).parts
