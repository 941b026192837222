"""An index of the open orders: how many there are, and since when, is asked every few seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    op.create_index(
        "ix_orders_open",
        "orders",
        ["status", "created_at"],
        postgresql_where=sa.text("status IN ('RECEIVED', 'PENDING')"),
    )


def downgrade() -> None:
    op.drop_index("ix_orders_open", table_name="orders")
