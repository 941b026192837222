"""What waits, or has failed, is found by an index; people leave alone what has failed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("dismissed", sa.Text(), nullable=True))
    op.create_index("ix_notifications_waiting", "notifications", ["created_at"], postgresql_where="status = 'PENDING'")
    op.create_index(
        "ix_notifications_failed",
        "notifications",
        ["created_at"],
        postgresql_where="status = 'FAILED' AND dismissed IS NULL",
    )


def downgrade() -> None:
    op.drop_index("ix_notifications_failed", table_name="notifications")
    op.drop_index("ix_notifications_waiting", table_name="notifications")
    op.drop_column("notifications", "dismissed")
