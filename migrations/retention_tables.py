"""The table ``retention``, which a migration of each database makes alike (`runtime.retention`)."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

# Of these tables the oldest rows go, and new ones come: what the deleted ones leave is to be free before much is added,
# however large the table is. By default that waits until a fifth of it is dead.
_VACUUM = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000"
_NO_VACUUM = "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold"


def create_retention_table(*rules: str, emptied: Sequence[str]) -> None:
    """Make it, with a row for each rule, and have the tables vacuumed soon whose rows are deleted."""
    op.create_table(
        "retention",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("horizon", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retention")),
    )
    table = sa.table(
        "retention", sa.column("name"), sa.column("deleted"), sa.column("attempts"), sa.column("next_attempt_at")
    )
    for rule in rules:
        op.execute(sa.insert(table).values(name=rule, deleted=0, attempts=0, next_attempt_at=sa.func.now()))
    for name in emptied:
        op.execute(f"ALTER TABLE {name} SET ({_VACUUM})")


def drop_retention_table(*, emptied: Sequence[str]) -> None:
    """Take it back; what was deleted stays so."""
    for name in emptied:
        op.execute(f"ALTER TABLE {name} RESET ({_NO_VACUUM})")
    op.drop_table("retention")
