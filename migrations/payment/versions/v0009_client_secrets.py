"""Client secrets are kept, sealed, until their payments are decided."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("payments", sa.Column("client_secret", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("payments", "client_secret")
