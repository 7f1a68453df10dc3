"""Stage: gather everything a study knows into one :class:`~retest.report.StudyReport` and write the HTML page."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from retest import __version__
from retest.analysis import (
    SCALES,
    AccuracyRow,
    AnnotationCounts,
    PairedModels,
    accuracy_rows,
    annotation_counts,
    fit_accuracies,
    pair_models,
)
from retest.datasets.features import FeatureStore
from retest.errors import InputError, NotFoundError, UsageError
from retest.files import write_atomic
from retest.images import variant_names
from retest.records import Predictions, Revision, Split
from retest.report import (
    DatasetFacts,
    ExclusionCount,
    Fact,
    MethodPart,
    Notice,
    PlantedCheck,
    Scatter,
    Section,
    StageSize,
    StudyReport,
    parameters_of,
    render_html,
    revision_facts,
    scatter_from_points,
    scatter_from_rows,
)
from retest.stages._findings import FindingInputs, ImageFeatures, findings
from retest.stages._multilabel import multilabel_accuracies, multilabel_table
from retest.stages._report_parts import duplicate_examples, histograms, sample_images, target_comparison
from retest.store import Tables
from retest.study import Study

ORIGINALS = ("original", "imagenet-validation-original", "cifar10")
"""Names of data sets that hold the benchmark's own images: a study's, and the published ones."""
_TITLES = {
    "sample_above_threshold": ("Threshold", "Random candidates among those that most annotators selected."),
    "sample_wnid_histogram": ("MatchedFrequency", "Candidates drawn so that selection frequencies match the original's, class by class."),
    "sample_best": ("TopImages", "The candidates of each class with the highest selection frequency."),
    "sample_val_annotated": ("Original, annotated", "Original images that were labelled by annotators."),
    "sample_val_dummy": ("Original, sample", "A sample of original images."),
}


def simulation_notices(study: Study) -> tuple[Notice, ...]:
    """What every reader must know when answers or reviews did not come from people."""
    with study.database.read() as tables:
        crowds = [name for name in tables.hits.crowds() if "simulated" in name]
        reviewers = [name for name in tables.reviews.reviewers() if name.startswith("simulated")]
    notices = []
    if crowds:
        text = (
            "Answers come from the SIMULATED crowd: no person looked at these images. Selection frequencies, and all that is "
            "sampled by them, are those of an error model."
        )
        parts = (Section.STAGES, Section.FREQUENCIES, Section.SAMPLES, Section.ACCURACY)
        notices.append(Notice(text, "Answers: SIMULATED crowd", parts))
    if reviewers:
        text = "Near-duplicates were decided by the SIMULATED reviewer, which knows nothing but distances."
        notices.append(Notice(text, "Near-duplicate decisions: SIMULATED reviewer", (Section.DUPLICATES, Section.STAGES, Section.ACCURACY)))
    return tuple(notices)


def original_dataset(rows: Iterable[AccuracyRow]) -> str | None:
    """Which data set of these rows is the original one, if any."""
    known = {row.dataset for row in rows}
    return next((name for name in ORIGINALS if name in known), None)


def write_report(
    study: Study, predictions: Sequence[Predictions], out: Path, *, original: str | None = None, planted: PlantedCheck | None = None
) -> StudyReport:
    """Write the study's report as one self-contained HTML file; ``predictions`` are those to show, which may be none.

    ``original`` names the data set that the others are compared with; ``planted`` is what a demo or a test knows of
    near-duplicates that it planted itself.
    """
    report = study_report(study, predictions, original=original, planted=planted)
    write_page(report, out)
    return report


def write_page(report: StudyReport, out: Path) -> None:
    """Write a report as one HTML file, atomically."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, render_html(report).encode())


def study_report(
    study: Study, predictions: Sequence[Predictions], *, original: str | None = None, planted: PlantedCheck | None = None
) -> StudyReport:
    """Everything the report shows, as records.

    Raises:
        UsageError: ``original`` names a data set without predictions.
    """
    rows = accuracy_rows(predictions) if predictions else []
    known = sorted({row.dataset for row in rows})
    if original is not None and original not in known:
        raise UsageError(
            "no predictions for this original set", item=original, remedy=f"Sets with predictions: {', '.join(known) or 'none'}"
        )
    original = original or original_dataset(rows) or ORIGINALS[0]
    with study.database.read() as tables:
        revisions = _shown_revisions(tables, rows, original)
        datasets = _datasets(study, tables, revisions, rows, original)
        found = findings(_inputs(study, tables, revisions, predictions, rows, datasets, original))
        names = {facts.name: facts.label or facts.name for facts in datasets}
        multilabel = multilabel_table(multilabel_accuracies(tables, predictions), names)
        return StudyReport(
            title=study.config.study.name,
            subtitle=f"A new test set for {study.config.benchmark.name}, and what models make of it",
            benchmark=study.config.benchmark.name,
            original=original if any(row.dataset == original for row in rows) else None,
            datasets=datasets,
            facts=_facts(tables, rows),
            notices=simulation_notices(study),
            warnings=found.warnings,
            extra_tables=(*found.tables, *multilabel),
            stages=_stages(tables, revisions),
            exclusions=tuple(ExclusionCount(reason, count) for reason, count in tables.exclusions.counts().items()),
            frequencies=histograms(study, tables, revisions, original),
            target=target_comparison(study, tables, revisions, original),
            samples=sample_images(study, tables, revisions, original),
            duplicates=duplicate_examples(study, tables),
            planted=planted,
            accuracy=tuple(rows) or None,
            scatters=scatters(rows, [facts.name for facts in datasets if facts.name != original], original),
            methods=_methods(study),
            revisions=tuple(revision_facts(revision) for revision in revisions) or None,
            software=_software(),
        )


def _inputs(
    study: Study,
    tables: Tables,
    revisions: Sequence[Revision],
    predictions: Sequence[Predictions],
    rows: Sequence[AccuracyRow],
    datasets: Sequence[DatasetFacts],
    original: str,
) -> FindingInputs:
    """What further findings are computed from: answers per evaluated set, in the order of its predictions."""
    classes = {info.cid: info for info in tables.classes.all()}
    drawn = {image: wnid for revision in revisions for image, wnid in revision.images}
    answered = bool(tables.bulk.answered_images())
    counts: dict[str, AnnotationCounts] = {}
    for one in predictions:
        if answered and one.dataset not in counts:
            found = _answers_to(tables, one.image_ids, drawn)
            if found.labelled.any():
                counts[one.dataset] = found
    pool = _answers_to_candidates(tables) if counts else None
    return FindingInputs(
        original=original,
        rows=rows,
        predictions=predictions,
        labels={facts.name: facts.label or facts.name for facts in datasets if facts.name != "candidates"},
        counts=counts,
        pool=pool,
        matched=[revision.name for revision in revisions if revision.sampling_function == "sample_wnid_histogram"],
        class_names={cid: info.name for cid, info in classes.items()},
        features=_features(study, tables, revisions, original),
    )


def _answers_to(tables: Tables, images: Sequence[str], drawn: Mapping[str, str]) -> AnnotationCounts:
    """Answers about images for their class: that of the revision which drew them, else their own."""
    own = {image.id: image.wnid for image in tables.originals.get(images).values() if image.split == Split.VAL and image.wnid is not None}
    wnid_of = {**own, **drawn}
    return annotation_counts(tables.bulk.frequencies_of(images).values(), [(image, wnid_of.get(image, "")) for image in images])


def _answers_to_candidates(tables: Tables) -> AnnotationCounts:
    """Answers about all candidates for their own class. In no order, which nothing is made of: they are counted by equal answers."""
    cells = np.array(list(tables.bulk.frequencies_in("candidates")), dtype=np.int64).reshape(-1, 3)
    unlabelled = np.zeros(tables.candidates.count() - int(cells[:, 2].sum()), dtype=np.int64)
    selected, assignments = (np.repeat(cells[:, column], cells[:, 2]) for column in (0, 1))
    return AnnotationCounts(np.concatenate([assignments, unlabelled]), np.concatenate([selected, unlabelled]))


def _features(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> dict[str, ImageFeatures]:
    """Features of the first stored featuriser for the original validation images and the revisions, where all have them."""
    store = FeatureStore(study)
    names = store.names(tables)
    if not names:
        return {}
    sets = {original: tuple((i.id, i.wnid or "") for i in tables.originals.all(split=Split.VAL))}
    sets |= {revision.name: revision.images for revision in revisions}
    found = {}
    for name, pairs in sets.items():
        try:
            values = store.load(tables, [image for image, _ in pairs], names[0])
        except NotFoundError:  # images without features cannot be compared
            continue
        found[name] = ImageFeatures(names[0], values, tuple(wnid for _, wnid in pairs))
    return found


def _shown_revisions(tables: Tables, rows: Sequence[AccuracyRow], original: str) -> list[Revision]:
    """Those that models were run on, or all where there are no predictions; in the order in which the paper names them."""
    evaluated = {row.dataset for row in rows}
    names = [name for name in tables.revisions.names() if name != original and (not evaluated or name in evaluated)]
    functions = list(_TITLES)
    order = {function: place for place, function in enumerate(functions)}
    return sorted((tables.revisions.get(name) for name in names), key=lambda r: (order.get(r.sampling_function, len(order)), r.name))


def revision_labels(revisions: Iterable[Revision]) -> dict[str, str]:
    """What to call revisions: the strategy's name, with the revision's own when several share it."""
    revisions = list(revisions)
    uses = Counter(revision.sampling_function for revision in revisions)
    labels = {}
    for revision in revisions:
        title = _title(revision)
        labels[revision.name] = title if uses[revision.sampling_function] == 1 else f"{title} ({revision.name})"
    return labels


def _title(revision: Revision) -> str:
    title = _TITLES.get(revision.sampling_function, (revision.name, ""))[0]
    if revision.sampling_function == "sample_above_threshold":
        title += f"{revision.parameters.get('selection_frequency_threshold', '')}"
    return title


def _datasets(
    study: Study, tables: Tables, revisions: Sequence[Revision], rows: Sequence[AccuracyRow], original: str
) -> tuple[DatasetFacts, ...]:
    """The original, the revisions, and what else models were run on: test sets that were imported or lie outside the study."""
    evaluated: dict[str, int] = {}
    for row in rows:
        evaluated[row.dataset] = max(row.n, evaluated.get(row.dataset, 0))
    labels = revision_labels(revisions)
    new = [DatasetFacts(r.name, labels[r.name], _TITLES.get(r.sampling_function, ("", ""))[1], len(r.images)) for r in revisions]
    others = [DatasetFacts(name, n_images=n) for name, n in evaluated.items() if name != original and name not in labels]
    pool = [DatasetFacts("candidates", "Candidates", "All labelled candidates of the pool.")] if tables.candidates.count() else []
    return (_original_facts(study, tables, original, evaluated.get(original, 0)), *new, *others, *pool)


def _original_facts(study: Study, tables: Tables, original: str, evaluated: int) -> DatasetFacts:
    """The benchmark's own images; where the study holds none of them, those that models were run on."""
    held = tables.originals.counts().get(str(Split.VAL), 0)
    unusable = sum(image.split is Split.VAL for image in tables.originals.get(tables.problems.all()).values())
    aside = f"; {unusable:,} of them cannot be used" if unusable else ""
    kind = "validation" if held else "test"
    return DatasetFacts(original, "Original", f"The {kind} images of {study.config.benchmark.name}{aside}.", held or evaluated)


def _facts(tables: Tables, rows: Sequence[AccuracyRow]) -> tuple[Fact, ...]:
    models = len({row.model for row in rows})
    facts = [
        Fact("Classes", f"{tables.classes.count():,}"),
        Fact("Candidates", f"{_found(tables):,}"),
    ]
    return (*facts, Fact("Answers", f"{tables.assignments.count():,}"), Fact("Models", f"{models:,}"))


def _found(tables: Tables) -> int:
    """How many candidates a source gave: without those that other data only mention."""
    return tables.candidates.count() - tables.candidates.count(source="reference")


def _stages(tables: Tables, revisions: Sequence[Revision]) -> tuple[StageSize, ...]:
    originals = tables.originals.counts()
    hits = tables.hits.totals()
    candidates = _found(tables)
    sampled = {image for revision in revisions for image, _ in revision.images}
    return (
        StageSize(
            "Original training images", originals.get("train", 0), "reference of the near-duplicate search; models are trained on them"
        ),
        StageSize("Original validation images", originals.get("val", 0), "the test set that is replicated; also the source of controls"),
        StageSize("Candidates found", candidates, "all photos the source gave"),
        StageSize("Candidates kept", tables.bulk.kept_candidates(), "not excluded for any reason"),
        StageSize("Candidates labelled", tables.bulk.answered_candidates(), "with at least one valid answer"),
        StageSize(
            "Near-duplicates", tables.bulk.near_duplicates(), "candidates that give way to an original image or to another candidate"
        ),
        StageSize("In a new test set", len(sampled), "distinct images of all revisions"),
        StageSize("HITs", hits.hits, "pages of images for one class", "HITs"),
        StageSize("Answers", tables.assignments.count(), "assignments of all HITs", "answers"),
        StageSize("Neighbours reviewed", tables.reviews.count(), "candidate, metric and reference", "pairs"),
    )


def scatters(rows: Sequence[AccuracyRow], datasets: Sequence[str], original: str | None) -> tuple[Scatter, ...] | None:
    """Original -> new with fit, for every new set that shares models with the original."""
    known = {row.dataset for row in rows}
    found = []
    for name in datasets:
        if original is None or name not in known or original not in known:
            continue
        points = pair_models(rows, original=original, new=name).points
        try:
            fit = fit_accuracies(points, original=original, new=name)
        except InputError:  # fewer than three models, or all equally good: a scatter without a line
            fit = None
        if points:
            found.append(scatter_from_rows(rows, original=original, new=name, fit=fit))
    return tuple(found) or None


def accuracy_report(rows: Sequence[AccuracyRow], *, title: str, original: str | None = None, notes: Sequence[str] = ()) -> StudyReport:
    """A report from accuracies alone, without a study."""
    original = original or original_dataset(rows)
    datasets = [name for name in dict.fromkeys(row.dataset for row in rows) if name != original]
    return StudyReport(
        title=title,
        original=original,
        warnings=tuple(Notice(note, sections=(Section.ACCURACY,)) for note in notes),
        accuracy=tuple(rows),
        scatters=scatters(rows, datasets, original),
        software=_software(),
    )


def table_report(paired: PairedModels, *, title: str) -> StudyReport:
    """A report from two accuracy tables (for instance timm's), whose test-set sizes need not be known."""
    fits = [fit_accuracies(paired.points, scale=scale, metric=paired.metric, original=paired.original, new=paired.new) for scale in SCALES]
    return StudyReport(
        title=title,
        original=paired.original,
        warnings=tuple(Notice(note, sections=(Section.ACCURACY,)) for note in paired.notes),
        scatters=tuple(scatter_from_points(paired, fit=fit) for fit in fits),
        software=_software(),
    )


def _methods(study: Study) -> tuple[MethodPart, ...]:
    config = study.config
    full, shown, compared = variant_names(config.images)
    texts = {
        "Images": (
            f"Every image was decoded, turned upright and stored in three variants: {full}, {shown} (what annotators see) "
            f"and {compared} (what is compared).",
        ),
        "Labelling": (
            "Annotators were shown candidates among positive and negative controls and selected the images that contain the class.",
        ),
        "Near-duplicates": (
            "For every candidate the nearest neighbours among original images and candidates were searched exactly, reviewed "
            "up to a distance, and resolved.",
        ),
        "Sampling": ("Usable candidates have enough answers, are not excluded, not near-duplicates and sufficiently reviewed.",),
    }
    settings: dict[str, tuple[object, ...]] = {
        "Images": (config.images,),
        "Labelling": (config.labeling,),
        "Near-duplicates": (config.neighbors, config.review, config.resolution),
        "Sampling": (config.sampling,),
    }
    return tuple(
        MethodPart(title, text, tuple(p for group in settings[title] for p in parameters_of(group))) for title, text in texts.items()
    )


def _software() -> tuple[Fact, ...]:
    packages = ("numpy", "scipy", "pillow", "scikit-learn", "sqlalchemy", "pyarrow")
    return (Fact("retest", __version__), Fact("Python", platform.python_version()), *(Fact(name, version(name)) for name in packages))
