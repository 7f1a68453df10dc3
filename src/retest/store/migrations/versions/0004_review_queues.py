"""Where near-duplicate review goes on, and what people say of predicted labels."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pair_queue",
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("candidate_id", sa.String(), nullable=False),
        sa.Column("nearest", sa.Float(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "candidate_id", name=op.f("pk_pair_queue")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_pair_queue_metric_nearest_candidate_id"), "pair_queue", ["metric", "nearest", "candidate_id"], unique=False)
    op.create_table(
        "label_judgements",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("wnid", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "wnid", name=op.f("pk_label_judgements")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("label_judgements")
    op.drop_index(op.f("ix_pair_queue_metric_nearest_candidate_id"), table_name="pair_queue")
    op.drop_table("pair_queue")
