"""Studies of a million candidates and more: rows as the real stages write them, made in bulk with bounded memory.

    facts = generate_study(folder, classes=1000, candidates=1_000_000, hits=250_000, seed=1)

Everything raw is there (classes, original images, candidates with dates and search terms, stored variants, opaque names, HITs with
controls, answers, neighbours, reviews, near-duplicate pairs, exclusions); nothing derived is (selection frequencies, review
thresholds, resolution), so that the first command derives it as in a real study. All images show one of sixteen plain colours, so that
every image is stored and a million need a few files; nothing here is for measuring what decodes or compares images.

A study of these sizes and this seed is the same on every machine and every kind of database.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from retest.errors import ConfigError, ConflictError
from retest.settings import check_count, check_number, plain_numbers
from retest.study import Study, StudyConfig, StudySettings, create_study
from retest.testing._scale_labelling import insert_labelling
from retest.testing._scale_rows import Layout, Writer, insert_images, insert_nearness

__all__ = ["ScaleFacts", "ScaleParameters", "fill_at_scale", "generate_study"]


@dataclass(frozen=True, slots=True, kw_only=True)
@plain_numbers
class ScaleParameters:
    """Size and make-up of a study; the defaults are those of a small one with the proportions of the published study.

    Raises:
        ConfigError: a number is too small, or a share is none.
    """

    classes: int = field(default=10, metadata={"help": "classes, each with as many candidates and HITs as every other (+-1)"})
    candidates: int = field(default=10_000, metadata={"help": "candidates of all classes"})
    hits: int = field(default=2_500, metadata={"help": "HITs of all classes"})
    assignments_per_hit: int = field(default=10, metadata={"help": "answers to each HIT"})
    annotators: int = field(default=1_000, metadata={"help": "different annotators"})
    val_per_class: int = field(default=50, metadata={"help": "original validation images per class: stored, and used as controls"})
    train_per_class: int = field(default=100, metadata={"help": "original training images per class: registered, not stored"})
    neighbors: int = field(default=30, metadata={"help": "neighbours per candidate and metric"})
    unlabelled: float = field(default=0.02, metadata={"help": "share of candidates that no HIT shows yet"})
    excluded: float = field(default=0.05, metadata={"help": "share of candidates that are excluded"})
    near_duplicates: float = field(
        default=0.04, metadata={"help": "share of candidates marked as near-duplicate, every other one of an original image"}
    )
    reviewed: float = field(default=0.95, metadata={"help": "share of the candidates with near neighbours that were reviewed"})
    rejected: float = field(default=0.01, metadata={"help": "share of answers that are rejected"})

    def __post_init__(self) -> None:
        check_count("classes", self.classes, low=2)
        check_count("assignments_per_hit", self.assignments_per_hit, low=1)
        least = {"candidates": 2 * self.classes, "hits": self.classes, "annotators": self.assignments_per_hit, "val_per_class": 3}
        for name, smallest in (least | {"train_per_class": 0, "neighbors": 2}).items():
            check_count(name, getattr(self, name), low=smallest)
        for name in ("unlabelled", "excluded", "near_duplicates", "reviewed", "rejected"):
            check_number(name, getattr(self, name), high=1)
        if self.unlabelled == 1:
            raise ConfigError("leaves nothing to label", item="unlabelled", remedy="Give less than 1")


@dataclass(frozen=True, slots=True)
class ScaleFacts:
    """What was written, counted while writing: for comparison with what the commands say."""

    classes: int
    originals_val: int
    originals_train: int
    candidates: int
    excluded: int
    hits: int
    hits_excluded: int
    images_to_label: int
    positive_controls: int
    negative_controls: int
    assignments: int
    assignments_rejected: int
    selected_images: int
    neighbor_lists: int
    reviewed_neighbors: int
    near_duplicate_pairs: int


def generate_study(
    folder: Path,
    *,
    classes: int,
    candidates: int,
    hits: int,
    assignments_per_hit: int = 10,
    seed: int,
    database: str | None = None,
    parameters: ScaleParameters | None = None,
    progress: Callable[[str], None] = lambda _message: None,
) -> ScaleFacts:
    """Make a study in a new folder and fill it.

    Args:
        folder: where the study is to lie.
        classes: number of classes.
        candidates: number of candidates.
        hits: number of HITs; each shows up to 42 candidates of its class and 3 + 3 controls.
        assignments_per_hit: answers to each.
        seed: of everything random.
        database: an SQLAlchemy URL with no study in it yet; SQLite inside the folder by default.
        parameters: the make-up otherwise; its sizes are replaced by those given here.
        progress: is told what was just written.

    Raises:
        ConfigError: a size is too small, or the seed is negative.
        ConflictError: the study has rows already.
    """
    sizes = {"classes": classes, "candidates": candidates, "hits": hits, "assignments_per_hit": assignments_per_hit}
    wanted = replace(parameters or ScaleParameters(), **sizes)
    settings = StudySettings(name="scale") if database is None else StudySettings(name="scale", database=database)
    with closing(create_study(folder, StudyConfig(study=settings))) as study:
        return fill_at_scale(study, parameters=wanted, seed=seed, progress=progress)


def fill_at_scale(
    study: Study, *, parameters: ScaleParameters, seed: int, progress: Callable[[str], None] = lambda _message: None
) -> ScaleFacts:
    """Fill an empty study; memory is some ten bytes per image shown in a HIT. Arguments as in :func:`generate_study`."""
    check_count("seed", seed)
    with study.database.read() as tables:
        if tables.classes.count() or tables.candidates.count() or tables.hits.totals().hits or tables.assignments.count():
            raise ConflictError("the study has rows already", item=str(study.folder), remedy="Choose a new folder or database")
    layout = Layout.of(parameters, seed)
    writer = Writer(study)
    p = parameters
    insert_images(writer, layout, p)
    progress("images")
    labelled = insert_labelling(writer, layout, p)
    progress("labelling")
    near = insert_nearness(writer, layout, p)
    progress("neighbours and reviews")
    writer.finish()
    return ScaleFacts(
        classes=p.classes,
        originals_val=p.classes * p.val_per_class,
        originals_train=p.classes * p.train_per_class,
        candidates=p.candidates,
        excluded=int(layout.excluded.sum()),
        **labelled,
        **near,
    )
