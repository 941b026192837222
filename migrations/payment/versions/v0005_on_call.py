"""What stands still is found by an index; operators ask for refunds."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_FOLLOWED = "refunds", "disputes"


def upgrade() -> None:
    op.add_column("refunds", sa.Column("requested_by_operator", sa.Text(), nullable=True))
    for table in _FOLLOWED:
        op.add_column(table, sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))
        op.execute(
            f"UPDATE {table} SET failing_since = now() WHERE saga_open AND last_error IS NOT NULL"  # noqa: S608
        )
        op.create_index(f"ix_{table}_open_id", table, ["id"], postgresql_where="saga_open")
        op.create_index(
            f"ix_{table}_failing",
            table,
            ["failing_since"],
            postgresql_where="saga_open AND failing_since IS NOT NULL",
        )
    op.create_index(
        "ix_provider_events_waiting",
        "provider_events",
        ["received_at"],
        postgresql_where="status = 'RECEIVED' AND attempts > 1",
    )
    op.create_index(
        "ix_provider_events_flagged", "provider_events", ["processed_at"], postgresql_where="status = 'FLAGGED'"
    )


def downgrade() -> None:
    op.drop_index("ix_provider_events_flagged", table_name="provider_events")
    op.drop_index("ix_provider_events_waiting", table_name="provider_events")
    for table in _FOLLOWED:
        op.drop_index(f"ix_{table}_failing", table_name=table)
        op.drop_index(f"ix_{table}_open_id", table_name=table)
        op.drop_column(table, "failing_since")
    op.drop_column("refunds", "requested_by_operator")
