"""Records that the consumer refused, and what people did about them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("record_offset", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('OPEN', 'RETRIED', 'RESOLVED')", name=op.f("ck_dead_letters_status")),
        sa.CheckConstraint("(status = 'OPEN') = (closed_at IS NULL)", name=op.f("ck_dead_letters_closed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            *("topic", "partition", "record_offset", "recorded_at"),
            name=op.f("uq_dead_letters_topic_partition_record_offset_recorded_at"),
        ),
    )
    op.create_index("ix_dead_letters_open", "dead_letters", ["id"], unique=False, postgresql_where="status = 'OPEN'")
    op.create_table(
        "dead_letter_actions",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("dead_letter_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action IN ('RETRY', 'RESOLVE')", name=op.f("ck_dead_letter_actions_action")),
        sa.ForeignKeyConstraint(
            ["dead_letter_id"], ["dead_letters.id"], name=op.f("fk_dead_letter_actions_dead_letter_id_dead_letters")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_actions")),
    )
    op.create_index("ix_dead_letter_actions_dead_letter_id", "dead_letter_actions", ["dead_letter_id"], unique=False)


def downgrade() -> None:
    op.drop_table("dead_letter_actions")
    op.drop_table("dead_letters")
