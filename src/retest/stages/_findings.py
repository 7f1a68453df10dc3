"""Further findings of a report, as tables: fits on three scales, accuracy by selection frequency, the bias of matching, the parts of
the gap, models against models, classes. Everything is computed by :mod:`retest.analysis`; here it only becomes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from retest.analysis import (
    SCALES,
    AccuracyRow,
    AnnotationCounts,
    Correctness,
    MatchingBias,
    accuracy_by_frequency,
    class_accuracies,
    compare_all_pairs,
    consensus,
    correctness_table,
    decompose_gap,
    effective_robustness,
    fit_accuracies,
    matching_bias,
    model_agreement,
    pair_models,
    reweighted_accuracy,
    two_sample_test,
)
from retest.analysis import frequency_histogram as histogram_of
from retest.errors import InputError, UsageError
from retest.records import Predictions
from retest.report import Column, ExtraTable, Notice, Section

_MOST_MODELS = 12
"""Tables with a row per pair of models stay readable up to here; beyond it the best models are shown."""
_CLASSES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Findings:
    """Tables to show, and what a reader has to be warned of."""

    tables: tuple[ExtraTable, ...] = ()
    warnings: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Stored features of a data set's images: float32 (n, d), with the class of each."""

    featuriser: str
    values: NDArray[np.float32]
    wnids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FindingInputs:
    """What findings are computed from. ``counts`` are the answers per data set in the order of its images in the predictions."""

    original: str
    rows: Sequence[AccuracyRow]
    predictions: Sequence[Predictions]
    labels: Mapping[str, str]
    counts: Mapping[str, AnnotationCounts] = field(default_factory=dict)
    pool: AnnotationCounts | None = None
    matched: Sequence[str] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
    features: Mapping[str, ImageFeatures] = field(default_factory=dict)

    def label(self, dataset: str) -> str:
        return self.labels.get(dataset, dataset)

    @property
    def new(self) -> list[str]:
        """The new data sets that have models, in order."""
        known = dict.fromkeys(row.dataset for row in self.rows)
        return [name for name in self.labels if name in known and name != self.original]


def findings(inputs: FindingInputs) -> Findings:
    """All further tables that these data allow."""
    tables: list[ExtraTable] = []
    warnings: list[Notice] = []
    missing: list[tuple[str, str]] = []
    if any(row.dataset == inputs.original for row in inputs.rows):
        tables += _fits(inputs, missing) + _robustness(inputs, missing)
    results = {name: _table_of(inputs, name, missing) for name in (inputs.original, *inputs.new)}
    biases = {name: _bias(inputs, results.get(name), name, missing) for name in inputs.matched}
    for name, bias in biases.items():
        if bias is not None:
            tables.append(_bias_table(inputs, name, bias))
            label = f"Naive matching: expected bias {bias.mean_bias_points:+.1f} points"
            warnings.append(Notice(f"{inputs.label(name)}: {bias.warning}", label, (Section.FREQUENCIES, Section.ACCURACY)))
    tables += [table for name in inputs.new for table in _gaps(inputs, name, biases.get(name))]
    tables += _told_apart(inputs, missing) + _by_frequency(inputs, results, missing) + _consensus(inputs, results)
    if results.get(inputs.original) is not None:
        tables += _pairs(inputs, results) + _agreement(inputs, results)
    tables += _classes(inputs)
    if missing:
        columns = (Column("what"), Column("why"))
        tables.append(ExtraTable("Not computed", columns, tuple(missing), Section.ACCURACY, "These data do not allow it."))
    return Findings(tuple(tables), tuple(warnings))


def _table_of(inputs: FindingInputs, dataset: str, missing: list[tuple[str, str]]) -> Correctness | None:
    records = [one for one in inputs.predictions if one.dataset == dataset]
    try:
        return correctness_table(records) if records else None
    except InputError as error:  # models without an image in common, or with different labels
        missing.append((f"comparisons image by image on {inputs.label(dataset)}", str(error)))
        return None


def _fits(inputs: FindingInputs, missing: list[tuple[str, str]]) -> list[ExtraTable]:
    ends = [
        Column(name, "coefficient") for name in ("slope", "slope from", "slope to", "intercept", "intercept from", "intercept to", "R2")
    ]
    columns = (Column("new set"), Column("scale"), *ends, Column("models", "count"))
    rows: list[tuple[str | int | float | None, ...]] = []
    for name in inputs.new:
        points = pair_models(inputs.rows, original=inputs.original, new=name).points
        for scale in (scale for scale in SCALES if scale != "linear"):  # the linear one stands beside the figure
            try:
                fit = fit_accuracies(points, scale=scale, original=inputs.original, new=name, bootstrap=20_000)
            except InputError as error:
                missing.append((f"fit of {inputs.label(name)} on the {scale} scale", str(error)))
                continue
            numbers = (fit.slope, fit.slope_low, fit.slope_high, fit.intercept, fit.intercept_low, fit.intercept_high, fit.r2)
            rows.append((inputs.label(name), scale, *numbers, fit.n_models))
    note = "Least squares over models; 95 % percentile bootstrap over models."
    return [ExtraTable("Fits on the probit and logit scales", columns, tuple(rows), Section.ACCURACY, note)] if rows else []


def _robustness(inputs: FindingInputs, missing: list[tuple[str, str]]) -> list[ExtraTable]:
    tables = []
    for name in inputs.new:
        points = pair_models(inputs.rows, original=inputs.original, new=name).points
        try:
            found = effective_robustness(points, baseline={point.model for point in points}, bootstrap=1000)
        except InputError as error:
            missing.append((f"effective robustness on {inputs.label(name)}", str(error)))
            continue
        columns = (Column("model"), Column("expected", "percent"), Column("new", "percent"), Column("beyond expectation, points", "points"))
        rows = tuple((row.model, row.expected, row.new, row.rho_points) for row in found.rows)
        note = "Expected: logit fit over all models shown, which are also the baseline (Taori et al. 2020)."
        tables.append(ExtraTable(f"Effective robustness on {inputs.label(name)}", columns, rows, Section.ACCURACY, note))
    return tables


def _bias(inputs: FindingInputs, results: Correctness | None, name: str, missing: list[tuple[str, str]]) -> MatchingBias | None:
    if results is None:  # no model was run on the set, or why their results cannot be compared has been said
        return None
    what = f"bias of matching on {inputs.label(name)}"
    without = [inputs.label(one) for one in (inputs.original, name) if one not in inputs.counts]
    if without:
        missing.append((what, f"no answers about images of {' and '.join(without)}"))
        return None
    counts = _aligned(inputs, results, name)
    try:
        return matching_bias(inputs.counts[inputs.original], counts, results.correct, models=results.models, pool=inputs.pool)
    except (InputError, UsageError) as error:  # too few answers, or too few per image for the parameters' defaults
        missing.append((what, str(error)))
        return None


def _aligned(inputs: FindingInputs, results: Correctness, name: str) -> AnnotationCounts:
    """Counts of the images that all models have, in the order of the results."""
    first = next(one for one in inputs.predictions if one.dataset == name)
    place = {image: row for row, image in enumerate(first.image_ids)}
    rows = np.array([place[image] for image in results.image_ids], np.int64)
    return inputs.counts[name].take(rows)


def _bias_table(inputs: FindingInputs, name: str, bias: MatchingBias) -> ExtraTable:
    columns = (
        Column("model"), Column("measured", "percent"), Column("naive", "percent"), Column("jackknife", "percent"),
        Column("corrected", "percent"), Column("from", "percent"), Column("to", "percent"), Column("bias, points", "points"),
    )  # fmt: skip
    rows = tuple(
        (r.model, r.measured, r.naive.value, r.jackknife.value, r.corrected.value, r.corrected.low, r.corrected.high, r.bias_points.value)
        for r in bias.rows
    )
    title = f"{inputs.label(name)}: accuracy at the original's true selection frequencies"
    return ExtraTable(title, columns, rows, Section.FREQUENCIES, "Corrections of Engstrom et al. (2020); 95 % bootstrap over images.")


def _gaps(inputs: FindingInputs, name: str, bias: MatchingBias | None) -> list[ExtraTable]:
    if bias is None or not any(row.dataset == inputs.original for row in inputs.rows):
        return []
    points = pair_models(inputs.rows, original=inputs.original, new=name).points
    matched = {row.model: row for row in bias.rows}
    parts = [decompose_gap(point, matched=matched.get(point.model)) for point in points if point.n_original and point.n_new]
    if not parts:
        return []
    columns = (Column("model"), Column("drop", "points"), Column("from frequencies", "points"), Column("remainder", "points"))
    rows = tuple(
        (
            part.model,
            part.drop_points.value,
            None if part.frequency_points is None else part.frequency_points.value,
            None if part.remainder_points is None else part.remainder_points.value,
        )
        for part in parts
    )
    return [
        ExtraTable(f"Parts of the drop on {inputs.label(name)}, points", columns, rows, Section.ACCURACY, " ".join(parts[0].assumptions))
    ]


def _told_apart(inputs: FindingInputs, missing: list[tuple[str, str]]) -> list[ExtraTable]:
    """Can a classifier tell the sets apart by the stored features?"""
    if not inputs.features:
        return []
    featuriser = next(iter(inputs.features.values())).featuriser
    first = inputs.features.get(inputs.original)
    rows: list[tuple[str | int | float | None, ...]] = []
    for name in (name for name in inputs.labels if name != inputs.original):
        what, found = f"telling {inputs.label(name)} from the original by features", inputs.features.get(name)
        if first is None or found is None:
            lacking = inputs.label(inputs.original if first is None else name)
            missing.append((what, f"there are no features of {featuriser} of all images of {lacking}"))
            continue
        try:
            test = two_sample_test(first.values, found.values, strata=(first.wnids, found.wnids))
        except InputError as error:
            missing.append((what, str(error)))
            continue
        rows.append((inputs.label(name), test.n_original, test.n_new, test.auc, test.balanced_accuracy, test.p_value))
    if not rows:
        return []
    columns = (
        Column("new set"), Column("original images", "count"), Column("new images", "count"), Column("AUC", "coefficient"),
        Column("balanced accuracy", "percent"), Column("p", "p"),
    )  # fmt: skip
    note = (
        f"Ridge classifier on features of {featuriser}, cross-validated; permutations within classes. "
        "AUC 0.5: the sets cannot be told apart (Lopez-Paz & Oquab 2017)."
    )
    return [ExtraTable("Can a classifier tell new from original images?", columns, tuple(rows), Section.SAMPLES, note)]


def _by_frequency(inputs: FindingInputs, results: Mapping[str, Correctness | None], missing: list[tuple[str, str]]) -> list[ExtraTable]:
    rows: list[tuple[str | int | float | None, ...]] = []
    weighted: list[tuple[str | int | float | None, ...]] = []
    for name, table in results.items():
        if table is None or name not in inputs.counts:
            continue
        frequencies = _aligned(inputs, table, name).frequencies
        per_model = [accuracy_by_frequency(row, frequencies) for row in table.correct]
        for place, bin_ in enumerate(per_model[0]):
            mean = None if bin_.n == 0 else float(np.mean([bins[place].accuracy for bins in per_model]))
            rows.append((inputs.label(name), f"{bin_.low_edge:g} to {bin_.high_edge:g}", bin_.n, mean))
        if inputs.original not in inputs.counts:  # nothing to weight by
            continue
        try:
            weighted.append((inputs.label(name), float(table.correct.mean()), _reweighted(inputs, table, frequencies)))
        except InputError as error:
            missing.append((f"accuracy of {inputs.label(name)} re-weighted to the original's frequencies", str(error)))
    if not rows:
        return []
    bins = ExtraTable(
        "Accuracy by selection frequency",
        (Column("set"), Column("selection frequency"), Column("images", "count"), Column("mean accuracy", "percent")),
        tuple(rows),
        Section.FREQUENCIES,
        "Mean over the models of each set.",
    )
    again = ExtraTable(
        "Accuracy re-weighted to the original's observed selection frequencies",
        (Column("set"), Column("as measured", "percent"), Column("re-weighted", "percent")),
        tuple(weighted),
        Section.FREQUENCIES,
        "Mean over the models of each set. Observed frequencies are taken at face value here.",
    )
    return [bins, again] if weighted else [bins]


def _reweighted(inputs: FindingInputs, table: Correctness, frequencies: NDArray[np.float64]) -> float:
    target = histogram_of(inputs.counts[inputs.original].frequencies)
    return float(np.mean([reweighted_accuracy(row, frequencies, target=target).accuracy for row in table.correct]))


def _consensus(inputs: FindingInputs, results: Mapping[str, Correctness | None]) -> list[ExtraTable]:
    found = [(name, consensus(table)) for name, table in results.items() if table is not None]
    columns = (Column("set"), Column("images", "count"), Column("all models right", "percent"), Column("no model right", "percent"))
    rows = tuple(
        (inputs.label(name), one.n_images, len(one.solved_by_all) / one.n_images, len(one.solved_by_none) / one.n_images)
        for name, one in found
    )
    return [ExtraTable("Images that all models or no model get right", columns, rows, Section.ACCURACY)] if rows else []


def _best(table: Correctness) -> list[str]:
    order = np.argsort(-table.correct.mean(axis=1), kind="stable")
    return [table.models[place] for place in order[:_MOST_MODELS]]


def _pairs(inputs: FindingInputs, results: Mapping[str, Correctness | None]) -> list[ExtraTable]:
    columns = (
        Column("model"), Column("against"), Column("difference, points", "points"), Column("from", "points"), Column("to", "points"),
        Column("McNemar p (Holm)", "p"),
    )  # fmt: skip
    tables = []
    for name, table in results.items():
        if table is None or len(table.models) < 2:
            continue
        chosen = _best(table)
        pairs = compare_all_pairs(table, models=chosen)
        neighbours = {frozenset(pair) for pair in pairwise(chosen)}
        rows = tuple(
            (p.model_a, p.model_b, p.difference_points, p.low_points, p.high_points, p.p_holm)
            for p in pairs
            if frozenset((p.model_a, p.model_b)) in neighbours
        )
        note = f"Models next to each other in rank, among the best {len(chosen)}; paired bootstrap over images."
        tables.append(ExtraTable(f"Models against models on {inputs.label(name)}", columns, rows, Section.ACCURACY, note))
    return tables


def _agreement(inputs: FindingInputs, results: Mapping[str, Correctness | None]) -> list[ExtraTable]:
    columns = (Column("set"), Column("same prediction", "percent"), Column("error consistency (kappa)", "coefficient"))
    rows: list[tuple[str | int | float | None, ...]] = []
    for name, table in results.items():
        if table is None or len(table.models) < 2:
            continue
        found = model_agreement(table)
        upper = np.triu_indices(len(table.models), 1)
        kappa = found.error_consistency[upper]
        mean = float(np.nanmean(kappa)) if np.isfinite(kappa).any() else None
        rows.append((inputs.label(name), float(found.same_prediction[upper].mean()), mean))
    note = "Mean over pairs of models (Geirhos et al. 2020)."
    return [ExtraTable("How alike models are", columns, tuple(rows), Section.ACCURACY, note)] if rows else []


def _classes(inputs: FindingInputs) -> list[ExtraTable]:
    records = {name: [one for one in inputs.predictions if one.dataset == name] for name in (inputs.original, *inputs.new)}
    if not records[inputs.original]:
        return []
    records, over = _of_shared_models({name: some for name, some in records.items() if some})
    by_set = {name: _class_means(some) for name, some in records.items()}
    original, *new = by_set.values()

    def drop(cid: int) -> float:
        return max((original[cid] - one.get(cid, original[cid]) for one in new), default=1.0 - original[cid])

    chosen = sorted(original, key=lambda cid: (-drop(cid), cid))[:_CLASSES_SHOWN]
    columns = (Column("class"), *(Column(inputs.label(name), "percent") for name in by_set))
    rows = tuple((inputs.class_names.get(cid, str(cid)), *(one.get(cid) for one in by_set.values())) for cid in chosen)
    note = f"The {len(chosen)} classes of the {'largest drop' if new else 'lowest accuracy'}; mean over {over}."
    return [ExtraTable("Accuracy by class", columns, rows, Section.ACCURACY, note)]


def _of_shared_models(records: Mapping[str, list[Predictions]]) -> tuple[dict[str, list[Predictions]], str]:
    """Results of the models that all sets have, as far as there are any, and over which models a mean of them is."""
    models = [{one.model for one in some} for some in records.values()]
    shared = set.intersection(*models)
    if all(one == shared for one in models):
        return dict(records), "models"
    if not shared:
        return dict(records), "each set's own models: no model has all these sets"
    only = f"the {len(shared)} models that all these sets have" if len(shared) > 1 else "the one model that all these sets have"
    return {name: [one for one in some if one.model in shared] for name, some in records.items()}, only


def _class_means(predictions: Iterable[Predictions]) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for one in predictions:
        for row in class_accuracies(one):
            found.setdefault(row.cid, []).append(row.top1)
    return {cid: float(np.mean(values)) for cid, values in found.items()}
