"""Signing in: what is let in, what is refused, and how guesses are slowed."""

import threading
import time
from datetime import timedelta

import pyotp
import pytest
import sqlalchemy as sa

from moderation.accounts import signing, totp
from moderation.accounts.sessions import Client
from moderation.application import Application
from moderation.errors import AuthenticationError, InvalidRequestError, ModerationError, RateLimitError, StorageError
from moderation.roles import Role
from moderation.tables import Account, AccountSession, AuditRecord, RecoveryCode, utc_now
from tests.accounts import CLIENT, PASSWORD, someone
from tests.moderation.accounts.conftest import MakeParts


def test_password_and_code_make_a_session(parts: Application) -> None:
    ada = someone(parts, "Ada@Example.org", "reviewer", "lead")

    signed = parts.sessions.find(ada.sign_in(parts))

    assert signed is not None
    assert signed.person.name == "ada@example.org"
    assert signed.person.roles == {Role.REVIEWER, Role.LEAD}
    assert signed.person.queues is None


def test_neither_passwords_nor_tokens_nor_secrets_are_kept(parts: Application) -> None:
    ada = someone(parts)
    token = ada.sign_in(parts)

    with parts.database.read() as session:
        (account,) = session.scalars(sa.select(Account)).all()
        digests = session.scalars(sa.select(AccountSession.digest)).all()
        codes = session.scalars(sa.select(RecoveryCode.digest)).all()
    assert account.password.startswith("$argon2id$")
    assert ada.secret.encode() not in (account.totp_secret or b"")
    assert token not in digests
    assert not set(ada.recovery) & set(codes)
    assert account.invitation is None


def test_the_password_alone_opens_nothing(parts: Application) -> None:
    ada = someone(parts)

    pending = parts.signing.password(ada.name, PASSWORD, CLIENT)

    assert parts.sessions.find(pending) is None


@pytest.mark.parametrize("name", ["ada@example.org", "nobody@example.org", "no name at all"])
def test_refusals_are_all_alike(parts: Application, name: str) -> None:
    someone(parts)

    with pytest.raises(AuthenticationError) as refusal:
        parts.signing.password(name, "wrong", CLIENT)

    assert refusal.value.message == "The name or the password is wrong."


def test_an_unknown_name_takes_as_long_as_a_known_one(parts: Application) -> None:
    someone(parts)

    def seconds(name: str) -> float:
        start = time.perf_counter()
        with pytest.raises(AuthenticationError):
            parts.signing.password(name, "wrong", CLIENT)
        return time.perf_counter() - start

    known = min(seconds("ada@example.org") for _ in range(3))
    unknown = min(seconds("nobody@example.org") for _ in range(3))
    assert unknown > known / 2


def test_a_code_works_once(parts: Application) -> None:
    ada = someone(parts)
    code = ada.code(parts)
    first = parts.signing.password(ada.name, PASSWORD, CLIENT)
    second = parts.signing.password(ada.name, PASSWORD, CLIENT)
    parts.signing.code(first, code, CLIENT)

    with pytest.raises(AuthenticationError, match="used before"):
        parts.signing.code(second, code, CLIENT)


def test_a_code_of_an_earlier_step_is_no_use_after_a_later_one() -> None:
    secret, now = totp.new_secret(), 1_800_000_000.0
    earlier, later = (pyotp.TOTP(secret).at(int(now) + shift) for shift in (-30, 0))
    step = totp.matching_step(secret, later, after=0, now=now)

    assert step is not None
    assert totp.matching_step(secret, earlier, after=0, now=now) == step - 1
    assert totp.matching_step(secret, earlier, after=step, now=now) is None
    assert totp.matching_step(secret, pyotp.TOTP(secret).at(int(now) - 90), after=0, now=now) is None


def test_the_first_step_is_used_up_by_the_second(parts: Application) -> None:
    ada = someone(parts)
    pending = parts.signing.password(ada.name, PASSWORD, CLIENT)
    parts.signing.code(pending, ada.code(parts), CLIENT)

    with pytest.raises(AuthenticationError, match="too long"):
        parts.signing.code(pending, ada.code(parts), CLIENT)


def test_a_recovery_code_works_once_however_it_is_typed(parts: Application) -> None:
    ada = someone(parts)
    typed = ada.recovery[0].upper().replace("-", " ")
    assert parts.signing.code(parts.signing.password(ada.name, PASSWORD, CLIENT), typed, CLIENT)

    again = parts.signing.password(ada.name, PASSWORD, CLIENT)
    with pytest.raises(AuthenticationError):
        parts.signing.code(again, typed, CLIENT)


def test_recovery_codes_belong_to_one_account(parts: Application) -> None:
    ada, bob = someone(parts), someone(parts, "bob")
    pending = parts.signing.password(bob.name, PASSWORD, CLIENT)

    with pytest.raises(AuthenticationError):
        parts.signing.code(pending, ada.recovery[0], CLIENT)


def test_new_recovery_codes_need_the_app_and_end_the_old_ones(parts: Application) -> None:
    ada = someone(parts)
    signed = parts.sessions.find(ada.token)
    assert signed is not None
    with pytest.raises(AuthenticationError):
        parts.signing.renew_recovery_codes(signed, ada.recovery[0])

    fresh = parts.signing.renew_recovery_codes(signed, ada.code(parts))

    assert len(set(fresh) - set(ada.recovery)) == 10
    pending = parts.signing.password(ada.name, PASSWORD, CLIENT)
    with pytest.raises(AuthenticationError):
        parts.signing.code(pending, ada.recovery[0], CLIENT)


def test_failures_make_an_account_wait_longer_and_longer(parts: Application) -> None:
    ada = someone(parts)
    for _ in range(signing.FREE_FAILURES):
        with pytest.raises(AuthenticationError):
            parts.signing.password(ada.name, "wrong", CLIENT)

    with pytest.raises(AuthenticationError):
        parts.signing.password(ada.name, PASSWORD, CLIENT)
    assert 0 < waiting(parts, ada.id) <= 30
    let_time_pass(parts, ada.id)
    with pytest.raises(AuthenticationError):
        parts.signing.password(ada.name, "wrong", CLIENT)
    assert 30 < waiting(parts, ada.id) <= 60
    let_time_pass(parts, ada.id)
    assert parts.sessions.find(ada.sign_in(parts))


def test_wrong_codes_make_an_account_wait_even_after_the_right_password(parts: Application) -> None:
    ada = someone(parts)
    pending = parts.signing.password(ada.name, PASSWORD, CLIENT)
    for _ in range(signing.FREE_FAILURES):
        with pytest.raises(AuthenticationError):
            parts.signing.code(pending, "000000x", CLIENT)

    with pytest.raises(RateLimitError, match="several failures"):
        parts.signing.code(pending, ada.code(parts), CLIENT)


def test_guesses_at_once_are_counted_each(parts: Application) -> None:
    ada = someone(parts)

    def guess() -> None:
        with pytest.raises(ModerationError):
            parts.signing.password(ada.name, "wrong", CLIENT)

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with parts.database.read() as session:
        account = session.get(Account, ada.id)
    assert account is not None
    assert account.failures == signing.FREE_FAILURES


def test_one_address_may_try_so_often(make_parts: MakeParts) -> None:
    parts = make_parts(sign_in_rate_limit="3/hour")
    for number in range(3):
        with pytest.raises(AuthenticationError):
            parts.signing.password(f"name{number}", "wrong", CLIENT)

    with pytest.raises(RateLimitError):
        parts.signing.password("name3", "wrong", CLIENT)
    with pytest.raises(AuthenticationError):
        parts.signing.password("name3", "wrong", Client("203.0.113.8"))


def test_a_new_password_ends_every_session(parts: Application) -> None:
    ada = someone(parts)
    other, signed = ada.sign_in(parts), parts.sessions.find(ada.token)
    assert signed is not None

    token = parts.signing.change_password(signed, PASSWORD, "quiet harbour at seven", CLIENT)

    assert parts.sessions.find(token)
    assert parts.sessions.find(other) is None
    assert parts.sessions.find(ada.token) is None
    with pytest.raises(AuthenticationError):
        parts.signing.password(ada.name, PASSWORD, CLIENT)


def test_a_stolen_session_does_not_change_the_password_by_guessing(parts: Application) -> None:
    ada = someone(parts)
    signed = parts.sessions.find(ada.token)
    assert signed is not None
    for _ in range(signing.FREE_FAILURES):
        with pytest.raises(AuthenticationError):
            parts.signing.change_password(signed, "guess", "quiet harbour at seven", CLIENT)

    with pytest.raises(RateLimitError):
        parts.signing.change_password(signed, PASSWORD, "quiet harbour at seven", CLIENT)


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 201, "password1234", "PASSWORD-123456", "adalovelace-nine-times", "aaaaaaaaaaaaaaaa", "abababababababab", "palisadepalisade"],
)  # fmt: skip
def test_poor_passwords_are_refused(parts: Application, password: str) -> None:
    _, invitation = parts.accounts.add("default", "adalovelace@example.org", ["reviewer"], actor="test")

    with pytest.raises(InvalidRequestError):
        parts.enrolment.choose_password(invitation, password)


def test_the_same_characters_from_another_keyboard_are_the_same_password(parts: Application) -> None:
    ada = someone(parts)
    signed = parts.sessions.find(ada.token)
    assert signed is not None
    parts.signing.change_password(signed, PASSWORD, "vier Bäume am Ufer", CLIENT)

    assert parts.signing.password(ada.name, "vier Ba\u0308ume am Ufer", CLIENT)


def test_without_a_key_nothing_is_enrolled(make_parts: MakeParts) -> None:
    parts = make_parts(account_keys=None)
    _, invitation = parts.accounts.add("default", "ada", ["reviewer"], actor="test")

    with pytest.raises(StorageError, match="PALISADE_ACCOUNT_KEYS"):
        parts.enrolment.choose_password(invitation, PASSWORD)


def test_what_was_done_is_in_the_trail_without_names(parts: Application) -> None:
    ada = someone(parts)
    ada.sign_in(parts)
    parts.sessions.end(ada.token)

    with parts.database.read() as session:
        records = session.scalars(sa.select(AuditRecord).where(AuditRecord.subject == ada.id)).all()
    assert {record.action for record in records} == {
        "account.added",
        "account.enrolled",
        "account.signed_in",
        "account.signed_out",
    }
    assert "example.org" not in str([record.note for record in records])


def waiting(parts: Application, account_id: str) -> float:
    with parts.database.read() as session:
        account = session.get(Account, account_id)
        assert account is not None
        assert account.locked_until is not None
        return (account.locked_until - utc_now()).total_seconds()


def let_time_pass(parts: Application, account_id: str) -> None:
    with parts.database.write() as session:
        account = session.get(Account, account_id)
        assert account is not None
        account.locked_until = utc_now() - timedelta(seconds=1)
