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

from domain.ids import GREATEST_ID, LEAST_ID, first_id_at
from domain.orders import OrderStatus
from runtime.rows import columns
from services.order.tables import OrderColumns

_BIRTH: Final = timedelta(minutes=1)
"""By how much the moment in an id, and that at which its order says that it was accepted, may differ."""
_SUMMARIES: Final[LiteralString] = f"""
    SELECT {columns(OrderColumns)}, (SELECT count(*) FROM order_items WHERE order_id = orders.id) AS line_count
"""  # noqa: S608 - put together from constants
_NEEDS_ATTENTION: Final[LiteralString] = """
    id IN (SELECT order_id FROM concerns WHERE cleared_at IS NULL AND order_id IS NOT NULL)
"""
LOOKED_THROUGH: Final = 500
"""Orders that a page looks through, at most, for what no index leads to; behind the last of them goes the next page
on."""
# A sum and no EXISTS, which PostgreSQL may answer by reading the items of all orders once.
_MENTIONS: Final[LiteralString] = """
    ((SELECT count(*) FROM order_items WHERE order_id = orders.id AND name ILIKE %(pattern)s) > 0
     OR (SELECT count(*) FROM jsonb_each_text(shop_metadata) WHERE value ILIKE %(pattern)s) > 0)
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
    """The statement of a page, and its parameters.

    By what an index leads to, orders are found. By total and text they are looked through, the newest first, and no
    more than `LOOKED_THROUGH` of them, however many there are: see `select_last_looked_through`.
    """
    (led, order), given = _by_index(wanted)
    looked, also_given = _by_looking(wanted)
    given |= {**also_given, "limit": limit}
    if not looked:
        return f"{_SUMMARIES} FROM orders WHERE {led} ORDER BY {order} LIMIT %(limit)s", given
    given["looked_through"] = LOOKED_THROUGH
    return (
        f"""
        {_SUMMARIES}
          FROM (SELECT * FROM orders WHERE {led} ORDER BY {order} LIMIT %(looked_through)s) AS orders
         WHERE {" AND ".join(looked)} ORDER BY id DESC LIMIT %(limit)s
        """,  # noqa: S608 - put together from constants
        given,
    )


def select_last_looked_through(wanted: OrderFilter) -> tuple[LiteralString, dict[str, object]] | None:
    """The statement that finds behind which order a page that is not full goes on; it has no row where none follows.

    None where a page that is not full is the last one.
    """
    if not _by_looking(wanted)[0]:
        return None
    (led, order), given = _by_index(wanted)
    given["last"] = LOOKED_THROUGH - 1
    return f"SELECT id FROM orders WHERE {led} ORDER BY {order} OFFSET %(last)s LIMIT 1", given  # noqa: S608 - constants


def _by_index(wanted: OrderFilter) -> tuple[tuple[LiteralString, LiteralString], dict[str, object]]:
    """The condition that an index leads to, with its order, and the parameters.

    User, status and id are compared as one row, and sorted by as one: with an equation of each, PostgreSQL may as well
    go through everybody's orders by id until it has met enough of these, which it thinks are spread evenly. Whoever
    ordered a lot, long ago, would have it go through all. Where something else leads to a few, they are equations.
    """
    conditions: list[LiteralString] = []
    given: dict[str, object] = {"oldest": LEAST_ID, "below": wanted.before or GREATEST_ID}
    key: list[LiteralString] = []
    for name, value in (("user_id", wanted.user_id), ("status", wanted.status)):
        if value is not None:
            key.append(name)
            given[name] = value
    if wanted.created_from is not None:
        conditions.append("created_at >= %(created_from)s")
        given["created_from"] = wanted.created_from
        given["oldest"] = first_id_at(wanted.created_from, later=-_BIRTH)
    if wanted.created_before is not None:
        conditions.append("created_at < %(created_before)s")
        given["created_before"] = wanted.created_before
        given["below"] = min(wanted.before or GREATEST_ID, first_id_at(wanted.created_before, later=_BIRTH))
    if wanted.number is not None:
        conditions.append("number = %(number)s")
        given["number"] = wanted.number
    if wanted.needs_attention:
        conditions.append(_NEEDS_ATTENTION)
    if wanted.number is not None or wanted.needs_attention:
        conditions += [f"{name} = %({name})s" for name in key]
        key = []
    names = ", ".join((*key, "id"))
    values = "".join(f"%({name})s, " for name in key)
    conditions = [f"({names}) >= ({values}%(oldest)s)", f"({names}) < ({values}%(below)s)", *conditions]
    return (" AND ".join(conditions), ", ".join(f"{name} DESC" for name in (*key, "id"))), given


def _by_looking(wanted: OrderFilter) -> tuple[list[LiteralString], dict[str, object]]:
    """The conditions that every order has to be read for, and their parameters."""
    conditions: list[LiteralString] = []
    given: dict[str, object] = {}
    if wanted.total_min is not None:
        conditions.append("total >= %(total_min)s")
        given["total_min"] = wanted.total_min
    if wanted.total_max is not None:
        conditions.append("total <= %(total_max)s")
        given["total_max"] = wanted.total_max
    if wanted.search:
        conditions.append(_MENTIONS)
        given["pattern"] = f"%{_literally(wanted.search)}%"
    return conditions, given


def _literally(text: str) -> str:
    """The text as a pattern that only it fits."""
    return re.sub(r"([%_\\])", r"\\\1", text)
