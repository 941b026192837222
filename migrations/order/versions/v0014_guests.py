"""People who order without an account."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def _due() -> list[sa.Column[object]]:
    return [
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
    ]


def upgrade() -> None:
    op.create_table(
        "guests",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_by", sa.Text(), nullable=True),
        *_due(),
        sa.CheckConstraint(
            "email IS NULL OR num_nonnulls(adopted_at, erased_at) = 0", name=op.f("ck_guests_forgotten")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_guests_order_id_orders")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_guests")),
    )
    op.create_index("ix_guests_lower_email", "guests", [sa.text("lower(email)")], postgresql_where="email IS NOT NULL")
    op.create_index(
        "ix_guests_due", "guests", ["next_attempt_at"], postgresql_where="email IS NOT NULL AND looked_at IS NULL"
    )
    op.create_table(
        "guest_link_requests",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        *_due(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guest_link_requests")),
    )
    op.create_index(
        "uq_guest_link_requests", "guest_link_requests", ["order_number", sa.text("lower(email)")], unique=True
    )
    op.create_index("ix_guest_link_requests_due", "guest_link_requests", ["next_attempt_at"])


def downgrade() -> None:
    op.drop_table("guest_link_requests")
    op.drop_table("guests")
