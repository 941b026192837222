"""The first tables of the notification database."""

import sqlalchemy as sa
from alembic import op

from migrations.outbox_tables import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_outbox_tables()
    op.create_table(
        "inbox",
        sa.Column("ce_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ce_id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("ce_id", sa.Text(), nullable=False),
        sa.Column("order_seq", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("status IN ('PENDING', 'SENT', 'FAILED')", name=op.f("ck_notifications_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("ce_id", name=op.f("uq_notifications_ce_id")),
        sa.UniqueConstraint("order_id", "seq", name=op.f("uq_notifications_order_id_seq")),
    )
    op.create_index(
        "ix_notifications_due",
        "notifications",
        ["next_attempt_at"],
        unique=False,
        postgresql_where="status = 'PENDING'",
    )
    op.create_index("ix_notifications_order_id_order_seq", "notifications", ["order_id", "order_seq"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_notifications_order_id_order_seq", table_name="notifications")
    op.drop_index("ix_notifications_due", table_name="notifications", postgresql_where="status = 'PENDING'")
    op.drop_table("notifications")
    op.drop_table("inbox")
    drop_outbox_tables()
