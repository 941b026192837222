"""A session is a family of refresh tokens: from where it was used, and when it was ended, for who verifies tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_OWNER = "fk_refresh_tokens_user_id_users"


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("address", sa.Text(), nullable=False, server_default=""))
    op.add_column("refresh_tokens", sa.Column("user_agent", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_refresh_tokens_revoked_at", "refresh_tokens", ["revoked_at"], postgresql_where="revoked_at IS NOT NULL"
    )
    # What an erased person leaves says only which sessions have ended.
    op.alter_column("refresh_tokens", "user_id", nullable=True)
    op.drop_constraint(op.f(_OWNER), "refresh_tokens")
    op.create_foreign_key(op.f(_OWNER), "refresh_tokens", "users", ["user_id"], ["id"], ondelete="SET NULL")


def downgrade() -> None:
    op.execute("DELETE FROM refresh_tokens WHERE user_id IS NULL")
    op.drop_constraint(op.f(_OWNER), "refresh_tokens")
    op.create_foreign_key(op.f(_OWNER), "refresh_tokens", "users", ["user_id"], ["id"])
    op.alter_column("refresh_tokens", "user_id", nullable=False)
    op.drop_index("ix_refresh_tokens_revoked_at", table_name="refresh_tokens")
    op.drop_column("refresh_tokens", "user_agent")
    op.drop_column("refresh_tokens", "address")
