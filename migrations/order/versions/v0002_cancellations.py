"""Wishes to cancel an order."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "cancellations",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("cancelled_by", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("cancelled_by IN ('CUSTOMER', 'ADMIN')", name=op.f("ck_cancellations_cancelled_by")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_cancellations_order_id_orders")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_cancellations")),
    )
    op.create_index(
        "ix_cancellations_open",
        "cancellations",
        ["requested_at"],
        unique=False,
        postgresql_where="settled_at IS NULL",
    )


def downgrade() -> None:
    op.drop_table("cancellations")
