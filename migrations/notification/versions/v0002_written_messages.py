"""Messages whose text was given, by mail or SMS, beside the mails that order events cause."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_OF_ORDER_MAILS: dict[str, sa.types.TypeEngine[Any]] = {
    "order_id": sa.Uuid(as_uuid=False),
    "template": sa.Text(),
    "ce_id": sa.Text(),
    "order_seq": sa.BigInteger(),
    "event": sa.Text(),
}


def upgrade() -> None:
    op.add_column("notifications", sa.Column("channel", sa.Text(), nullable=False, server_default="email"))
    op.alter_column("notifications", "channel", server_default=None)
    for column in ("recipient", "subject", "body"):
        op.add_column("notifications", sa.Column(column, sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
    for column, kind in _OF_ORDER_MAILS.items():
        op.alter_column("notifications", column, existing_type=kind, nullable=True)
    op.create_check_constraint(op.f("ck_notifications_channel"), "notifications", "channel IN ('email', 'sms')")
    op.create_check_constraint(
        op.f("ck_notifications_order_mail"),
        "notifications",
        "num_nonnulls(order_id, template, ce_id, order_seq, event) IN (0, 5)",
    )
    op.create_check_constraint(
        op.f("ck_notifications_written"), "notifications", "(order_id IS NULL) = (fingerprint IS NOT NULL)"
    )
    op.create_check_constraint(
        op.f("ck_notifications_forgotten"),
        "notifications",
        "status = 'PENDING' OR num_nonnulls(recipient, subject, body) = 0",
    )
    op.create_index(
        "uq_notifications_user_id_seq",
        "notifications",
        ["user_id", "seq"],
        unique=True,
        postgresql_where="order_id IS NULL",
    )


def downgrade() -> None:
    op.drop_index("uq_notifications_user_id_seq", table_name="notifications", postgresql_where="order_id IS NULL")
    for constraint in ("forgotten", "written", "order_mail", "channel"):
        op.drop_constraint(op.f(f"ck_notifications_{constraint}"), "notifications", type_="check")
    op.execute("DELETE FROM notifications WHERE order_id IS NULL")  # the first tables have no place for them
    for column, kind in _OF_ORDER_MAILS.items():
        op.alter_column("notifications", column, existing_type=kind, nullable=False)
    for column in ("fingerprint", "body", "subject", "recipient", "channel"):
        op.drop_column("notifications", column)
