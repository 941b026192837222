"""What is no history is deleted once it is old; what a mail was made from is forgotten when it is sent."""

import sqlalchemy as sa
from alembic import op

from migrations.retention_tables import create_retention_table, drop_retention_table

revision = "0007"
down_revision = "0006"

_EMPTIED = ["outbox", "inbox", "dead_letters"]
_BEFORE = {
    "event_mail": "num_nonnulls(template, ce_id, event) IN (0, 3)",
    "about_order": "order_id IS NULL OR event IS NOT NULL",
    "written": "(event IS NULL) = (fingerprint IS NOT NULL)",
}
_AFTER = {
    "event_mail": "num_nonnulls(template, ce_id) IN (0, 2)",
    "about_order": "order_id IS NULL OR template IS NOT NULL",
    "written": "(template IS NULL) = (fingerprint IS NOT NULL)",
    "made_from": "CASE WHEN template IS NULL THEN event IS NULL ELSE event IS NOT NULL OR status = 'SENT' END",
}


def upgrade() -> None:
    create_retention_table(*_EMPTIED, "notifications", emptied=_EMPTIED)
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])
    op.create_index("ix_dead_letters_closed", "dead_letters", ["closed_at"], postgresql_where="status <> 'OPEN'")
    op.create_index(
        "ix_notifications_said", "notifications", ["sent_at"], postgresql_where="status = 'SENT' AND event IS NOT NULL"
    )
    op.add_column("notifications", sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True))
    _check(instead_of=_BEFORE, conditions=_AFTER)


def downgrade() -> None:
    # Of what was sent the older version wants the event as well, and reads it no more.
    op.execute("UPDATE notifications SET event = '{}' WHERE template IS NOT NULL AND event IS NULL")
    _check(instead_of=_AFTER, conditions=_BEFORE)
    op.drop_column("notifications", "failed_at")
    op.drop_index(
        "ix_notifications_said", table_name="notifications", postgresql_where="status = 'SENT' AND event IS NOT NULL"
    )
    op.drop_index("ix_dead_letters_closed", table_name="dead_letters", postgresql_where="status <> 'OPEN'")
    op.drop_index("ix_inbox_received_at", table_name="inbox")
    drop_retention_table(emptied=_EMPTIED)


def _check(*, instead_of: dict[str, str], conditions: dict[str, str]) -> None:
    for name in instead_of:
        op.drop_constraint(op.f(f"ck_notifications_{name}"), "notifications", type_="check")
    for name, condition in conditions.items():
        op.create_check_constraint(op.f(f"ck_notifications_{name}"), "notifications", condition)
