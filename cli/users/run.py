"""What is asked of the user service, as an operator, and what is printed of its answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from cli.exiting import CommandFailed
from cli.on_call.operator import DEADLINE, Operator, open_operator
from cli.printable import printable
from domain.ids import is_id
from domain.users import Role
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import SERVICE
from runtime.protos import enum_mapping, from_timestamp
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from runtime.settings import Settings

Act = Callable[[Operator, pb.User], Awaitable[pb.User | None]]
"""Does something about an account; the account after it, or None where there is none any more."""


async def act_on(settings: Settings, who: str, act: Act, *, as_json: bool) -> None:
    """Find the account with this id or e-mail, act, and print it as it is then.

    Raises:
        CommandFailed: there is none, or the user service refuses.
        SettingsError: the settings name no operator's certificate.
        ServiceUnavailable: the user service does not answer.
    """
    async with open_operator(settings) as operator:
        try:
            user = await _find(operator, who)
            after = await act(operator, user)
        except CallRefused as refused:
            raise CommandFailed(refused.message) from None
    if after is not None:
        _print(after, as_json=as_json)
    elif as_json:
        print(json.dumps({"id": user.id, "erased": True}))
    else:
        print(f"{user.id} is erased: the account is gone, and orders forget its holder as soon as they have ended")


async def show(operator: Operator, user: pb.User) -> pb.User:
    """The account."""
    return user


def change(*, role: Role | None = None, disabled: bool | None = None) -> Act:
    """Give it another role, disable or enable it."""
    number = None if role is None else enum_mapping(Role, pb.Role.DESCRIPTOR).to_proto(role)

    async def act(operator: Operator, user: pb.User) -> pb.User:
        request = pb.ChangeUserRequest(
            user_id=user.id, role=None if number is None else pb.Role.ValueType(number), disabled=disabled
        )
        return (await call(operator.users.ChangeUser, request, caller=SERVICE, deadline=DEADLINE)).user

    return act


async def log_out(operator: Operator, user: pb.User) -> pb.User:
    """End all of its sessions."""
    request = pb.EndSessionsRequest(user_id=user.id)
    await call(operator.users.EndSessions, request, caller=SERVICE, deadline=DEADLINE)
    return user


async def erase(operator: Operator, user: pb.User) -> None:
    """Erase its holder."""
    await call(operator.users.EraseUser, pb.EraseUserRequest(user_id=user.id), caller=SERVICE, deadline=DEADLINE)


async def _find(operator: Operator, who: str) -> pb.User:
    if is_id(who):
        request = pb.GetUserRequest(user_id=who)
        return (await call(operator.users.GetUser, request, caller=SERVICE, deadline=DEADLINE)).user
    by_email = pb.ListUsersRequest(page_size=1, email=who)
    found = (await call(operator.users.ListUsers, by_email, caller=SERVICE, deadline=DEADLINE)).users
    if not who or not found:
        raise CommandFailed(f"no account has the id or e-mail {printable(who)}")
    return found[0]


def _print(user: pb.User, *, as_json: bool) -> None:
    known = _to_dict(user)
    if as_json:
        print(json.dumps(known))
        return
    for name, value in known.items():
        print(f"{name.replace('_', ' '):<16}{printable(str(value))}")


def _to_dict(user: pb.User) -> dict[str, Any]:
    role = enum_mapping(Role, pb.Role.DESCRIPTOR).from_proto(user.role)
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": "" if role is None else role.value,
        "email_confirmed": user.email_confirmed,
        "disabled": user.disabled,
        "created_at": from_timestamp(user.created_at).isoformat(),
    }
