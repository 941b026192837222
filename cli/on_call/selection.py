"""Which of all that needs a person a command is about: ids, or a query like ``kind=order step=reserve older=5m``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cli.on_call.operator import DEADLINE, Operator
from cli.on_call.references import to_id
from domain.concerns import ConcernKind
from ordersaga.oncall.v1 import on_call_pb2 as on_call_pb
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE
from runtime.protos import enum_mapping
from runtime.rpc_client import call
from runtime.settings import SettingsError

_PAGE: Final = 500
_SPAN: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORM: Final = (
    "kind=order|refund|dispute|event|mail|part step=NAME about=ID cause=WORD older=5m, separated by spaces; "
    '"a b" where a value has one'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is wanted; None for any. Text is sought in causes and last errors, whatever its case."""

    kind: ConcernKind | None = None
    step: str | None = None
    about: str | None = None
    cause: str | None = None
    older: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> Query:
        """The query that somebody typed.

        Raises:
            SettingsError: it is none; the message says how it is written.
        """
        values: dict[str, str] = {}
        for term in _terms(text):
            name, equals, value = term.partition("=")
            if not equals or not value or name not in cls.__dataclass_fields__ or name in values:
                raise SettingsError(f"--query: {term!r} is no term of a query: {_FORM}")
            values[name] = value
        return cls(
            kind=None if "kind" not in values else _to_kind(values["kind"]),
            step=values.get("step"),
            about=values.get("about"),
            cause=values.get("cause"),
            older=None if "older" not in values else _to_span(values["older"]),
        )

    def to_text(self) -> str:
        """The query for kind, step and subject, as somebody would type it."""
        terms = {"kind": self.kind and self.kind.value.lower(), "step": self.step, "about": self.about}
        return " ".join(
            f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in terms.items() if value
        )

    def matches(self, attention: pb.Attention, *, now: datetime) -> bool:
        """Whether it is among what is wanted."""
        concern = attention.concern
        words = f"{concern.cause} {concern.last_error}".lower()
        return (self.cause is None or self.cause.lower() in words) and (
            self.older is None or now - concern.since.ToDatetime(tzinfo=UTC) >= self.older
        )


def _terms(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as broken:
        raise SettingsError(f"--query: {str(broken).lower()}: {_FORM}") from None


async def find_attention(operator: Operator, query: Query) -> list[pb.Attention]:
    """All that needs a person and is wanted, the longest wait first.

    Raises:
        CommandFailed: it is to be about an order of a number that none has.
        ServiceUnavailable: the order service does not answer.
    """
    kinds = enum_mapping(ConcernKind, on_call_pb.ConcernKind.DESCRIPTOR)
    about = await to_id(operator, query.about or "")
    request = pb.ListAttentionRequest(page_size=_PAGE, step=query.step or "", subject_id=about)
    if query.kind is not None:
        request.kind = kinds.to_proto(query.kind)  # type: ignore[assignment]  # an enum's number
    found: list[pb.Attention] = []
    now = datetime.now(UTC)
    while True:
        page = await call(operator.orders.ListAttention, request, caller=SERVICE, deadline=DEADLINE)
        found += [attention for attention in page.attention if query.matches(attention, now=now)]
        if not page.next_page_token:
            return sorted(found, key=lambda attention: attention.concern.since.ToDatetime())
        request.page_token = page.next_page_token


async def select(
    operator: Operator, ids: Sequence[str], query: str | None, *, kinds: Sequence[ConcernKind]
) -> list[str]:
    """The ids that a command is about, each once: those given, and those that the query finds.

    Args:
        operator: asks for the second.
        ids: that somebody typed.
        query: likewise.
        kinds: which the command can do something about.

    Raises:
        SettingsError: the query is none, or there is neither.
    """
    if not ids and query is None:
        raise SettingsError(f"give ids, or --query: {_FORM}")
    if query is None:
        return list(dict.fromkeys(ids))
    names = {enum_mapping(ConcernKind, on_call_pb.ConcernKind.DESCRIPTOR).to_proto(kind) for kind in kinds}
    found = await find_attention(operator, Query.parse(query))
    return list(dict.fromkeys([*ids, *(each.concern.subject_id for each in found if each.concern.kind in names)]))


def _to_kind(text: str) -> ConcernKind:
    try:
        return ConcernKind(text.upper())
    except ValueError:
        raise SettingsError(f"--query: there is no kind {text!r}: {_FORM}") from None


def _to_span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise SettingsError(f"--query: {text!r} is no span of time, such as 90s, 5m, 2h, 1d: {_FORM}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
