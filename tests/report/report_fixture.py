"""A realistic report of a small digits study, made from nothing but seeds; not a golden file, only something to draw."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from retest.analysis import accuracy_rows, fit_accuracies, pair_models
from retest.images import ImageParameters
from retest.records import Predictions, Revision
from retest.report.describe import parameters_of, revision_facts
from retest.report.figure_records import FrequencyHistogram, TargetComparison
from retest.report.image_records import DuplicateExample, MetricDistance, PlantedCheck, PlantedKind, ReportImage, SampleImage
from retest.report.pivot import scatter_from_rows
from retest.report.records import (
    Column,
    DatasetFacts,
    ExclusionCount,
    ExtraTable,
    Fact,
    MethodPart,
    Notice,
    Section,
    StageSize,
    StudyReport,
)

MODELS = (
    "svm_rbf",
    "svm_linear",
    "knn_3",
    "random_forest",
    "extra_trees",
    "gradient_boosting",
    "logistic_regression",
    "mlp_64",
    "gaussian_nb",
    "nearest_centroid",
)
SETS = {"digits-val": (540, 0.0), "threshold0.7": (100, 0.35), "matched-frequency": (100, 0.8), "top-images": (100, -0.35)}
EDGES = tuple(i / 10 for i in range(11))


def predictions(models=MODELS, sets=SETS, seed=7, classes=10):
    rng = np.random.default_rng(seed)
    skill = np.linspace(2.6, 1.4, len(models)) + rng.normal(0, 0.08, len(models))
    for dataset, (n, harder) in sets.items():
        labels = rng.integers(0, classes, n)
        difficulty = rng.normal(0, 1.2, n) + harder
        for i, model in enumerate(models):
            right = rng.normal(0, 0.35, n) + difficulty < skill[i]
            first = np.where(right, labels, (labels + rng.integers(1, classes, n)) % classes)
            rest = [(first + 1 + np.where((first + 1 + j) % classes == labels, 0, j)) % classes for j in range(1, 5)]
            top = np.stack([first, *rest], axis=1)
            hidden = (rng.random(n) < 0.8) & ~right
            top[:, 1] = np.where(hidden, labels, top[:, 1])
            yield Predictions(dataset, model, tuple(f"{dataset}-{k}" for k in range(n)), labels, top)


def rows(**options):
    return accuracy_rows(predictions(**options))


def fit(all_rows, new, *, original="digits-val", scale="linear", metric="top1", exclude=()):
    points = pair_models(all_rows, original=original, new=new, metric=metric).points
    return fit_accuracies(points, scale=scale, original=original, new=new, metric=metric, exclude=exclude, bootstrap=1000)


def picture(array, kind="PNG", size=96):
    out = io.BytesIO()
    Image.fromarray((255 - array * 15.9).astype(np.uint8)).resize((size, size), Image.Resampling.BILINEAR).save(out, kind)
    return out.getvalue()


def digit_images(n_classes=10, per_cell=4):
    digits = load_digits()
    samples = []
    for cid in range(n_classes):
        of_class = np.flatnonzero(digits.target == cid)
        for j, dataset in enumerate(SETS):
            for k in range(per_cell):
                at = int(of_class[j * per_cell + k])
                image = ReportImage(f"digit-{at:04d}", picture(digits.images[at], "PNG" if k % 2 else "JPEG", 64))
                samples.append(SampleImage(dataset, f"digit {cid}", image, None if j == 0 and k == 3 else round(1 - 0.1 * k - 0.05 * j, 2)))
    return tuple(samples)


def duplicates():
    digits = load_digits().images
    rng = np.random.default_rng(1)
    made = []
    kinds = [
        ("exact copy", lambda a: a, True, (0.0, 0.0)),
        ("shifted by one pixel", lambda a: np.roll(a, 1, axis=1), True, (41_230.0, 0.0712)),
        ("brightened", lambda a: np.clip(a * 1.2, 0, 16), True, (18_411.0, 0.0108)),
        ("another writer", lambda a: digits[1077], False, (912_044.0, 0.2411)),
        ("noise", lambda a: np.clip(a + rng.normal(0, 1, a.shape), 0, 16), True, (9_120.5, 0.0311)),
    ]
    for i, (name, change, near, (l2, dssim)) in enumerate(kinds):
        base = digits[100 + i]
        made.append(
            DuplicateExample(
                ReportImage(f"cand-{i:040x}", picture(change(base))),
                ReportImage(f"digits-val-{100 + i:05d}.png", picture(base), "the digit of the original"),
                (MetricDistance("l2", l2, 2.0e5), MetricDistance("dssim", dssim, 0.2205), MetricDistance("features", l2 / 7e4, 3.5)),
                near,
                reason=f"{name}; the component holds an original image, so the candidate is left out" if near else "both stay: " + name,
            )
        )
    return tuple(made)


def histograms():
    rng = np.random.default_rng(3)
    shapes = {
        "digits-val": (540, 6, 1.4),
        "candidates": (1150, 2.2, 1.3),
        "threshold0.7": (100, 9, 1.2),
        "matched-frequency": (100, 6, 1.4),
        "top-images": (100, 30, 1.0),
    }
    found = []
    for name, (n, a, b) in shapes.items():
        values = rng.binomial(10, rng.beta(a, b, n)) / 10
        counts, _ = np.histogram(values, bins=np.array(EDGES) - np.array([0] + [1e-9] * 9 + [-1e-9]))
        found.append(FrequencyHistogram(name, EDGES, tuple(int(c) for c in counts)))
    return tuple(found)


def full_report(**changes):
    all_rows = rows()
    new = [name for name in SETS if name != "digits-val"]
    revision = Revision(
        "matched-frequency",
        "sample_wnid_histogram",
        tuple((f"i{i}", f"c{i % 10}") for i in range(100)),
        True,
        42,
        {"histogram_bins": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "allow_upward_sampling": True, "min_num_annotations_candidates": 10},
    )
    parts = {
        "title": "Do handwritten-digit classifiers generalise to new digits?",
        "subtitle": "A replication of the digits benchmark: three new test sets were drawn from a pool of candidates by the selection "
        "frequencies of annotators, and ten classifiers were put to the test on them.",
        "benchmark": "scikit-learn digits",
        "original": "digits-val",
        "datasets": (
            DatasetFacts("digits-val", "Original", "The benchmark's own validation images.", 540),
            DatasetFacts("threshold0.7", "Threshold0.7", "Candidates that at least 70 % of annotators selected.", 100),
            DatasetFacts("matched-frequency", "MatchedFrequency", "Selection frequencies like those of the original, class by class.", 100),
            DatasetFacts("top-images", "TopImages", "The candidates that annotators selected most often.", 100),
            DatasetFacts("candidates", "Candidates"),
        ),
        "facts": (
            Fact("Classes", "10"),
            Fact("Models", "10"),
            Fact("Annotators per image", "10"),
            Fact("Seed", "2718"),
            Fact("Made", "2024-05-01"),
        ),
        "notices": (
            Notice(
                "Answers come from the SIMULATED crowd: no human looked at these images. Selection frequencies and everything "
                "sampled by them are those of an error model.",
                "Answers: SIMULATED crowd",
                (Section.STAGES, Section.FREQUENCIES, Section.SAMPLES, Section.ACCURACY),
            ),
            Notice(
                "Near-duplicates were decided by the SIMULATED reviewer, which knows only distances.",
                "Decisions: SIMULATED reviewer",
                (Section.DUPLICATES, Section.STAGES),
            ),
        ),
        "warnings": (
            Notice(
                "MatchedFrequency was matched on noisy frequencies (10 annotators): the expected bias of its drop is +0.8 points.",
                "Naive matching: expected bias +0.8 points",
                (Section.FREQUENCIES,),
            ),
        ),
        "stages": (
            StageSize("Candidates collected", 1257, "found in the pool, before anything is left out"),
            StageSize("Candidates kept", 1198, "readable and not excluded"),
            StageSize("HITs planned", 31, "48 images each", "HITs"),
            StageSize("Assignments collected", 310, "10 per HIT", "assignments"),
            StageSize("Near-duplicate pairs reviewed", 212, "shown to the reviewer", "pairs"),
            StageSize("Candidates eligible", 871, "enough annotations, no near-duplicate, sufficiently reviewed"),
            StageSize("Sampled into a test set", 241, "distinct images of the three sets"),
        ),
        "exclusions": (
            ExclusionCount("near_duplicate", 58, "the same photo as an original or another candidate"),
            ExclusionCount("below_threshold", 210, "selected by too few annotators"),
            ExclusionCount("corrupt", 1, "cannot be decoded"),
        ),
        "frequencies": histograms(),
        "target": TargetComparison(
            "matched-frequency", "digits-val", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (2, 4, 11, 23, 60), (2, 4, 10, 22, 62)
        ),
        "samples": digit_images(),
        "duplicates": duplicates(),
        "planted": PlantedCheck(
            (
                PlantedKind("exact copy", 20, 20, "the same bytes"),
                PlantedKind("shifted", 20, 19, "by one or two pixels"),
                PlantedKind("re-encoded", 20, 20, "JPEG quality 40"),
                PlantedKind("brightened", 20, 18, "by 10 to 20 %"),
            ),
            79,
            77,
            "Found: the copy, or the image that it copies, is marked.",
        ),
        "accuracy": tuple(all_rows),
        "scatters": tuple(scatter_from_rows(all_rows, original="digits-val", new=name, fit=fit(all_rows, name)) for name in new),
        "extra_tables": (
            ExtraTable(
                "Accuracy by selection frequency",
                (Column("frequency"), Column("images", "count"), Column("accuracy", "percent"), Column("log loss", "number")),
                (("0.6 to 0.8", 23, 0.913, 0.3124), ("0.8 to 1.0", 62, 0.9677, 0.1212), ("none", None, None, None)),
                Section.FREQUENCIES,
                "Mean of ten models.",
            ),
        ),
        "methods": (
            MethodPart(
                "Images",
                ("Every image was decoded, turned by its EXIF orientation, converted to RGB and stored in three JPEG variants.",),
                parameters_of(ImageParameters()),
            ),
            MethodPart(
                "Labelling",
                (
                    "Candidates were shown 42 at a time among six controls; annotators selected every image that holds "
                    "an object of the class.",
                ),
            ),
        ),
        "revisions": (revision_facts(revision),),
        "software": (Fact("retest", "0.1.0"), Fact("numpy", np.__version__), Fact("Python", "3.11")),
    }
    return StudyReport(**{**parts, **changes})
