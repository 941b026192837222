"""What products were called when they were ordered, and where in the cart they were."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("order_items", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("order_items", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("order_items", "position")
    op.drop_column("order_items", "name")
