"""Large refunds want a second person's approval."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("refunds", sa.Column("approved_by", sa.Text(), nullable=True))
    op.create_table(
        "refund_approvals",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_by_key", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refund_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refund_approvals_amount")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_refund_approvals_payment_id_payments")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_refund_approvals_refund_id_refunds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_approvals")),
        sa.UniqueConstraint("refund_id", name=op.f("uq_refund_approvals_refund_id")),
    )
    op.create_index(op.f("ix_refund_approvals_payment_id"), "refund_approvals", ["payment_id"], unique=False)


def downgrade() -> None:
    op.drop_table("refund_approvals")
    op.drop_column("refunds", "approved_by")
