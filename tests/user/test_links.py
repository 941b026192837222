"""One-time links on a real PostgreSQL: confirming an address, resetting a password, changing either."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from domain.ids import new_id
from domain.users import Role
from runtime.database import Database
from services.user.bootstrap import UserComponents
from services.user.errors import (
    BadCredentials,
    EmailTaken,
    InvalidRefreshToken,
    LinkNotValid,
    TooManyMails,
    UserNotFound,
)
from services.user.links.model import LinkToken
from services.user.links.requests import MAILS_PER_HOUR
from services.user.model import ClientTraits, User
from tests.support.rows import fetch_rows

PASSWORD, ANOTHER = "correct horse", "battery staple"


def new_email() -> str:
    return f"user-{new_id()}@example.test"


@pytest.fixture
async def user(components: UserComponents) -> User:
    return await components.users.register(email=new_email(), password=PASSWORD, name="Ada")


async def events(database: Database, user: User) -> list[tuple[str, int, dict[str, Any]]]:
    rows = await fetch_rows(
        database, "SELECT ce_type, ce_seq, data FROM outbox WHERE key = %(id)s ORDER BY id", id=user.id
    )
    return [(kind, seq, json.loads(data)) for kind, seq, data in rows]


async def mailed(components: UserComponents, user: User, kind: str) -> str:
    """The token in the mail about the last event of this kind."""
    found = [data["linkId"] for name, _, data in await events(components.database, user) if name == f"user.{kind}"]
    return (await components.links.issue(found[-1])).token


async def request_reset(components: UserComponents, email: str) -> None:
    await components.links.request_reset(email)
    await components.resets.process_due()


async def read(components: UserComponents, user: User) -> User:
    return await components.users.get(user.id)


async def age(database: Database, user: User, interval: str) -> None:
    """Let the links of an account be older."""
    async with database.autocommit() as connection:
        await connection.execute(
            """
            UPDATE account_links SET requested_at = requested_at - %(by)s::interval,
                   expires_at = expires_at - %(by)s::interval
             WHERE user_id = %(user_id)s
            """,
            by=interval,
            user_id=user.id,
        )


class TestConfirmation:
    async def test_a_new_account_has_a_link_mailed_that_confirms_its_address_once(
        self, components: UserComponents, user: User
    ) -> None:
        assert not (await read(components, user)).email_confirmed

        token = await mailed(components, user, "confirmation_requested")
        await components.links.confirm(token)
        await components.links.confirm(token)

        assert (await read(components, user)).email_confirmed
        assert [kind for kind, _, _ in await events(components.database, user)] == [
            "user.created",
            "user.confirmation_requested",
            "user.email_confirmed",
        ]

    async def test_events_are_numbered_without_a_gap_and_hold_ids_alone(
        self, components: UserComponents, user: User
    ) -> None:
        await components.links.confirm(await mailed(components, user, "confirmation_requested"))

        found = await events(components.database, user)

        assert [seq for _, seq, _ in found] == [1, 2, 3]
        assert all(data.keys() <= {"userId", "linkId", "at"} for _, _, data in found)

    async def test_a_token_has_256_random_bits_of_which_only_the_hash_is_stored(
        self, components: UserComponents, user: User
    ) -> None:
        token = await mailed(components, user, "confirmation_requested")

        [(stored,)] = await fetch_rows(
            components.database, "SELECT token_hashes FROM account_links WHERE user_id = %(id)s", id=user.id
        )

        parsed = LinkToken.parse(token)
        assert parsed is not None
        assert (len(token), len(parsed.secret), len(urlsafe_b64decode(token))) == (64, 32, 48)
        assert stored == [parsed.hash]
        assert parsed.secret not in stored

    async def test_a_mail_that_is_written_again_has_another_token_and_both_work(
        self, components: UserComponents, user: User
    ) -> None:
        first = await mailed(components, user, "confirmation_requested")
        second = await mailed(components, user, "confirmation_requested")

        assert first != second
        await components.links.confirm(first)
        assert (await read(components, user)).email_confirmed

    async def test_a_link_can_be_asked_for_again_a_few_times_an_hour_until_it_was_used(
        self, components: UserComponents, user: User
    ) -> None:
        for _ in range(MAILS_PER_HOUR - 1):
            await components.links.request_confirmation(user.id)
        with pytest.raises(TooManyMails):
            await components.links.request_confirmation(user.id)
        await age(components.database, user, "61 minutes")

        await components.links.request_confirmation(user.id)

        await components.links.confirm(await mailed(components, user, "confirmation_requested"))
        before = await events(components.database, user)
        await components.links.request_confirmation(user.id)
        assert await events(components.database, user) == before

    @pytest.mark.parametrize("token", ["", "x", "x" * 64, "ä" * 64, "A" * 64])
    async def test_what_opens_no_link_is_refused(self, components: UserComponents, token: str) -> None:
        with pytest.raises(LinkNotValid):
            await components.links.confirm(token)

    async def test_a_link_is_opened_by_its_own_token_alone(self, components: UserComponents, user: User) -> None:
        parsed = LinkToken.parse(await mailed(components, user, "confirmation_requested"))
        assert parsed is not None

        with pytest.raises(LinkNotValid):
            await components.links.confirm(LinkToken.new(parsed.link_id).text)

    async def test_a_link_expires(self, components: UserComponents, user: User) -> None:
        token = await mailed(components, user, "confirmation_requested")
        await age(components.database, user, "73 hours")

        with pytest.raises(LinkNotValid):
            await components.links.confirm(token)

    async def test_a_link_that_was_not_written_in_a_week_is_written_no_more(
        self, components: UserComponents, user: User
    ) -> None:
        await age(components.database, user, "8 days")

        with pytest.raises(LinkNotValid):
            await mailed(components, user, "confirmation_requested")

    async def test_an_admin_whom_the_shop_names_needs_no_mail(self, components: UserComponents) -> None:
        admin = await components.users.ensure_admin(email=new_email(), password=PASSWORD, name="Admin")

        assert (admin.role, admin.email_confirmed) == (Role.ADMIN, True)
        assert [kind for kind, _, _ in await events(components.database, admin)] == ["user.created"]


class TestPasswordReset:
    async def test_a_link_lets_its_reader_choose_a_password_once_and_ends_every_session(
        self, components: UserComponents, user: User
    ) -> None:
        session = await components.refresh_tokens.issue(user, ClientTraits())
        await request_reset(components, user.email.upper())
        token = await mailed(components, user, "password_reset_requested")

        await components.links.reset_password(token, ANOTHER)

        assert await components.users.authenticate(email=user.email, password=ANOTHER)
        with pytest.raises(BadCredentials):
            await components.users.authenticate(email=user.email, password=PASSWORD)
        with pytest.raises(InvalidRefreshToken):
            await components.refresh_tokens.rotate(session.text, ClientTraits())
        with pytest.raises(LinkNotValid):
            await components.links.reset_password(token, "another one still")
        assert (await events(components.database, user))[-1][0] == "user.password_changed"

    async def test_who_reads_the_mail_has_confirmed_the_address(self, components: UserComponents, user: User) -> None:
        await request_reset(components, user.email)

        await components.links.reset_password(await mailed(components, user, "password_reset_requested"), ANOTHER)

        assert (await read(components, user)).email_confirmed

    async def test_of_two_that_use_a_link_at_once_one_chooses_the_password(
        self, components: UserComponents, user: User
    ) -> None:
        await request_reset(components, user.email)
        token = await mailed(components, user, "password_reset_requested")

        outcomes = await asyncio.gather(
            *(components.links.reset_password(token, f"{ANOTHER} {number}") for number in range(3)),
            return_exceptions=True,
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LinkNotValid", "LinkNotValid", "NoneType"]
        chosen = next(number for number, outcome in enumerate(outcomes) if outcome is None)
        assert await components.users.authenticate(email=user.email, password=f"{ANOTHER} {chosen}")

    async def test_another_link_that_was_mailed_before_works_no_more(
        self, components: UserComponents, user: User
    ) -> None:
        await request_reset(components, user.email)
        first = await mailed(components, user, "password_reset_requested")
        await request_reset(components, user.email)
        second = await mailed(components, user, "password_reset_requested")

        await components.links.reset_password(second, ANOTHER)

        with pytest.raises(LinkNotValid):
            await components.links.reset_password(first, PASSWORD)

    async def test_for_an_address_without_an_account_the_same_is_stored_and_nothing_is_mailed(
        self, components: UserComponents
    ) -> None:
        await components.links.request_reset(new_email())

        waiting = "SELECT count(*) FROM password_reset_requests"
        assert await fetch_rows(components.database, waiting) == [(1,)]
        assert await components.resets.process_due() == 1
        assert await fetch_rows(components.database, waiting) == [(0,)]

    async def test_a_disabled_account_gets_no_link_and_one_that_it_has_works_no_more(
        self, components: UserComponents, user: User
    ) -> None:
        await request_reset(components, user.email)
        token = await mailed(components, user, "password_reset_requested")
        await components.administration.change(user.id, role=None, disabled=True, actor="test")
        before = await events(components.database, user)

        await request_reset(components, user.email)

        assert await events(components.database, user) == before
        with pytest.raises(LinkNotValid):
            await components.links.reset_password(token, ANOTHER)

    async def test_somebody_elses_asking_mails_a_few_links_an_hour_at_most(
        self, components: UserComponents, user: User
    ) -> None:
        for _ in range(MAILS_PER_HOUR + 2):
            await request_reset(components, user.email)

        kinds = [kind for kind, _, _ in await events(components.database, user)]
        assert kinds.count("user.password_reset_requested") == MAILS_PER_HOUR

    async def test_it_works_for_an_hour_and_for_nothing_else(self, components: UserComponents, user: User) -> None:
        await request_reset(components, user.email)
        token = await mailed(components, user, "password_reset_requested")

        with pytest.raises(LinkNotValid):
            await components.links.confirm(token)
        with pytest.raises(LinkNotValid):
            await components.links.reset_password(await mailed(components, user, "confirmation_requested"), ANOTHER)
        await age(components.database, user, "61 minutes")
        with pytest.raises(LinkNotValid):
            await components.links.reset_password(token, ANOTHER)


class TestPasswordChange:
    async def test_it_wants_the_current_one_and_ends_the_other_sessions(
        self, components: UserComponents, user: User
    ) -> None:
        this, other = [await components.refresh_tokens.issue(user, ClientTraits()) for _ in range(2)]
        with pytest.raises(BadCredentials):
            await components.links.change_password(user.id, current="wrong horse", new=ANOTHER, session=this.session_id)

        await components.links.change_password(user.id, current=PASSWORD, new=ANOTHER, session=this.session_id)

        assert await components.users.authenticate(email=user.email, password=ANOTHER)
        assert await components.refresh_tokens.rotate(this.text, ClientTraits())
        with pytest.raises(InvalidRefreshToken):
            await components.refresh_tokens.rotate(other.text, ClientTraits())
        assert (await events(components.database, user))[-1][0] == "user.password_changed"

    async def test_a_login_with_the_old_one_gets_no_session_after_it(
        self, components: UserComponents, user: User
    ) -> None:
        verified = await components.users.authenticate(email=user.email, password=PASSWORD)

        await components.links.change_password(user.id, current=PASSWORD, new=ANOTHER, session="")

        with pytest.raises(BadCredentials):
            await components.refresh_tokens.issue(verified, ClientTraits())

    async def test_nobody_changes_the_password_of_an_account_that_is_gone(self, components: UserComponents) -> None:
        with pytest.raises(UserNotFound):
            await components.links.change_password(new_id(), current=PASSWORD, new=ANOTHER, session="")


class TestEmailChange:
    async def test_another_address_counts_once_its_reader_confirms_it_and_the_old_one_is_told(
        self, components: UserComponents, user: User
    ) -> None:
        another = new_email()
        await components.links.change_email(user.id, password=PASSWORD, email=another)
        assert (await read(components, user)).email == user.email
        token = await mailed(components, user, "email_change_requested")

        for _ in range(2):
            await components.links.confirm(token)

        changed = await read(components, user)
        assert (changed.email, changed.email_confirmed) == (another, True)
        [(_, _, data)] = [
            event for event in await events(components.database, user) if event[0] == "user.email_changed"
        ]
        told = await components.links.get_replaced_email(data["linkId"])
        assert (told.email, told.name) == (user.email, "Ada")

    async def test_it_wants_the_password_and_an_address_that_nobody_has(
        self, components: UserComponents, user: User
    ) -> None:
        other = await components.users.register(email=new_email(), password=PASSWORD, name="Other")

        with pytest.raises(BadCredentials):
            await components.links.change_email(user.id, password="wrong horse", email=new_email())
        with pytest.raises(EmailTaken):
            await components.links.change_email(user.id, password=PASSWORD, email=other.email.upper())

    async def test_an_address_that_somebody_took_meanwhile_stays_theirs(
        self, components: UserComponents, user: User
    ) -> None:
        another = new_email()
        await components.links.change_email(user.id, password=PASSWORD, email=another)
        token = await mailed(components, user, "email_change_requested")
        await components.users.register(email=another, password=PASSWORD, name="Other")

        with pytest.raises(EmailTaken):
            await components.links.confirm(token)

        assert (await read(components, user)).email == user.email

    async def test_links_that_went_to_the_old_address_work_no_more(
        self, components: UserComponents, user: User
    ) -> None:
        await request_reset(components, user.email)
        reset = await mailed(components, user, "password_reset_requested")
        confirmation = await mailed(components, user, "confirmation_requested")
        await components.links.change_email(user.id, password=PASSWORD, email=new_email())

        await components.links.confirm(await mailed(components, user, "email_change_requested"))

        with pytest.raises(LinkNotValid):
            await components.links.reset_password(reset, ANOTHER)
        with pytest.raises(LinkNotValid):
            await components.links.confirm(confirmation)

    async def test_a_change_of_password_takes_back_a_change_of_address_that_waits(
        self, components: UserComponents, user: User
    ) -> None:
        await components.links.change_email(user.id, password=PASSWORD, email=new_email())
        token = await mailed(components, user, "email_change_requested")

        await components.links.change_password(user.id, current=PASSWORD, new=ANOTHER, session="")

        with pytest.raises(LinkNotValid):
            await components.links.confirm(token)

    async def test_strangers_get_a_few_mails_an_hour_at_most(self, components: UserComponents, user: User) -> None:
        for _ in range(MAILS_PER_HOUR):
            await components.links.change_email(user.id, password=PASSWORD, email=new_email())

        with pytest.raises(TooManyMails):
            await components.links.change_email(user.id, password=PASSWORD, email=new_email())
