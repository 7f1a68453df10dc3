"""Answers of a HIT are counted by their status from the index alone: rows of answers are long."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_assignments_hit_uuid_status"), "assignments", ["hit_uuid", "status"], unique=False)
    op.drop_index(op.f("ix_assignments_hit_uuid"), table_name="assignments")


def downgrade() -> None:
    op.create_index(op.f("ix_assignments_hit_uuid"), "assignments", ["hit_uuid"], unique=False)
    op.drop_index(op.f("ix_assignments_hit_uuid_status"), table_name="assignments")
