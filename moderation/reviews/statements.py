"""What uploaders say in appeals: encrypted at rest, and deleted in time, for it may hold what is nobody else's business."""

from dataclasses import dataclass

import structlog

from moderation.errors import ModerationError, StorageError
from moderation.tables import Appeal
from moderation.vault import Vault

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Statements:
    """Seals and opens statements under the keys of what people file."""

    vault: Vault | None

    def seal(self, tenant: str, appeal_id: str, text: str) -> bytes:
        """Raises StorageError where no key is set."""
        if self.vault is None:
            raise StorageError(
                "No key is set to protect what people say in appeals.",
                hint="Set PALISADE_TAKEDOWN_KEYS; make one with `palisade keys generate-secret`.",
            )
        return self.vault.encrypt(text.encode(), _context(tenant, appeal_id))

    def read(self, appeal: Appeal) -> str | None:
        """What was said; '' once it was deleted, None where its key is not held."""
        if appeal.sealed is None:
            return appeal.unsealed
        try:
            if self.vault is None:
                raise StorageError("No key is set.")
            return self.vault.decrypt(appeal.sealed, _context(appeal.tenant_id, appeal.id)).decode()
        except ModerationError as error:
            log.error("appeal cannot be read", appeal=appeal.id, reason=error.message)
            return None


def _context(tenant: str, appeal_id: str) -> bytes:
    return f"appeal/{tenant}/{appeal_id}".encode()
