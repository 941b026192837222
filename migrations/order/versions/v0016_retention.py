"""What is no history is deleted once it is old."""

from migrations.retention_tables import create_retention_table, drop_retention_table

revision = "0016"
down_revision = "0015"

_EMPTIED = ["outbox", "idempotency_keys"]


def upgrade() -> None:
    create_retention_table(*_EMPTIED, emptied=_EMPTIED)


def downgrade() -> None:
    drop_retention_table(emptied=_EMPTIED)
