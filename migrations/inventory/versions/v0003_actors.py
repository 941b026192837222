"""Who adjusted stock is kept with the movement."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("movements", sa.Column("actor", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("movements", "actor")
