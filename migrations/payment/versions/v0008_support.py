"""Support asks for refunds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # The default stays: a service of the version before, which runs meanwhile, does not write the column.
    op.add_column("refunds", sa.Column("requested_by_support", sa.Boolean(), nullable=False, server_default="false"))


def downgrade() -> None:
    op.drop_column("refunds", "requested_by_support")
