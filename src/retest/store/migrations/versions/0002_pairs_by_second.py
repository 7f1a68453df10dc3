"""An index that finds near-duplicate pairs by their second image."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_near_duplicate_pairs_second"), "near_duplicate_pairs", ["second"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_near_duplicate_pairs_second"), table_name="near_duplicate_pairs")
