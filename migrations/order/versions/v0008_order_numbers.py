"""Each order has a number that people can read out; the orders that are there get theirs."""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.order_numbers import new_order_number

revision = "0008"
down_revision = "0007"

_BATCH = 10_000
_WITHOUT = sa.text("SELECT id::text FROM orders WHERE number IS NULL LIMIT :most")
_GIVE = sa.text("""
    UPDATE orders SET number = drawn.number
      FROM json_to_recordset(:drawn) AS drawn (id uuid, number text)
     WHERE orders.id = drawn.id AND NOT EXISTS (SELECT FROM orders AS other WHERE other.number = drawn.number)
""")


def upgrade() -> None:
    op.add_column("orders", sa.Column("number", sa.Text(), nullable=True))
    op.create_unique_constraint(op.f("uq_orders_number"), "orders", ["number"])
    connection = op.get_bind()
    while ids := connection.scalars(_WITHOUT, {"most": _BATCH}).all():
        connection.execute(_GIVE, {"drawn": _draw(ids)})  # an order whose number is taken is met again
    op.alter_column("orders", "number", nullable=False)


def downgrade() -> None:
    op.drop_constraint(op.f("uq_orders_number"), "orders")
    op.drop_column("orders", "number")


def _draw(order_ids: Sequence[str]) -> str:
    """A number for each, no two alike."""
    numbers = {new_order_number(): order_id for order_id in order_ids}
    return json.dumps([{"id": order_id, "number": number} for number, order_id in numbers.items()])
