"""The number of a payment's last change, which every change names as the one that it was made from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("payments", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"))
    op.alter_column("payments", "version", server_default=None)


def downgrade() -> None:
    op.drop_column("payments", "version")
