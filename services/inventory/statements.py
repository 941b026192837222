"""SQL of what an order does to stock, one statement each: reserve, commit, release, with ledger and events.

All parts of a statement see the rows as they were when it began, but for what FOR UPDATE answers: a row as it is once
it is held. So all that is decided and written is computed from held rows. An UPDATE would compute it from the row as it
was, check the table's constraints with that, and only then find that it has to look again. Whoever finds that nothing
was changed asks, by another statement, why.

Products are looked for by an array of their ids besides: PostgreSQL takes JSON for a hundred rows, and would rather
read the stock of all products than look for these.
"""

from __future__ import annotations

from typing import Final, LiteralString

from domain.events import STOCK_EVENTS
from runtime.outbox import event_of_each

_EVENT: Final = event_of_each(
    topic=STOCK_EVENTS,
    key="product_id::text",
    type="'stock.' || %(kind)s",
    aggregate="stock",
    seq="seq",
    cause_id="%(order_id)s",
    at="%(at)s::timestamptz",
    data="""
        json_build_object('productId', product_id, 'orderId', %(order_id)s::text, 'quantity', quantity::text,
                          'onHand', on_hand::text, 'reserved', reserved::text, 'at', %(said_at)s::text)
    """,
)


def _change_stock(
    held: LiteralString, *, on_hand: LiteralString, reserved: LiteralString, answer: LiteralString
) -> LiteralString:
    """A statement that changes the stock of the products of `held`.

    Its parameters are `order_id`, `kind` of the movements, `at`, and that as protobuf has it in JSON, `said_at`.

    Args:
        held: the body of a WITH clause, in which `held` has the locked rows of stock with the quantity of each, and
            `moving` a row if they are to be changed.
        on_hand: what is added to a product's units on hand, an expression over `quantity`.
        reserved: likewise to its reserved units.
        answer: what comes back, the end of the statement.
    """
    return f"""
        WITH {held},
        changed AS (
            UPDATE stock
               SET on_hand = held.on_hand + {on_hand}, reserved = held.reserved + {reserved}, seq = held.seq + 1
              FROM held, moving
             WHERE stock.product_id = held.product_id
               AND stock.product_id = ANY(ARRAY(SELECT product_id FROM held))
            RETURNING stock.product_id, stock.on_hand, stock.reserved, stock.seq, held.quantity
        ),
        movement AS (
            INSERT INTO movements (product_id, seq, kind, on_hand_change, reserved_change, order_id, note, at)
            SELECT product_id, seq, %(kind)s, {on_hand}, {reserved}, %(order_id)s, '', %(at)s FROM changed
        ),
        event AS ({_EVENT})
        {answer}
    """  # noqa: S608 - put together from constants


# Stock is held in sorted order, so that whoever wants the same products waits for each other and never in a circle;
# what is available is read from the held rows. Only then is the reservation made, or not: where it is there already,
# which `known` may not see yet, nothing else is done.
RESERVE: Final = _change_stock(
    """
    known AS (SELECT FROM reservations WHERE order_id = %(order_id)s),
    wanted AS (
        SELECT product_id, quantity
          FROM json_to_recordset(%(lines)s::json) AS line (product_id uuid, quantity bigint)
         WHERE NOT EXISTS (SELECT FROM known)
    ),
    held AS (
        SELECT stock.*, wanted.quantity, stock.on_hand - stock.reserved AS available
          FROM stock JOIN wanted USING (product_id)
         WHERE stock.product_id = ANY(ARRAY(SELECT product_id FROM wanted))
         ORDER BY stock.product_id
           FOR UPDATE OF stock
    ),
    short AS (
        SELECT product_id, wanted.quantity AS requested, coalesce(held.available, 0) AS available
          FROM wanted LEFT JOIN held USING (product_id)
         WHERE coalesce(held.available, 0) < wanted.quantity
    ),
    moving AS (
        INSERT INTO reservations (order_id, status, created_at, updated_at)
        SELECT %(order_id)s, 'ACTIVE', now(), now()
         WHERE NOT EXISTS (SELECT FROM known) AND NOT EXISTS (SELECT FROM short)
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ),
    line AS (
        INSERT INTO reservation_lines (order_id, product_id, quantity)
        SELECT order_id, product_id, quantity FROM moving, wanted
    )
    """,
    on_hand="0",
    reserved="quantity",
    answer="""
        SELECT EXISTS (SELECT FROM moving) AS reserved, short.product_id, short.requested, short.available
          FROM (VALUES (1)) AS always LEFT JOIN short ON true
         ORDER BY short.product_id LIMIT 1
    """,
)
"""Makes the order's reservation, if it has none and every line is available, else says which is not: one row."""

# The lines of a reservation never change, so they are known before it is held. All of its stock is, once it is counted.
_ENDED: Final = """
    held AS (
        SELECT stock.*, line.quantity
          FROM reservations JOIN reservation_lines AS line USING (order_id) JOIN stock USING (product_id)
         WHERE order_id = %(order_id)s AND status = 'ACTIVE'
         ORDER BY stock.product_id
           FOR UPDATE OF stock
    ),
    moving AS (
        UPDATE reservations SET status = %(status)s, updated_at = now()
         WHERE order_id = %(order_id)s AND status = 'ACTIVE' AND (SELECT count(*) FROM held) > 0
        RETURNING order_id
    )
"""
COMMIT: Final = _change_stock(_ENDED, on_hand="-quantity", reserved="-quantity", answer="SELECT true FROM moving")
"""Ends the order's ACTIVE reservation as COMMITTED: one row, or none, and nothing changed, where it has none."""
RELEASE: Final = _change_stock(
    f"""
    tombstone AS (
        INSERT INTO reservations (order_id, status, created_at, updated_at)
        VALUES (%(order_id)s, 'RELEASED', now(), now())
        ON CONFLICT DO NOTHING
        RETURNING order_id
    ),
    {_ENDED}
    """,  # noqa: S608 - put together from constants
    on_hand="0",
    reserved="-quantity",
    answer="SELECT true FROM moving UNION ALL SELECT true FROM tombstone",
)
"""Ends the order's ACTIVE reservation as RELEASED, or leaves a tombstone where it has none at all.

One row; or none, and nothing changed, where it is not ACTIVE, or was made while this waited for that.
"""
