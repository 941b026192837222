"""What is no history is deleted once it is old; what only the outbox knew of a payment's history is kept apart."""

import sqlalchemy as sa
from alembic import op

from migrations.retention_tables import create_retention_table, drop_retention_table

revision = "0013"
down_revision = "0012"

_EMPTIED = ["outbox", "idempotency_keys", "provider_events"]


def upgrade() -> None:
    create_retention_table(*_EMPTIED, emptied=_EMPTIED)
    op.create_index(
        "ix_provider_events_done",
        "provider_events",
        ["processed_at"],
        postgresql_where="status IN ('APPLIED', 'IGNORED')",
    )
    op.create_table(
        "payment_history",
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=True),
        sa.Column("dispute_id", sa.Text(), nullable=True),
        sa.Column("dispute_status", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_history_payment_id_payments")),
        sa.PrimaryKeyConstraint("payment_id", "seq", name=op.f("pk_payment_history")),
    )


def downgrade() -> None:
    op.drop_table("payment_history")
    op.drop_index(
        "ix_provider_events_done", table_name="provider_events", postgresql_where="status IN ('APPLIED', 'IGNORED')"
    )
    drop_retention_table(emptied=_EMPTIED)
