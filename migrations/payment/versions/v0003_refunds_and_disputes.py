"""Any number of refunds of a payment, each with a workflow of its own; disputes; idempotency keys of refunds."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_STATUSES = "'REQUESTED', 'PENDING', 'SUCCEEDED', 'FAILED', 'CANCELED'"
_DISPUTES = (
    "'WARNING_NEEDS_RESPONSE', 'WARNING_UNDER_REVIEW', 'WARNING_CLOSED', 'NEEDS_RESPONSE', 'UNDER_REVIEW', 'WON', "
    "'LOST', 'PREVENTED'"
)


def upgrade() -> None:
    op.drop_constraint(op.f("uq_refunds_payment_id"), "refunds", type_="unique")
    op.create_index(op.f("ix_refunds_payment_id"), "refunds", ["payment_id"], unique=False)
    op.drop_constraint(op.f("ck_refunds_status"), "refunds", type_="check")
    op.create_check_constraint(op.f("ck_refunds_status"), "refunds", f"status IN ({_STATUSES}, 'RESOLVED', 'REPLACED')")
    # Every refund so far was owed, and carried out by the order's own saga, which parks where Stripe refused it. So
    # the sweep starts the sagas of those alone that are not done.
    added: tuple[tuple[sa.Column[object], bool], ...] = (
        (sa.Column("origin", sa.Text(), nullable=False, server_default="VOID"), True),
        (sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"), True),
        (sa.Column("saga_open", sa.Boolean(), nullable=False, server_default="false"), True),
        (sa.Column("woken_version", sa.BigInteger(), nullable=False, server_default="0"), True),
        (sa.Column("next_look_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()), True),
        (sa.Column("restock", postgresql.JSONB(), nullable=False, server_default="[]"), True),
        (sa.Column("restock_id", sa.Uuid(as_uuid=False), nullable=True), False),
        (sa.Column("requested_by", sa.Uuid(as_uuid=False), nullable=True), False),
        (sa.Column("why", sa.Text(), nullable=False, server_default=""), True),
    )
    for column, has_default in added:
        op.add_column("refunds", column)
        if has_default:
            op.alter_column("refunds", column.name, server_default=None)
    op.execute("UPDATE refunds SET saga_open = status <> 'SUCCEEDED', restock_id = id")
    op.alter_column("refunds", "restock_id", nullable=False)
    op.create_check_constraint(op.f("ck_refunds_origin"), "refunds", "origin IN ('ADMIN', 'VOID', 'STRIPE')")
    op.create_index(
        "ix_refunds_saga_open", "refunds", ["next_look_at"], unique=False, postgresql_where=sa.text("saga_open")
    )
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=False),
        sa.Column("respond_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("saga_open", sa.Boolean(), nullable=False),
        sa.Column("woken_version", sa.BigInteger(), nullable=False),
        sa.Column("next_look_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"status IN ({_DISPUTES})", name=op.f("ck_disputes_status")),
        sa.CheckConstraint("amount >= 0 AND withdrawn >= 0", name=op.f("ck_disputes_amounts")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_disputes_payment_id_payments")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_payment_id"), "disputes", ["payment_id"], unique=False)
    op.create_index(
        "ix_disputes_saga_open", "disputes", ["next_look_at"], unique=False, postgresql_where=sa.text("saga_open")
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("accepted_only", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("disputes")
    op.drop_index("ix_refunds_saga_open", table_name="refunds")
    op.drop_constraint(op.f("ck_refunds_origin"), "refunds", type_="check")
    added = "origin", "version", "saga_open", "woken_version", "next_look_at"
    for column in (*added, "restock", "restock_id", "requested_by", "why"):
        op.drop_column("refunds", column)
    op.drop_constraint(op.f("ck_refunds_status"), "refunds", type_="check")
    op.create_check_constraint(op.f("ck_refunds_status"), "refunds", f"status IN ({_STATUSES})")
    op.drop_index(op.f("ix_refunds_payment_id"), table_name="refunds")
    op.create_unique_constraint(op.f("uq_refunds_payment_id"), "refunds", ["payment_id"])
