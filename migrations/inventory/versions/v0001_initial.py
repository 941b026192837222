"""The first tables of the inventory database."""

import sqlalchemy as sa
from alembic import op

from migrations.outbox_tables import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_outbox_tables()
    op.create_table(
        "movements",
        sa.Column("product_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("on_hand_change", sa.BigInteger(), nullable=False),
        sa.Column("reserved_change", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("adjustment_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('reserved', 'committed', 'released', 'adjusted')", name=op.f("ck_movements_kind")),
        sa.PrimaryKeyConstraint("product_id", "seq", name=op.f("pk_movements")),
        sa.UniqueConstraint("adjustment_id", name=op.f("uq_movements_adjustment_id")),
        sa.UniqueConstraint("order_id", "product_id", "kind", name=op.f("uq_movements_order_id_product_id_kind")),
    )
    op.create_table(
        "reservations",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'COMMITTED', 'RELEASED')", name=op.f("ck_reservations_status")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_reservations")),
    )
    op.create_table(
        "stock",
        sa.Column("product_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("reserved >= 0 AND reserved <= on_hand", name=op.f("ck_stock_available")),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_stock")),
    )
    op.create_table(
        "reservation_lines",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("product_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_reservation_lines_quantity")),
        sa.ForeignKeyConstraint(
            ["order_id"], ["reservations.order_id"], name=op.f("fk_reservation_lines_order_id_reservations")
        ),
        sa.PrimaryKeyConstraint("order_id", "product_id", name=op.f("pk_reservation_lines")),
    )
    op.create_index(op.f("ix_reservation_lines_product_id"), "reservation_lines", ["product_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_reservation_lines_product_id"), table_name="reservation_lines")
    op.drop_table("reservation_lines")
    op.drop_table("stock")
    op.drop_table("reservations")
    op.drop_table("movements")
    drop_outbox_tables()
