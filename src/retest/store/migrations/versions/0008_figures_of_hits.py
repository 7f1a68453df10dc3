"""Figures of HITs, answers and annotators are kept in tables: millions of answers are no objects of the review server."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_HIT_ORDERS = ("judged", "valid", "controls", "agreement", "median_duration_s")


def upgrade() -> None:
    op.create_table(
        "hit_figures",
        sa.Column("hit_no", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("wnid", sa.String(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("submitted", sa.Boolean(), nullable=False),
        sa.Column("excluded", sa.Boolean(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("valid", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("controls", sa.Float(), nullable=True),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.Column("median_duration_s", sa.Float(), nullable=True),
        sa.Column("flagged", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hit_no", name=op.f("pk_hit_figures")),
        sa.UniqueConstraint("uuid", name=op.f("uq_hit_figures_uuid")),
    )
    op.create_index(op.f("ix_hit_figures_wnid"), "hit_figures", ["wnid"], unique=False)
    for name in _HIT_ORDERS:
        op.create_index(op.f(f"ix_hit_figures_{name}_hit_no"), "hit_figures", [name, "hit_no"], unique=False)
    op.create_table(
        "answer_figures",
        sa.Column("hit_no", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("assignment_id", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("submit_time", sa.String(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("positive_shown", sa.Integer(), nullable=False),
        sa.Column("positive_correct", sa.Integer(), nullable=False),
        sa.Column("negative_shown", sa.Integer(), nullable=False),
        sa.Column("negative_correct", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("selected", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("hit_no", "assignment_id", name=op.f("pk_answer_figures")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_answer_figures_worker_submit_time_assignment_id"),
        "answer_figures",
        ["worker", "submit_time", "assignment_id"],
        unique=False,
    )
    op.create_table(
        "worker_figures",
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("assignments", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("positive_shown", sa.Integer(), nullable=False),
        sa.Column("positive_correct", sa.Integer(), nullable=False),
        sa.Column("negative_shown", sa.Integer(), nullable=False),
        sa.Column("negative_correct", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("selected", sa.Integer(), nullable=False),
        sa.Column("median_duration_s", sa.Float(), nullable=True),
        sa.Column("agreement", sa.Float(), nullable=True),
        sa.Column("flagged_assignments", sa.Integer(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_worker_figures")),
    )
    op.create_index(op.f("ix_worker_figures_judged"), "worker_figures", ["judged"], unique=False)


def downgrade() -> None:
    for table in ("worker_figures", "answer_figures", "hit_figures"):
        op.drop_table(table)
