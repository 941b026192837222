"""When a product was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("products", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_products_deleted_is_inactive"), "products", "deleted_at IS NULL OR NOT active")


def downgrade() -> None:
    """Deleted products come back inactive: the first version knows no other way to keep them."""
    op.drop_constraint(op.f("ck_products_deleted_is_inactive"), "products", type_="check")
    op.drop_column("products", "deleted_at")
