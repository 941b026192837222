"""Sagas and cancellation requests are due work; the code of a key's first answer is derived; words."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)
_UNSTARTED = "status = 'RECEIVED' AND saga_seen_at IS NULL"
_OPEN = "settled_at IS NULL"


def upgrade() -> None:
    op.alter_column("attention", "why", new_column_name="cause")

    op.drop_index("ix_cancellations_open", table_name="cancellations")
    _rename_cancellations("cancellations", "cancellation_requests")
    op.alter_column("cancellation_requests", "why", new_column_name="note")
    _add_due_columns("cancellation_requests")
    op.create_index(
        "ix_cancellation_requests_open", "cancellation_requests", ["next_attempt_at"], postgresql_where=_OPEN
    )

    op.drop_index("ix_orders_unstarted", table_name="orders")
    _add_due_columns("orders")
    op.create_index("ix_orders_unstarted", "orders", ["next_attempt_at"], postgresql_where=_UNSTARTED)

    op.alter_column("idempotency_keys", "order_id", new_column_name="subject_id")
    # What came about before now was the answer, unless that was that the request is accepted. Whatever else was
    # waited for until now was not answered at all.
    op.add_column("idempotency_keys", sa.Column("answer_by", _MOMENT, nullable=False, server_default=sa.func.now()))
    op.execute("UPDATE idempotency_keys SET answer_by = created_at WHERE accepted_only")
    op.alter_column("idempotency_keys", "answer_by", server_default=None)
    op.drop_column("idempotency_keys", "accepted_only")


def downgrade() -> None:
    op.add_column(
        "idempotency_keys", sa.Column("accepted_only", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute("""
        UPDATE idempotency_keys SET accepted_only = NOT EXISTS (
            SELECT FROM order_transitions
             WHERE order_id = subject_id AND at <= answer_by
               AND CASE route WHEN 'POST /v1/orders' THEN seq = 2
                              ELSE to_status IN ('PAID', 'FAILED', 'CANCELLED') END)
    """)
    op.alter_column("idempotency_keys", "accepted_only", server_default=None)
    op.drop_column("idempotency_keys", "answer_by")
    op.alter_column("idempotency_keys", "subject_id", new_column_name="order_id")

    op.drop_index("ix_orders_unstarted", table_name="orders")
    _drop_due_columns("orders")
    op.create_index("ix_orders_unstarted", "orders", ["created_at"], postgresql_where=_UNSTARTED)

    op.drop_index("ix_cancellation_requests_open", table_name="cancellation_requests")
    _drop_due_columns("cancellation_requests")
    op.alter_column("cancellation_requests", "note", new_column_name="why")
    _rename_cancellations("cancellation_requests", "cancellations")
    op.create_index("ix_cancellations_open", "cancellations", ["requested_at"], postgresql_where=_OPEN)

    op.alter_column("attention", "cause", new_column_name="why")


def _add_due_columns(table: str) -> None:
    """What is open is due at once. A constant default writes no row anew, however many there are."""
    op.add_column(table, sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(table, sa.Column("next_attempt_at", _MOMENT, nullable=False, server_default=sa.func.now()))
    op.add_column(table, sa.Column("last_error", sa.Text(), nullable=True))
    op.alter_column(table, "attempts", server_default=None)
    op.alter_column(table, "next_attempt_at", server_default=None)


def _drop_due_columns(table: str) -> None:
    for column in ("attempts", "next_attempt_at", "last_error"):
        op.drop_column(table, column)


def _rename_cancellations(old: str, new: str) -> None:
    op.rename_table(old, new)
    for constraint in ("pk_{}", "ck_{}_cancelled_by", "fk_{}_order_id_orders"):
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {constraint.format(old)} TO {constraint.format(new)}")
