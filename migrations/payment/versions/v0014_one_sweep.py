"""One process at a time sweeps Stripe's events."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    # The defaults stay: a service of the version before, which runs meanwhile, does not write the columns.
    op.add_column("event_sweep", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "event_sweep",
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.add_column("event_sweep", sa.Column("last_error", sa.Text(), nullable=True))
    op.add_column("event_sweep", sa.Column("traceparent", sa.Text(), nullable=True))
    # Before this there is nothing of ours at Stripe, whose clock may go behind PostgreSQL's.
    op.execute("""
        INSERT INTO event_sweep (name, swept_until) VALUES ('stripe', now() - interval '10 min') ON CONFLICT DO NOTHING
    """)


def downgrade() -> None:
    for column in ("traceparent", "last_error", "next_attempt_at", "attempts"):
        op.drop_column("event_sweep", column)
