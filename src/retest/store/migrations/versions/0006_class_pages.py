"""A class is listed from one index, hits are counted by state from another: at a million candidates rows lie far apart."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_candidates_wnid_id"), table_name="candidates")
    op.create_index(op.f("ix_candidates_wnid_id_date_taken"), "candidates", ["wnid", "id", "date_taken"], unique=False)
    op.create_index(op.f("ix_hits_submitted"), "hits", ["submitted"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_hits_submitted"), table_name="hits")
    op.drop_index(op.f("ix_candidates_wnid_id_date_taken"), table_name="candidates")
    op.create_index(op.f("ix_candidates_wnid_id"), "candidates", ["wnid", "id"], unique=False)
