"""Each page of a list of orders is read from an index, however many orders there are."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_index("ix_orders_user_id_id", "orders", ["user_id", "id"])
    op.create_index("ix_orders_status_id", "orders", ["status", "id"])
    op.create_index("ix_orders_user_id_status_id", "orders", ["user_id", "status", "id"])
    op.drop_index(op.f("ix_orders_user_id"), table_name="orders")


def downgrade() -> None:
    op.create_index(op.f("ix_orders_user_id"), "orders", ["user_id"])
    op.drop_index("ix_orders_user_id_status_id", table_name="orders")
    op.drop_index("ix_orders_status_id", table_name="orders")
    op.drop_index("ix_orders_user_id_id", table_name="orders")
