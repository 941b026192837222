"""`ordersaga users`: accounts administered from a shell, as the operator whom a certificate names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cli.exiting import CommandFailed
from cli.users.run import Act, act_on, change, erase, log_out, show
from domain.ids import new_id
from domain.users import Role
from runtime.settings import Settings
from services.user.bootstrap import UserComponents
from services.user.errors import AccountDisabled, InvalidRefreshToken, UserErased
from services.user.model import ClientTraits, User
from services.user.server import grpc_service
from tests.support.identities import tls_settings
from tests.support.rpc import serving

PASSWORD = "correct horse"


@pytest_asyncio.fixture(scope="module")
async def at_the_shell(components: UserComponents) -> AsyncIterator[Settings]:
    """The settings of an operator."""
    async with serving(grpc_service(components)) as address:
        yield Settings.model_validate({**tls_settings(), "user_address": address})


@pytest.fixture
async def user(components: UserComponents) -> User:
    return await components.users.register(email=f"user-{new_id()}@example.test", password=PASSWORD, name="Ada\u00a0B")


async def says(capsys: pytest.CaptureFixture[str], settings: Settings, who: str, act: Act) -> dict[str, object]:
    """The account as the command prints it."""
    capsys.readouterr()
    await act_on(settings, who, act, as_json=True)
    printed: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return printed


async def test_an_account_is_found_by_its_id_or_its_address(
    capsys: pytest.CaptureFixture[str], at_the_shell: Settings, user: User
) -> None:
    by_id = await says(capsys, at_the_shell, user.id, show)

    assert by_id == await says(capsys, at_the_shell, user.email.upper(), show)
    assert (by_id["email"], by_id["role"], by_id["disabled"]) == (user.email, "customer", False)
    await act_on(at_the_shell, user.id, show, as_json=False)
    assert f"email           {user.email}\n" in capsys.readouterr().out


@pytest.mark.parametrize("who", ["nobody@example.test", "", "0197a6a5-0000-7000-8000-000000000001"])
async def test_who_is_not_there_is_said_in_a_line(at_the_shell: Settings, who: str) -> None:
    with pytest.raises(CommandFailed):
        await act_on(at_the_shell, who, show, as_json=False)


async def test_roles_are_given_and_the_last_admin_stays_one(
    capsys: pytest.CaptureFixture[str], components: UserComponents, at_the_shell: Settings, user: User
) -> None:
    async with components.database.autocommit() as connection:
        await connection.execute("UPDATE users SET role = 'customer'")

    assert (await says(capsys, at_the_shell, user.id, change(role=Role.ADMIN)))["role"] == "admin"
    for act in (change(role=Role.SUPPORT), change(disabled=True), erase):
        with pytest.raises(CommandFailed, match="last admin"):
            await act_on(at_the_shell, user.id, act, as_json=False)


async def test_an_account_is_disabled_and_enabled(
    capsys: pytest.CaptureFixture[str], components: UserComponents, at_the_shell: Settings, user: User
) -> None:
    assert (await says(capsys, at_the_shell, user.email, change(disabled=True)))["disabled"] is True
    with pytest.raises(AccountDisabled):
        await components.users.authenticate(email=user.email, password=PASSWORD)

    assert (await says(capsys, at_the_shell, user.email, change(disabled=False)))["disabled"] is False
    assert await components.users.authenticate(email=user.email, password=PASSWORD)


async def test_somebody_is_logged_out_everywhere(
    components: UserComponents, at_the_shell: Settings, user: User
) -> None:
    session = await components.refresh_tokens.issue(user, ClientTraits())

    await act_on(at_the_shell, user.email, log_out, as_json=False)

    with pytest.raises(InvalidRefreshToken):
        await components.refresh_tokens.rotate(session.text, ClientTraits())


async def test_somebody_is_erased_by_the_operator_whose_name_is_kept(
    capsys: pytest.CaptureFixture[str], components: UserComponents, at_the_shell: Settings, user: User
) -> None:
    assert await says(capsys, at_the_shell, user.email, erase) == {"id": user.id, "erased": True}

    with pytest.raises(UserErased):
        await components.users.get(user.id)
    async with components.database.autocommit() as connection:
        by = await connection.fetch_value("SELECT requested_by FROM erasures WHERE user_id = %(id)s", id=user.id)
    assert str(by).startswith("operator:")
