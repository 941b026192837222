"""What the unpaid orders of a customer come to is read from an index."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_index("ix_orders_held", "orders", ["user_id"], postgresql_where="status IN ('RECEIVED', 'PENDING')")


def downgrade() -> None:
    op.drop_index("ix_orders_held", table_name="orders")
