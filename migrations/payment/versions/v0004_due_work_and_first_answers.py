"""Refunds, disputes and events are due work alike; first answers are derived; the words are the field's.

What an event held is not kept any more: only its type and intent were ever read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_STATUSES = "'REQUESTED', 'PENDING', 'SUCCEEDED', 'FAILED', {cancelled}, 'RESOLVED', 'REPLACED'"
_FOLLOWED_UP = "refunds", "disputes"
_RENAMED = {"woken_version": "notified_version", "next_look_at": "next_attempt_at"}


def upgrade() -> None:
    _respell("CANCELED", "CANCELLED")
    op.alter_column("refunds", "why", new_column_name="note")
    for table in _FOLLOWED_UP:
        for old, new in _RENAMED.items():
            op.alter_column(table, old, new_column_name=new)
        op.add_column(table, sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        op.alter_column(table, "attempts", server_default=None)
        op.add_column(table, sa.Column("last_error", sa.Text(), nullable=True))
    op.add_column("refunds", sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("""
        UPDATE refunds SET settled_at = updated_at
         WHERE NOT saga_open OR status IN ('FAILED', 'CANCELLED', 'RESOLVED', 'REPLACED')
    """)

    op.alter_column("idempotency_keys", "refund_id", new_column_name="subject_id")
    # What came about before now was the answer, unless that was that the request is accepted. Whatever else was
    # waited for until now was not answered at all.
    op.add_column(
        "idempotency_keys",
        sa.Column("answer_by", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute("UPDATE idempotency_keys SET answer_by = created_at WHERE accepted_only")
    op.alter_column("idempotency_keys", "answer_by", server_default=None)
    op.drop_column("idempotency_keys", "accepted_only")

    op.add_column("provider_events", sa.Column("last_error", sa.Text(), nullable=True))
    op.execute("UPDATE provider_events SET last_error = nullif(note, ''), note = '' WHERE status = 'RECEIVED'")
    op.drop_column("provider_events", "payload")


def downgrade() -> None:
    op.add_column("provider_events", sa.Column("payload", sa.Text(), nullable=False, server_default=""))
    op.alter_column("provider_events", "payload", server_default=None)
    op.execute("UPDATE provider_events SET note = coalesce(last_error, note) WHERE status = 'RECEIVED'")
    op.drop_column("provider_events", "last_error")

    op.add_column("idempotency_keys", sa.Column("accepted_only", sa.Boolean(), nullable=True))
    op.execute("""
        UPDATE idempotency_keys SET accepted_only = coalesce(refunds.settled_at > answer_by, true)
          FROM refunds WHERE refunds.id = subject_id
    """)
    op.alter_column("idempotency_keys", "accepted_only", nullable=False)
    op.drop_column("idempotency_keys", "answer_by")
    op.alter_column("idempotency_keys", "subject_id", new_column_name="refund_id")

    op.drop_column("refunds", "settled_at")
    for table in _FOLLOWED_UP:
        for old, new in _RENAMED.items():
            op.alter_column(table, new, new_column_name=old)
        op.drop_column(table, "attempts")
        op.drop_column(table, "last_error")
    op.alter_column("refunds", "note", new_column_name="why")
    _respell("CANCELLED", "CANCELED")


def _respell(old: str, new: str) -> None:
    op.drop_constraint(op.f("ck_refunds_status"), "refunds", type_="check")
    op.execute(f"UPDATE refunds SET status = '{new}' WHERE status = '{old}'")  # noqa: S608 - put together from constants
    statuses = _STATUSES.format(cancelled=f"'{new}'")
    op.create_check_constraint(op.f("ck_refunds_status"), "refunds", f"status IN ({statuses})")
