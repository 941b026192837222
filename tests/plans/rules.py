"""What a plan may not have, because it would cost more with every order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.retention import AT_ONCE
from services.order.lists import LOOKED_THROUGH
from tests.plans.recording import Node, Plan, nodes_of

MOST_ROWS: Final = 300
"""That one node may read, or sort: the tables are filled with thousands that it does not want."""
MOST_BLOCKS: Final = 600
"""That a statement may touch. A batch of a hundred claims takes some three hundred."""
_LATITUDE: Final = 20.0
"""How much dearer than the plan for these values PostgreSQL may reckon the one for any, and still take that one: its
price of planning."""

SMALL_TABLES: Final = {
    "relay_lease": "one row per database",
    "pg_database": "a row for each database of the server",
    "event_sweep": "one row",
    "retention": "a row for each rule",
    "looks": "a row for each kind of look that the watcher has",
    "rate_limits": "buckets that are not full, of clients of these minutes or hours; an index by which full ones could "
    "be found would have every request write to it",
    "adoptions": "a row is deleted once the order service knows",
    "password_reset_requests": "a row is deleted once it is done",
    "guest_link_requests": "likewise",
    "rate_limit_exemptions": "those that have not ended: some per address or account that was told it is exempt",
}
"""Tables that do not grow with orders, and why."""
READS_MANY: Final = {
    "services/order/repository.py OrderRepository.find_summaries": (LOOKED_THROUGH, 2_500),
    "services/order/repository.py OrderRepository.find_last_looked_through": (LOOKED_THROUGH, 2_500),
    "services/order/erasure.py _erase": (1_200, 30_000),
    "runtime/retention.py delete_batch": (2 * AT_ONCE, 12_000),
}
"""Methods that may go through more rows, and touch more blocks; both are bounded in the code, or by one customer whose
orders are gone through once, when they are erased."""


def problems_of(plan: Plan) -> Iterator[str]:
    """What is wrong with it."""
    most_rows, most_blocks = READS_MANY.get(plan.where, (MOST_ROWS, MOST_BLOCKS))
    for node in nodes_of(plan.done):
        if (rows := _rows(node)) > most_rows and node["Relation Name"] not in SMALL_TABLES:
            yield f"{_named(node)} goes through {rows:,} rows"
    if (blocks := plan.done["Shared Hit Blocks"] + plan.done["Shared Read Blocks"]) > most_blocks:
        yield f"it touches {blocks:,} blocks"
    yield from _scans(plan.done, "")
    if plan.generic is not None and plan.generic["Total Cost"] <= plan.done["Total Cost"] + _LATITUDE:
        yield from _scans(plan.generic, " for any values")


def _scans(root: Node, of: str) -> Iterator[str]:
    for node in nodes_of(root):
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in SMALL_TABLES:
            yield f"{_named(node)} reads the whole table{of}"


def _rows(node: Node) -> int:
    """How many rows it took in hand; of a table alone, since what others take in hand comes from there."""
    if "Relation Name" not in node or node["Node Type"] == "ModifyTable":
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def _named(node: Node) -> str:
    name = node.get("Index Name")
    return f"{node['Node Type']} of {node['Relation Name']}{f' by {name}' if name else ''}"
