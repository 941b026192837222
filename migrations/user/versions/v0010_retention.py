"""What is no history is deleted once it is old; the tokens of a session are found by an index."""

from alembic import op

from migrations.retention_tables import create_retention_table, drop_retention_table

revision = "0010"
down_revision = "0009"

_EMPTIED = ["outbox", "idempotency_keys", "refresh_tokens", "account_links"]


def upgrade() -> None:
    create_retention_table(*_EMPTIED, "sessions", emptied=_EMPTIED)
    op.create_index(op.f("ix_refresh_tokens_family_id"), "refresh_tokens", ["family_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_refresh_tokens_family_id"), table_name="refresh_tokens")
    drop_retention_table(emptied=_EMPTIED)
