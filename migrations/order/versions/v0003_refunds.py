"""What became of an order's refunds, and what they add up to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BEFORE = "status IN ('RECEIVED', 'PENDING', 'PAID', 'FAILED', 'CANCELLED')"
_AFTER = "status IN ('RECEIVED', 'PENDING', 'PAID', 'FAILED', 'CANCELLED', 'PARTIALLY_REFUNDED', 'REFUNDED')"


def upgrade() -> None:
    op.add_column("orders", sa.Column("refunded", sa.BigInteger(), nullable=False, server_default="0"))
    op.alter_column("orders", "refunded", server_default=None)
    _check_status(_AFTER)
    op.create_table(
        "order_refunds",
        sa.Column("refund_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_order_refunds_amount")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_refunds_order_id_orders")),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("pk_order_refunds")),
    )
    op.create_index(op.f("ix_order_refunds_order_id"), "order_refunds", ["order_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_order_refunds_order_id"), table_name="order_refunds")
    op.drop_table("order_refunds")
    # the older version knows these orders as what they were before: paid, with money given back at Stripe
    op.execute("UPDATE orders SET status = 'PAID' WHERE status IN ('PARTIALLY_REFUNDED', 'REFUNDED')")
    _check_status(_BEFORE)
    op.drop_column("orders", "refunded")


def _check_status(condition: str) -> None:
    op.drop_constraint(op.f("ck_orders_status"), "orders", type_="check")
    op.create_check_constraint(op.f("ck_orders_status"), "orders", condition)
