"""The first admin, who makes products and adjusts stock."""

from __future__ import annotations

import asyncio

from cli.hints import with_hint
from runtime.database import DatabaseAway
from runtime.refusal import InvalidArgument, Unavailable
from runtime.settings import Settings, SettingsError
from services.user.bootstrap import bootstrap_accounts


def create_admin(settings: Settings, *, email: str, password: str, name: str) -> str:
    """Make the admin, or give the account that has the e-mail the role and the password; the account's id.

    Raises:
        SettingsError: the user database's DSN, the e-mail, the password or the name does not fit.
        Unavailable: the database does not answer, or has no tables yet.
    """
    return asyncio.run(ensure_admin(settings, email=email, password=password, name=name))


async def ensure_admin(settings: Settings, *, email: str, password: str, name: str) -> str:
    """As `create_admin`."""
    async with bootstrap_accounts(settings) as accounts:
        try:
            return (await accounts.users.ensure_admin(email=email, password=password, name=name)).id
        except InvalidArgument as refused:
            lines = [f"ORDERSAGA_ADMIN_{field.upper()}: {fault}" for field, fault in refused.details.items()]
            raise SettingsError("\n".join(lines)) from None
        except DatabaseAway as away:
            raise Unavailable(with_hint(str(away), "see ORDERSAGA_USER_DSN")) from None
