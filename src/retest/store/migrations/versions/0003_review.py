"""What the review pages need: reviewers, flags, counts per class, and indexes that find decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_decisions_kind"), table_name="decisions")
    op.create_index(op.f("ix_decisions_kind_item_no"), "decisions", ["kind", "item", "no"], unique=False)
    op.create_index(op.f("ix_decisions_user_no"), "decisions", ["user", "no"], unique=False)
    op.create_index(op.f("ix_decisions_time"), "decisions", ["time"], unique=False)
    op.create_table(
        "image_flags",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("time", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_flags")),
    )
    op.create_table(
        "reviewers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("token_hash", sa.String(), nullable=True),
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("seen", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reviewers")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_reviewers_token_hash")),
    )
    op.create_table(
        "class_counts",
        sa.Column("wnid", sa.String(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("wnid", name=op.f("pk_class_counts")),
    )


def downgrade() -> None:
    op.drop_table("class_counts")
    op.drop_table("reviewers")
    op.drop_table("image_flags")
    op.drop_index(op.f("ix_decisions_time"), table_name="decisions")
    op.drop_index(op.f("ix_decisions_user_no"), table_name="decisions")
    op.drop_index(op.f("ix_decisions_kind_item_no"), table_name="decisions")
    op.create_index(op.f("ix_decisions_kind"), "decisions", ["kind"], unique=False)
