"""Encryption at rest: AES-256-GCM under keys that rotate."""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from moderation.errors import SettingsError, StorageError

MAGIC = b"PLSD1"
NONCE = 12


@dataclass(frozen=True)
class Vault:
    """Encrypts with the newest key, decrypts with whichever key a ciphertext names in its header.

    A ciphertext is `PLSD1`, one byte with the length of the key's id, the id, a 12-byte nonce, and AES-GCM's output.
    The header and the caller's context are authenticated, so that one record cannot be passed off as another.
    """

    keys: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str, *, setting: str) -> "Vault":
        """Keys from `id:base64,id:base64`, the newest first. Raises SettingsError, never showing a key."""
        keys: dict[str, bytes] = {}
        for position, part in enumerate(text.split(","), start=1):
            name, _, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not name or len(name.encode()) > 255 or len(key) != 32:
                raise SettingsError(
                    f"{setting}: key number {position} is not `id:base64` of 32 bytes.",
                    hint="Make one with `palisade keys generate-secret`.",
                )
            keys[name] = key
        return cls(keys)

    @classmethod
    def of(cls, secret: SecretStr | None, *, setting: str) -> "Vault | None":
        """The vault of a secret setting, None where it is not set. Raises SettingsError."""
        return cls.parse(secret.get_secret_value(), setting=setting) if secret else None

    @property
    def newest_id(self) -> str:
        return next(iter(self.keys))

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt under the newest key. `context` names the record, and must be given again to decrypt."""
        name = self.newest_id.encode()
        header = MAGIC + bytes([len(name)]) + name
        nonce = os.urandom(NONCE)
        return header + nonce + AESGCM(self.keys[self.newest_id]).encrypt(nonce, plaintext, header + context)

    def decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        """Raises StorageError when the key is not held any more, or the bytes or their context were changed."""
        if not ciphertext.startswith(MAGIC) or len(ciphertext) <= len(MAGIC):
            raise StorageError("The record is not one that Palisade encrypted.")
        end = len(MAGIC) + 1 + ciphertext[len(MAGIC)]
        header, nonce, body = ciphertext[:end], ciphertext[end : end + NONCE], ciphertext[end + NONCE :]
        name = header[len(MAGIC) + 1 :].decode(errors="replace")
        if name not in self.keys:
            raise StorageError(
                f"The record was encrypted with the key {name!r}, which is not among the configured ones.",
                hint="Add the old key behind the newest one.",
            )
        try:
            return AESGCM(self.keys[name]).decrypt(nonce, body, header + context)
        except InvalidTag:
            raise StorageError("The record was changed, or is not the one that was asked for.") from None
