"""Mails about accounts, and mails that wait for an address to be confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TABLE = "notifications"


def upgrade() -> None:
    # The default stays: a service of the version before, which runs meanwhile, does not write the column.
    op.add_column(_TABLE, sa.Column("withheld", sa.Boolean(), nullable=False, server_default="false"))
    op.create_index(
        "ix_notifications_withheld", _TABLE, ["user_id"], postgresql_where="status = 'PENDING' AND withheld"
    )
    for constraint in ("written", "order_mail"):
        op.drop_constraint(op.f(f"ck_notifications_{constraint}"), _TABLE, type_="check")
    op.create_check_constraint("event_mail", _TABLE, "num_nonnulls(template, ce_id, event) IN (0, 3)")
    op.create_check_constraint("order_mail", _TABLE, "num_nonnulls(order_id, order_seq) IN (0, 2)")
    op.create_check_constraint("about_order", _TABLE, "order_id IS NULL OR event IS NOT NULL")
    op.create_check_constraint("written", _TABLE, "(event IS NULL) = (fingerprint IS NOT NULL)")


def downgrade() -> None:
    op.execute("DELETE FROM notifications WHERE order_id IS NULL AND event IS NOT NULL")
    for constraint in ("written", "about_order", "order_mail", "event_mail"):
        op.drop_constraint(op.f(f"ck_notifications_{constraint}"), _TABLE, type_="check")
    op.create_check_constraint(
        "order_mail", _TABLE, "num_nonnulls(order_id, template, ce_id, order_seq, event) IN (0, 5)"
    )
    op.create_check_constraint("written", _TABLE, "(order_id IS NULL) = (fingerprint IS NOT NULL)")
    op.drop_index("ix_notifications_withheld", table_name=_TABLE)
    op.drop_column(_TABLE, "withheld")
