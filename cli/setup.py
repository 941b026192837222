"""What must be done once, and after each upgrade, before the components can run. All of it can be repeated."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import psycopg
from sqlalchemy.exc import ArgumentError

from migrations.grants import Roles
from migrations.runner import SERVICES, upgrade_all
from runtime.database import sqlalchemy_url
from runtime.refusal import InvalidArgument
from runtime.settings import Settings, SettingsError
from services.user.bootstrap import bootstrap_accounts

CONNECT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccount:
    """The first admin, who makes products and adjusts stock."""

    email: str
    password: str = field(repr=False)
    name: str

    @classmethod
    def of(cls, *, email: str, password: str, name: str) -> AdminAccount | None:
        """The account that was asked for; None when neither e-mail nor password is given.

        Raises:
            SettingsError: only one of them is.
        """
        if not email and not password:
            return None
        if not email:
            raise SettingsError("ORDERSAGA_ADMIN_EMAIL is not set, but ORDERSAGA_ADMIN_PASSWORD is")
        if not password:
            raise SettingsError("ORDERSAGA_ADMIN_PASSWORD is not set, but ORDERSAGA_ADMIN_EMAIL is")
        return cls(email=email, password=password, name=name)


def set_up(settings: Settings, *, relay_role: str | None, audit_role: str | None, admin: AdminAccount | None) -> None:
    """Bring all databases up to date, then make the admin.

    Raises:
        SettingsError: a setting is missing or does not fit.
    """
    migrate_all(settings, relay_role=relay_role, audit_role=audit_role)
    if admin is not None:
        create_admin(settings, admin)


def migrate_all(settings: Settings, *, relay_role: str | None, audit_role: str | None) -> None:
    """Bring all databases up to date and let the named roles in; nothing is changed unless all can be reached.

    Raises:
        SettingsError: with one line per database or role that does not fit.
    """
    named = {"ORDERSAGA_RELAY_ROLE": relay_role, "ORDERSAGA_AUDIT_ROLE": audit_role}
    faults: list[str] = []
    for service in SERVICES:
        faults += _database_faults(settings, service, {name: role for name, role in named.items() if role})
    if faults:
        raise SettingsError("\n".join(dict.fromkeys(faults)))
    owners = {service: _owner_dsn(settings, service) for service in SERVICES}
    roles = {
        service: Roles(service=_service_role(settings, service), relay=relay_role, audit=audit_role)
        for service in SERVICES
    }
    upgrade_all(owners, roles)
    print(f"databases up to date: {', '.join(owners)}")


def create_admin(settings: Settings, account: AdminAccount) -> None:
    """Make the admin, or give the account that has the e-mail the role and the password.

    Raises:
        SettingsError: the user database's DSN, the e-mail, the password or the name does not fit.
    """
    faults = _database_faults(settings, "user", {})
    if faults:
        raise SettingsError("\n".join(faults))
    try:
        user_id = asyncio.run(_ensure_admin(settings, account))
    except InvalidArgument as refused:
        lines = [f"ORDERSAGA_ADMIN_{name.upper()}: {fault}" for name, fault in refused.details.items()]
        raise SettingsError("\n".join(lines)) from None
    print(f"admin ready: {user_id}")


async def _ensure_admin(settings: Settings, account: AdminAccount) -> str:
    async with bootstrap_accounts(settings) as accounts:
        user = await accounts.users.ensure_admin(email=account.email, password=account.password, name=account.name)
        return user.id


def _owner_dsn(settings: Settings, service: str) -> str:
    owner = settings.owner_dsns.get(service)
    return settings.required(f"{service}_dsn") if owner is None else owner.get_secret_value()


def _service_role(settings: Settings, service: str) -> str | None:
    """The role that runs the service; None where that is the owner, who needs no rights."""
    if service not in settings.owner_dsns:
        return None
    with psycopg.connect(settings.required(f"{service}_dsn"), connect_timeout=CONNECT_SECONDS) as connection:
        return connection.info.user


def _database_faults(settings: Settings, service: str, roles: dict[str, str]) -> list[str]:
    name = f"ORDERSAGA_{service.upper()}_DSN"
    try:
        faults = _dsn_faults(name, settings.required(f"{service}_dsn"), roles)
    except SettingsError as error:
        faults = [str(error)]
    if service in settings.owner_dsns:
        faults += _dsn_faults(f"ORDERSAGA_OWNER_DSNS, {service}", _owner_dsn(settings, service), {})
    return faults


def _dsn_faults(name: str, dsn: str, roles: dict[str, str]) -> list[str]:
    try:
        sqlalchemy_url(dsn)
        with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS) as connection:
            known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    except psycopg.OperationalError as error:
        return [f"{name}: cannot connect: {error}"]
    except (ArgumentError, ValueError, psycopg.ProgrammingError):  # their texts may quote the password
        return [f"{name}: must be a URI such as postgresql://role:password@host:5432/database"]
    return [f"{setting}: there is no role {role}" for setting, role in roles.items() if role not in known]
