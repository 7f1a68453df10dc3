"""What reviewers page through is walked along an index: a class of a revision, the history of one kind of decision."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_revision_images_revision_wnid"), "revision_images", ["revision", "wnid"], unique=False)
    op.create_index(op.f("ix_decisions_kind_no"), "decisions", ["kind", "no"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_decisions_kind_no"), table_name="decisions")
    op.drop_index(op.f("ix_revision_images_revision_wnid"), table_name="revision_images")
