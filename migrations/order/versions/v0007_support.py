"""Support cancels orders."""

from alembic import op

revision = "0007"
down_revision = "0006"

_TABLE = "cancellation_requests"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_cancellation_requests_cancelled_by"), _TABLE)
    op.create_check_constraint("cancelled_by", _TABLE, "cancelled_by IN ('CUSTOMER', 'SUPPORT', 'ADMIN', 'OPERATOR')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_cancellation_requests_cancelled_by"), _TABLE)
    op.create_check_constraint("cancelled_by", _TABLE, "cancelled_by IN ('CUSTOMER', 'ADMIN', 'OPERATOR')")
