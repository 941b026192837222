"""Between protobuf messages and what the user service works with."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message

from domain.events import USER_EVENTS
from domain.users import Role
from ordersaga.events.v1.user_events_pb2 import UserChanged, UserCreated
from ordersaga.user.v1 import user_pb2 as pb
from runtime.outbox import Event
from runtime.protos import enum_mapping, to_proto, to_timestamp
from runtime.tokens import SignedToken
from services.user.model import IssuedToken, User

Tokens = TypeVar("Tokens", pb.AuthenticateUserResponse, pb.RefreshTokenResponse)


def to_user(user: User) -> pb.User:
    """An account on the wire."""
    return to_proto(pb.User, user)


def to_role(number: int) -> Role | None:
    """The role that a request names; None for none that we know."""
    return enum_mapping(Role, pb.Role.DESCRIPTOR).from_proto(number)


def to_tokens(kind: type[Tokens], user: User, *, access: SignedToken, refresh: IssuedToken) -> Tokens:
    """An account's tokens on the wire."""
    return kind(
        access_token=access.text,
        expires_at=to_timestamp(access.expires_at),
        user=to_user(user),
        refresh_token=refresh.text,
        refresh_expires_at=to_timestamp(refresh.expires_at),
    )


def created_event(user: User) -> Event:
    """The event of a new account: its id alone."""
    data = UserCreated(user_id=user.id, at=to_timestamp(user.created_at))
    return _event(user.id, "user.created", data, seq=1, at=user.created_at)


def changed_event(user_id: str, event_type: str, *, seq: int, at: datetime, link_id: str = "") -> Event:
    """The event of something that happened to an account: ids alone."""
    data = UserChanged(user_id=user_id, link_id=link_id, at=to_timestamp(at))
    return _event(user_id, event_type, data, seq=seq, at=at)


def _event(user_id: str, event_type: str, data: Message, *, seq: int, at: datetime) -> Event:
    return Event(
        topic=USER_EVENTS,
        key=user_id,
        type=event_type,
        aggregate="user",
        aggregate_id=user_id,
        seq=seq,
        cause_id=user_id,
        data=data,
        at=at,
    )
