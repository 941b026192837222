"""Concerns in the place of attention, what operators did, what the watcher looks at; operators cancel orders."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_MOMENT = sa.DateTime(timezone=True)
_KINDS = "kind IN ('ORDER', 'REFUND', 'DISPUTE', 'EVENT', 'MAIL', 'PART')"
_OPEN = "cleared_at IS NULL"


def upgrade() -> None:
    # Constant for the rows that are there, none of which is written anew; processes of the release before leave it out.
    op.add_column("orders", sa.Column("moved_at", _MOMENT, nullable=False, server_default=sa.func.now()))
    op.create_index("ix_orders_open", "orders", ["id"], postgresql_where="status IN ('RECEIVED', 'PENDING')")

    op.create_table(
        "concerns",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("raised_by", sa.Text(), nullable=False),
        sa.Column("raised_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("cleared_at", _MOMENT, nullable=True),
        sa.Column("cleared_by", sa.Text(), nullable=True),
        sa.CheckConstraint(_KINDS, name="kind"),
    )
    op.create_index("uq_concerns_open", "concerns", ["kind", "subject_id", "step"], unique=True, postgresql_where=_OPEN)
    op.create_index("ix_concerns_open", "concerns", ["id"], postgresql_where=_OPEN)
    op.create_index("ix_concerns_subject_id", "concerns", ["subject_id"])
    op.create_index("ix_concerns_order_id", "concerns", ["order_id"])
    # What stands behind the step is the id of a refund, or, which is no UUID, of a dispute.
    op.execute("""
        INSERT INTO concerns (kind, subject_id, step, order_id, cause, since, attempts, raised_by, raised_at,
                              updated_at, cleared_at, cleared_by)
        SELECT CASE WHEN strpos(step, ' ') = 0 THEN 'ORDER'
                    WHEN split_part(step, ' ', 2) ~ '^[0-9a-f]{8}-' THEN 'REFUND' ELSE 'DISPUTE' END,
               CASE WHEN strpos(step, ' ') = 0 THEN order_id::text ELSE split_part(step, ' ', 2) END,
               split_part(step, ' ', 1), order_id, cause, since, 0, 'saga', since,
               since, cleared_at, CASE WHEN cleared_at IS NOT NULL THEN 'saga' END
          FROM attention
    """)
    # Until they are replaced, processes of the release before fail to raise attention, which sagas repeat.
    op.drop_table("attention")

    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.CheckConstraint(_KINDS, name="kind"),
    )
    op.create_index("ix_actions_subject_id", "actions", ["subject_id"])
    op.create_index("ix_actions_order_id", "actions", ["order_id"])

    op.create_table(
        "looks",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _MOMENT, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
    )
    op.execute("""
        INSERT INTO looks (name, attempts, next_attempt_at)
        SELECT name, 0, now() FROM unnest(ARRAY['orders', 'refunds', 'disputes', 'parts']) AS name
    """)

    op.add_column("cancellation_requests", sa.Column("operator", sa.Text(), nullable=True))
    op.alter_column("cancellation_requests", "user_id", nullable=True)
    op.drop_constraint(op.f("ck_cancellation_requests_cancelled_by"), "cancellation_requests")
    op.create_check_constraint(
        "cancelled_by", "cancellation_requests", "cancelled_by IN ('CUSTOMER', 'ADMIN', 'OPERATOR')"
    )
    op.create_check_constraint("somebody", "cancellation_requests", "(user_id IS NULL) = (operator IS NOT NULL)")


def downgrade() -> None:
    op.execute("DELETE FROM cancellation_requests WHERE operator IS NOT NULL")
    op.drop_constraint(op.f("ck_cancellation_requests_somebody"), "cancellation_requests")
    op.drop_constraint(op.f("ck_cancellation_requests_cancelled_by"), "cancellation_requests")
    op.create_check_constraint("cancelled_by", "cancellation_requests", "cancelled_by IN ('CUSTOMER', 'ADMIN')")
    op.alter_column("cancellation_requests", "user_id", nullable=False)
    op.drop_column("cancellation_requests", "operator")
    op.drop_table("looks")
    op.drop_table("actions")
    op.create_table(
        "attention",
        sa.Column("order_id", sa.Uuid(), sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("step", sa.Text(), primary_key=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("cleared_at", _MOMENT, nullable=True),
    )
    op.create_index("ix_attention_open", "attention", ["since"], postgresql_where=_OPEN)
    op.execute("""
        INSERT INTO attention (order_id, step, cause, since)
        SELECT order_id, CASE kind WHEN 'ORDER' THEN step ELSE step || ' ' || subject_id END, cause, since
          FROM concerns
         WHERE cleared_at IS NULL AND kind IN ('ORDER', 'REFUND', 'DISPUTE') AND raised_by = 'saga'
           AND order_id IS NOT NULL
    """)
    op.drop_table("concerns")
    op.drop_index("ix_orders_open", table_name="orders")
    op.drop_column("orders", "moved_at")
