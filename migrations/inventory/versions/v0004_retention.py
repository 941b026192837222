"""What is no history is deleted once it is old."""

from migrations.retention_tables import create_retention_table, drop_retention_table

revision = "0004"
down_revision = "0003"

_EMPTIED = ["outbox"]


def upgrade() -> None:
    create_retention_table(*_EMPTIED, emptied=_EMPTIED)


def downgrade() -> None:
    drop_retention_table(emptied=_EMPTIED)
