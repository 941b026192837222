"""Support, accounts that are disabled, addresses that are confirmed, and when a password was last changed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENTS = "confirmed_at", "disabled_at", "password_changed_at"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_users_role"), "users")
    op.create_check_constraint("role", "users", "role IN ('customer', 'support', 'admin')")
    for moment in _MOMENTS:
        op.add_column("users", sa.Column(moment, sa.DateTime(timezone=True), nullable=True))
    # Whoever had an account before there were confirmations goes on getting mails.
    op.execute("UPDATE users SET confirmed_at = created_at")
    op.create_index("ix_users_admins", "users", ["id"], postgresql_where="role = 'admin' AND disabled_at IS NULL")


def downgrade() -> None:
    op.drop_index("ix_users_admins", table_name="users")
    for moment in _MOMENTS:
        op.drop_column("users", moment)
    op.drop_constraint(op.f("ck_users_role"), "users")
    op.create_check_constraint("role", "users", "role IN ('customer', 'admin')")
