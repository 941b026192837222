"""What must hold of the inventory's rows at any time (design §7, 3)."""

from __future__ import annotations

from collections.abc import Collection

from runtime.database import Database
from tests.support.rows import fetch_rows

_PRODUCTS = """
    SELECT stock.on_hand, stock.reserved, stock.seq,
           coalesce(sum(movement.on_hand_change), 0) AS on_hand_sum,
           coalesce(sum(movement.reserved_change), 0) AS reserved_sum,
           coalesce(array_agg(movement.seq ORDER BY movement.seq) FILTER (WHERE movement.seq IS NOT NULL),
                    '{}') AS seqs,
           (SELECT coalesce(sum(quantity), 0) FROM reservation_lines AS line JOIN reservations USING (order_id)
             WHERE line.product_id = stock.product_id AND status = 'ACTIVE') AS active,
           (SELECT coalesce(array_agg(ce_seq ORDER BY id), '{}') FROM outbox
             WHERE ce_id = ANY(SELECT 'stock:' || stock.product_id || ':' || number
                                 FROM generate_series(1, stock.seq + 1) AS number)) AS published
      FROM stock LEFT JOIN movements AS movement USING (product_id)
     WHERE stock.product_id = ANY(%(products)s::uuid[])
     GROUP BY stock.product_id, stock.on_hand, stock.reserved, stock.seq
"""
_LINES = """
    SELECT line.order_id, line.product_id, line.quantity, status,
           (SELECT array_agg(ROW(kind, on_hand_change, reserved_change)::text ORDER BY seq) FROM movements AS movement
             WHERE movement.order_id = line.order_id AND movement.product_id = line.product_id
               AND kind <> 'restocked') AS moved
      FROM reservation_lines AS line JOIN reservations USING (order_id)
     WHERE line.product_id = ANY(%(products)s::uuid[])
"""
_RESTOCKS = """
    SELECT sum(on_hand_change) AS restocked, min(on_hand_change) AS smallest,
           (SELECT quantity FROM reservation_lines AS line JOIN reservations USING (order_id)
             WHERE line.order_id = movement.order_id AND line.product_id = movement.product_id
               AND status = 'COMMITTED') AS sold
      FROM movements AS movement
     WHERE kind = 'restocked' AND product_id = ANY(%(products)s::uuid[])
     GROUP BY order_id, product_id
"""


async def check_stock_ledger(database: Database, products: Collection[str]) -> None:
    """Stock, ledger, reservations and events of these products agree; ledger and events have no gap."""
    for on_hand, reserved, seq, sum_on_hand, sum_reserved, seqs, active, published in await fetch_rows(
        database, _PRODUCTS, products=list(products)
    ):
        assert 0 <= reserved <= on_hand
        assert (on_hand, reserved) == (sum_on_hand, sum_reserved)
        assert reserved == active
        assert seqs == published == list(range(1, seq + 1))
    for _, _, quantity, status, moved in await fetch_rows(database, _LINES, products=list(products)):
        expected = [f"(reserved,0,{quantity})"]
        if status == "COMMITTED":
            expected.append(f"(committed,-{quantity},-{quantity})")
        if status == "RELEASED":
            expected.append(f"(released,0,-{quantity})")
        assert moved == expected
    for restocked, smallest, sold in await fetch_rows(database, _RESTOCKS, products=list(products)):
        assert smallest > 0
        assert restocked <= (sold or 0)
