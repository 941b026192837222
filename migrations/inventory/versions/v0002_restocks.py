"""Sold units that refunds put back into stock."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KINDS = "'reserved', 'committed', 'released', 'adjusted'"


def upgrade() -> None:
    op.add_column("movements", sa.Column("restock_id", sa.Uuid(as_uuid=False), nullable=True))
    op.drop_constraint(op.f("ck_movements_kind"), "movements", type_="check")
    op.create_check_constraint(op.f("ck_movements_kind"), "movements", f"kind IN ({_KINDS}, 'restocked')")
    op.create_check_constraint(
        op.f("ck_movements_restocked"), "movements", "(kind = 'restocked') = (restock_id IS NOT NULL)"
    )
    # Several refunds of an order put one product back in parts, so the old constraint leaves out what they did.
    op.drop_constraint(op.f("uq_movements_order_id_product_id_kind"), "movements", type_="unique")
    op.create_index(
        "uq_movements_order_id_product_id_kind",
        "movements",
        ["order_id", "product_id", "kind"],
        unique=True,
        postgresql_where="restock_id IS NULL",
    )
    op.create_index(
        "uq_movements_restock_id_product_id",
        "movements",
        ["restock_id", "product_id"],
        unique=True,
        postgresql_where="restock_id IS NOT NULL",
    )
    op.create_index(
        "ix_movements_restocked_order_id",
        "movements",
        ["order_id"],
        unique=False,
        postgresql_where="restock_id IS NOT NULL",
    )


def downgrade() -> None:
    """What refunds put back stays in stock, as an adjustment: the first tables know no other way to keep it."""
    op.drop_index("ix_movements_restocked_order_id", table_name="movements")
    op.drop_index(
        "uq_movements_restock_id_product_id", table_name="movements", postgresql_where="restock_id IS NOT NULL"
    )
    op.drop_index(
        "uq_movements_order_id_product_id_kind", table_name="movements", postgresql_where="restock_id IS NULL"
    )
    op.drop_constraint(op.f("ck_movements_restocked"), "movements", type_="check")
    op.drop_constraint(op.f("ck_movements_kind"), "movements", type_="check")
    op.execute("""
        UPDATE movements
           SET kind = 'adjusted', order_id = NULL,
               note = 'restocked by refund ' || restock_id || ' of order ' || order_id
         WHERE kind = 'restocked'
    """)
    op.create_check_constraint(op.f("ck_movements_kind"), "movements", f"kind IN ({_KINDS})")
    op.create_unique_constraint(
        op.f("uq_movements_order_id_product_id_kind"), "movements", ["order_id", "product_id", "kind"]
    )
    op.drop_column("movements", "restock_id")
