"""Events say whether they are of a failed authentication, which is an attempt to pay like a failed charge."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The default stays: a service of the version before, which runs meanwhile, does not write the column.
    op.add_column(
        "provider_events",
        sa.Column("is_failed_authentication", sa.Boolean(), nullable=False, server_default="false"),
    )


def downgrade() -> None:
    op.drop_column("provider_events", "is_failed_authentication")
