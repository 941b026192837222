"""Lists of orders: which are wanted, and the one statement that reads a page of them.

Every page is in the order of ids, the newest first, and goes on behind the last id of the page before: what comes in,
or moves, meanwhile shifts nothing. Ids are born in the order of time, so a span of time is a span of ids, within a
minute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

from domain.ids import first_id_at
from domain.orders import OrderStatus
from runtime.rows import columns
from services.order.tables import OrderColumns

_BIRTH: Final = timedelta(minutes=1)
"""By how much the moment in an id, and that at which its order says that it was accepted, may differ."""
_SUMMARIES: Final[LiteralString] = f"""
    SELECT {columns(OrderColumns)}, (SELECT count(*) FROM order_items WHERE order_id = orders.id) AS line_count
      FROM orders
"""  # noqa: S608 - put together from constants
_NEEDS_ATTENTION: Final[LiteralString] = """
    id IN (SELECT order_id FROM concerns WHERE cleared_at IS NULL AND order_id IS NOT NULL)
"""
_MENTIONS: Final[LiteralString] = """
    (EXISTS (SELECT FROM order_items WHERE order_id = orders.id AND name ILIKE %(pattern)s)
     OR EXISTS (SELECT FROM jsonb_each_text(shop_metadata) WHERE value ILIKE %(pattern)s))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders a list shows; None for all of that kind.

    Attributes:
        user_id: whose.
        status: where they stand.
        number: the one of this number.
        created_from: accepted then or later.
        created_before: accepted before then.
        total_min: in minor units, of at least so much; those that are not priced yet have none.
        total_max: of at most so much.
        needs_attention: those about which something needs a person.
        search: among the orders of one customer, those with this text in a product's name or the shop's metadata, in
            whatever case.
        before: an id: those that are older.
    """

    user_id: str | None = None
    status: OrderStatus | None = None
    number: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    total_min: int | None = None
    total_max: int | None = None
    needs_attention: bool = False
    search: str = ""
    before: str | None = None


def select_page(wanted: OrderFilter, *, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """The statement of a page, and its parameters."""
    conditions: list[LiteralString] = []
    given: dict[str, object] = {"limit": limit}

    def demand(condition: LiteralString, **parameters: object) -> None:
        conditions.append(condition)
        given.update(parameters)

    if wanted.user_id is not None:
        demand("user_id = %(user_id)s", user_id=wanted.user_id)
    if wanted.status is not None:
        demand("status = %(status)s", status=wanted.status)
    if wanted.number is not None:
        demand("number = %(number)s", number=wanted.number)
    if wanted.created_from is not None:
        demand(
            "id >= %(oldest)s AND created_at >= %(created_from)s",
            oldest=first_id_at(wanted.created_from, later=-_BIRTH),
            created_from=wanted.created_from,
        )
    if wanted.created_before is not None:
        demand(
            "id < %(youngest)s AND created_at < %(created_before)s",
            youngest=first_id_at(wanted.created_before, later=_BIRTH),
            created_before=wanted.created_before,
        )
    if wanted.total_min is not None:
        demand("total >= %(total_min)s", total_min=wanted.total_min)
    if wanted.total_max is not None:
        demand("total <= %(total_max)s", total_max=wanted.total_max)
    if wanted.needs_attention:
        demand(_NEEDS_ATTENTION)
    if wanted.search:
        demand(_MENTIONS, pattern=f"%{_literally(wanted.search)}%")
    if wanted.before is not None:
        demand("id < %(before)s", before=wanted.before)
    where: LiteralString = " AND ".join(conditions) if conditions else "true"
    return f"{_SUMMARIES} WHERE {where} ORDER BY id DESC LIMIT %(limit)s", given


def _literally(text: str) -> str:
    """The text as a pattern that only it fits."""
    return re.sub(r"([%_\\])", r"\\\1", text)
