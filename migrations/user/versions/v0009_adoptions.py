"""Accounts that are to have what was ordered with their address as a guest."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "adoptions",
        sa.Column("user_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_adoptions_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_adoptions")),
    )
    op.create_index("ix_adoptions_due", "adoptions", ["next_attempt_at"])


def downgrade() -> None:
    op.drop_table("adoptions")
