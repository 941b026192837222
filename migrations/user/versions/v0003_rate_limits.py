"""Rate limits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("bucket", sa.LargeBinary(), nullable=False),
        sa.Column("full_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_rate_limits")),
        # room in each page for the next version of its rows, so that no change of one needs the index
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "rate_limit_exemptions",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limit_exemptions")),
    )


def downgrade() -> None:
    op.drop_table("rate_limit_exemptions")
    op.drop_table("rate_limits")
