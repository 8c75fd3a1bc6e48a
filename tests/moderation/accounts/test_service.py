"""Making, changing and taking away accounts; what one may choose for oneself."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from moderation.accounts.records import Display
from moderation.application import Application
from moderation.cli import app
from moderation.commands.serve import LOCAL_SECRETS
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.keys.service import KeyService
from moderation.settings import Settings, settings
from moderation.tables import Account, utc_now
from tests.accounts import CLIENT, PASSWORD, someone
from tests.moderation.accounts.conftest import MakeParts


@pytest.mark.parametrize("name", ["", "a", "two words", "a" * 101, "<b>", "a\x00b", "../x", "a\u202eb"])
def test_unfit_names_are_refused(parts: Application, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        parts.accounts.add("default", name, ["reviewer"], actor="test")


@pytest.mark.parametrize("roles", [[], ["king"], ["reviewer", "Admin"], [""]])
def test_unfit_roles_are_refused(parts: Application, roles: list[str]) -> None:
    with pytest.raises(InvalidRequestError):
        parts.accounts.add("default", "ada", roles, actor="test")


def test_queues_are_names_or_all(parts: Application) -> None:
    some, _ = parts.accounts.add("default", "ada", ["reviewer"], queues=[" b", "a-1", "", "b"], actor="test")
    every, _ = parts.accounts.add("default", "bob", ["reviewer"], queues=[" "], actor="test")

    assert some.queues == ["a-1", "b"]
    assert every.queues is None
    with pytest.raises(InvalidRequestError, match="name of a queue"):
        parts.accounts.add("default", "eve", ["reviewer"], queues=["A B"], actor="test")


def test_a_name_is_of_one_account_however_it_is_written(parts: Application) -> None:
    parts.accounts.add("default", "Ada@Example.org", ["reviewer"], actor="test")

    with pytest.raises(ConflictError):
        parts.accounts.add("default", "ada@example.ORG ", ["admin"], actor="test")


def test_the_last_admin_stays(parts: Application) -> None:
    ada = someone(parts, "ada", "admin")
    with pytest.raises(ConflictError, match="last admin"):
        parts.accounts.disable("default", ada.id, actor="test")
    with pytest.raises(ConflictError, match="last admin"):
        parts.accounts.change("default", ada.id, ["reviewer"], actor="test")

    someone(parts, "bob", "admin")
    assert parts.accounts.change("default", ada.id, ["reviewer"], actor="test").roles == ["reviewer"]


def test_tenants_do_not_see_each_others_accounts(parts: Application) -> None:
    KeyService(parts.database).create("other", ["read"], tenant="other")
    ada = someone(parts, "ada", "admin", tenant="other")

    assert parts.accounts.accounts("default") == []
    for act in (parts.accounts.disable, parts.accounts.enable, parts.accounts.reset):
        with pytest.raises(NotFoundError):
            act("default", ada.id, actor="test")
    with pytest.raises(NotFoundError):
        parts.accounts.find("default", ada.id)
    with pytest.raises(NotFoundError):
        parts.accounts.named("default", "ada")
    with pytest.raises(NotFoundError, match="no tenant"):
        parts.accounts.add("nobody", "eve", ["admin"], actor="test")


def test_an_invitation_ends(parts: Application) -> None:
    _, invitation = parts.accounts.add("default", "ada", ["reviewer"], actor="test")
    with parts.database.write() as session:
        session.execute(sa.update(Account).values(invitation_ends_at=utc_now() - timedelta(seconds=1)))

    with pytest.raises(NotFoundError):
        parts.enrolment.choose_password(invitation, PASSWORD)
    with pytest.raises(NotFoundError):
        parts.enrolment.invited("")


def test_a_new_invitation_ends_the_old_one(parts: Application) -> None:
    account, old = parts.accounts.add("default", "ada", ["reviewer"], actor="test")
    _, new = parts.accounts.reset("default", account.id, actor="test")

    assert parts.enrolment.invited(new).id == account.id
    with pytest.raises(NotFoundError):
        parts.enrolment.invited(old)


def test_the_app_comes_after_the_password(parts: Application) -> None:
    _, invitation = parts.accounts.add("default", "ada", ["reviewer"], actor="test")

    with pytest.raises(ConflictError):
        parts.enrolment.authenticator(invitation)
    with pytest.raises(ConflictError):
        parts.enrolment.finish(invitation, "123456", CLIENT)


def test_a_disabled_account_comes_back_as_it_was(parts: Application) -> None:
    someone(parts, "bob", "admin")
    ada = someone(parts)
    parts.accounts.disable("default", ada.id, actor="test")
    assert parts.sessions.find(ada.token) is None
    with pytest.raises(ConflictError, match="disabled"):
        parts.accounts.reset("default", ada.id, actor="test")
    parts.accounts.enable("default", ada.id, actor="test")

    assert parts.sessions.find(ada.sign_in(parts))


def test_sessions_are_listed_and_ended_by_their_own_person(parts: Application) -> None:
    ada, bob = someone(parts), someone(parts, "bob")
    other = ada.sign_in(parts)
    signed = parts.sessions.find(ada.token)
    assert signed is not None
    (theirs,) = parts.sessions.of(bob.account)
    with pytest.raises(NotFoundError):
        parts.sessions.end_one(ada.account, theirs.id)

    assert len(parts.sessions.of(ada.account)) == 2
    assert parts.sessions.end_others(signed) == 1
    assert parts.sessions.find(other) is None
    assert parts.sessions.find(ada.token)
    assert parts.sessions.find(bob.token)


def test_a_display_is_only_ever_safer_than_the_teams(make_parts: MakeParts) -> None:
    parts = make_parts(display_blur=16, display_grey=True, display_small=False)
    ada = someone(parts)

    def prefer(blur: str, *, grey: bool, small: bool) -> Display:
        signed = parts.sessions.find(ada.token)
        assert signed is not None
        parts.signing.prefer(signed, blur, grey=grey, small=small, language="en")
        again = parts.sessions.find(ada.token)
        assert again is not None
        return again.display

    assert prefer("0", grey=False, small=False) == Display(16, grey=True, small=False)
    assert prefer("40", grey=False, small=True) == Display(40, grey=True, small=True)
    with pytest.raises(InvalidRequestError):
        prefer("-1", grey=False, small=False)


def test_commands_from_the_first_account_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Application(Settings(_env_file=None, data_dir=tmp_path))
    parts.database.migrate()
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PALISADE_DASHBOARD_URL", "https://palisade.example/")
    settings.cache_clear()

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["accounts", *words])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    try:
        link = run("add", "ada@example.org", "--role", "admin").split()[-1]
        assert link.startswith("https://palisade.example/welcome/")
        assert parts.enrolment.invited(link.rpartition("/")[2]).name == "ada@example.org"
        run("add", "bob", "--role", "reviewer", "--queue", "general")
        assert "lead" in run("roles", "bob", "--role", "lead")
        assert run("reset", "bob").split()[-1] != link
        run("disable", "bob")
        assert "disabled" in run("list")
        assert "enabled" in run("enable", "bob")
        with pytest.raises(NotFoundError):
            run("disable", "nobody")
    finally:
        settings.cache_clear()


def test_a_local_server_makes_its_own_key() -> None:
    assert "ACCOUNT_KEYS" in LOCAL_SECRETS
