"""Whose a payment was that an account has adopted."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("payments", sa.Column("placed_by", sa.Uuid(as_uuid=False), nullable=True))


def downgrade() -> None:
    op.drop_column("payments", "placed_by")
