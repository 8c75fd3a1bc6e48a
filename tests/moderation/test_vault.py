"""Encryption at rest."""

import base64

import pytest

from moderation.errors import SettingsError, StorageError
from moderation.vault import Vault


def vault(*names: str) -> Vault:
    return Vault.parse(",".join(f"{n}:{base64.b64encode(n.encode() * 32).decode()}" for n in names), setting="KEYS")


def test_what_is_encrypted_comes_back() -> None:
    assert vault("a").decrypt(vault("a").encrypt(b"pixels", b"img_1"), b"img_1") == b"pixels"


def test_an_older_key_still_decrypts_and_the_newest_encrypts() -> None:
    old = vault("a").encrypt(b"pixels", b"img_1")

    assert vault("b", "a").decrypt(old, b"img_1") == b"pixels"
    assert vault("b", "a").newest_id == "b"


@pytest.mark.parametrize("position", [0, 5, 6, 8, 20, -1])
def test_any_changed_byte_is_noticed(position: int) -> None:
    record = bytearray(vault("a").encrypt(b"pixels", b"img_1"))
    record[position] ^= 1

    with pytest.raises(StorageError):
        vault("a").decrypt(bytes(record), b"img_1")


def test_a_record_cannot_stand_for_another() -> None:
    with pytest.raises(StorageError, match="not the one"):
        vault("a").decrypt(vault("a").encrypt(b"pixels", b"img_1"), b"img_2")


def test_a_lost_key_is_named() -> None:
    with pytest.raises(StorageError, match="'a'"):
        vault("b").decrypt(vault("a").encrypt(b"pixels", b"img_1"), b"img_1")


@pytest.mark.parametrize("record", [b"", b"PLSD1", b"PLSD1\xff", b"plain"])
def test_fragments_are_refused(record: bytes) -> None:
    with pytest.raises(StorageError):
        vault("a").decrypt(record, b"")


@pytest.mark.parametrize("text", ["", "a", "a:", "a:abc", ":" + "A" * 44, "a:" + base64.b64encode(b"short").decode()])
def test_bad_keys_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="number 1") as refusal:
        Vault.parse(text, setting="KEYS")

    assert "AAAA" not in refusal.value.message
