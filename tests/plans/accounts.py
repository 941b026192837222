"""Every statement of the user database."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

from bench.filling.fill import Filled
from domain.events import USER_EVENTS
from domain.ids import new_id
from domain.rate_limits import Rate
from domain.users import LinkPurpose, Role
from runtime.database import Connection
from services.user.erasure.repository import DUE_ERASURES, ErasureRepository
from services.user.guests.repository import DUE_ADOPTIONS, GuestRepository
from services.user.limits.repository import LimitRepository
from services.user.links.model import LinkToken
from services.user.links.repository import DUE_RESETS, LinkRepository
from services.user.model import ClientTraits, TokenOwner, User
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository
from tests.plans.driving import MINUTE, NOW, PAGE, an_event, run, run_common, run_due, run_keys
from tests.plans.recording import RecordedDatabase


async def drive(database: RecordedDatabase, filled: Filled) -> None:
    """Run them."""
    account = filled.accounts[50]
    await _users(database, account.id, account.email)
    await _tokens(database, account.id)
    await _links(database, account.id)
    await _limits(database)
    await run(
        database,
        lambda connection: ErasureRepository(connection).erase(
            account.id, requested_by="themselves", event=an_event(USER_EVENTS, of=account.id, seq=9)
        ),
        lambda connection: ErasureRepository(connection).is_erased(account.id),
        lambda connection: GuestRepository(connection).find_confirmed(account.email),
    )
    await run_due(
        database, DUE_ERASURES, lambda claimed: lambda connection: ErasureRepository(connection).complete(claimed)
    )
    await run_due(
        database, DUE_ADOPTIONS, lambda claimed: lambda connection: GuestRepository(connection).end_adoption(claimed)
    )
    await run_due(
        database, DUE_RESETS, lambda claimed: lambda connection: LinkRepository(connection).end_reset_request(claimed)
    )
    await run_keys(database)
    await run_common(database, "user")


async def _users(database: RecordedDatabase, user_id: str, email: str) -> None:
    new = User(id=new_id(), email="new@example.test", name="New", role=Role.CUSTOMER, seq=1, created_at=NOW)

    async def change(connection: Connection) -> None:
        repository = UserRepository(connection)
        found = await repository.lock_user(user_id)
        assert found is not None
        await repository.add_event(an_event(USER_EVENTS, of=user_id, seq=found.seq + 1))
        await repository.set_state(user_id, role=Role.CUSTOMER, disabled=True)
        await repository.set_password(user_id, password_hash="-")  # no password makes it
        await repository.replace_password_hash(user_id, old="-", new="--")
        await repository.confirm_email(user_id, email="another@example.test")

    await run(
        database,
        change,
        lambda connection: UserRepository(connection).add_user(
            new,
            password_hash="-",  # likewise
            events=[an_event(USER_EVENTS, of=new.id)],
        ),
        lambda connection: UserRepository(connection).find_user(user_id),
        lambda connection: UserRepository(connection).find_credentials(email),
        lambda connection: UserRepository(connection).make_admin(email, password_hash="-"),  # likewise
        lambda connection: UserRepository(connection).list_users(email=None, before=None, limit=PAGE),
        lambda connection: UserRepository(connection).list_users(email=email, before=None, limit=PAGE),
        lambda connection: UserRepository(connection).list_users(email=None, before=user_id, limit=PAGE),
        lambda connection: UserRepository(connection).list_users(email=email, before=new.id, limit=PAGE),
        lambda connection: UserRepository(connection).lock_admins(),
        lambda connection: UserRepository(connection).find_password_hash(user_id),
    )


async def _tokens(database: RecordedDatabase, user_id: str) -> None:
    traits, token_hash = ClientTraits(address="127.0.0.0/24", user_agent="A"), sha256(b"a token").digest()

    async def change(connection: Connection) -> None:
        repository, user = TokenRepository(connection), await UserRepository(connection).find_user(user_id)
        assert user is not None
        session_id, next_hash = new_id(), sha256(b"the next").digest()
        assert await repository.add_first(session_id, user, traits, token_hash=token_hash, ttl=timedelta(days=30))
        assert await repository.use(token_hash) == TokenOwner(family_id=session_id, user_id=user_id)
        owner = TokenOwner(family_id=session_id, user_id=user_id)
        await repository.add_next(new_id(), owner, traits, token_hash=next_hash, ttl=timedelta(days=30))
        await repository.find(next_hash)
        assert await repository.list_sessions(user_id)
        await repository.revoke_family(next_hash)
        await repository.end_session(session_id, user_id=user_id)
        await repository.end_sessions(user_id)
        await repository.end_sessions(user_id, but=session_id)

    await run(
        database,
        change,
        lambda connection: TokenRepository(connection).list_ended(None, token_life=MINUTE, limit=PAGE),
        lambda connection: TokenRepository(connection).list_ended(NOW, token_life=MINUTE, limit=PAGE),
    )


async def _links(database: RecordedDatabase, user_id: str) -> None:
    token = LinkToken.new(new_id())

    async def change(connection: Connection) -> None:
        repository = LinkRepository(connection)
        assert await repository.add(token.link_id, user_id, LinkPurpose.CHANGE_EMAIL, email="a@example.test", most=5)
        await repository.find_purpose(token.link_id)
        assert await repository.issue(token, ttl=MINUTE)
        assert await repository.find(token)
        await repository.use(token.link_id, replaced_email="b@example.test")
        assert await repository.find_replaced_email(token.link_id)
        await repository.void(user_id)
        await repository.void(user_id, but=LinkPurpose.CHANGE_EMAIL)
        await repository.request_reset(new_id(), "c@example.test")

    await run(database, change)


async def _limits(database: RecordedDatabase) -> None:
    rate, bucket = Rate(10, 60), sha256(b"a bucket").digest()[:16]

    async def take(connection: Connection) -> None:
        for unless in (None, sha256(b"somebody").digest()[:16]):
            await LimitRepository(connection).take(bucket, rate, wanted=1, unless_exempt=unless)
        await LimitRepository(connection).exempt(bucket, seconds=60)

    await run(database, take, lambda connection: LimitRepository(connection).prune())
