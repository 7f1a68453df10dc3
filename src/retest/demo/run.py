"""``retest demo``: every stage of a replication study, connected, on the digits that scikit-learn ships.

Killed anywhere and run again it goes on where it stopped and ends with the same result; run twice it redoes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retest import __version__
from retest.analysis import AccuracyRow, accuracy_rows
from retest.crowd import CrowdParameters, SimulatedCrowdParameters
from retest.demo.digits import DigitsBenchmark, DigitsParameters, write_digits
from retest.demo.models import train_classifiers, train_featuriser
from retest.demo.score import planted_check
from retest.duplicates import ReviewParameters
from retest.images import ImageParameters
from retest.labeling import HitParameters
from retest.models import MlpFeaturiser
from retest.neighbors import NeighborParameters
from retest.records import Split
from retest.report import PlantedCheck
from retest.sampling import SamplingParameters
from retest.sources import FetchingSource, FolderSource, SearchParameters
from retest.stages import (
    benchmark,
    check,
    collect,
    duplicates,
    evaluate,
    export,
    images,
    label,
    neighbors,
    publish,
    report,
    sample,
    simulate,
)
from retest.stages._common import Progress, Stamp, compare_variant, completion_key, silent
from retest.stages._pixels import pixel_matrix
from retest.study import BenchmarkSettings, SourceSettings, Study, StudyConfig, StudySettings, create_study

STAMP = Stamp("demo", "2026-01-01T00:00:00+00:00")
OPAQUE_KEY = b"the demo's pages are never shown to anybody"
FEATURISER = "mlp"

# Up to where neighbours are reviewed: about the nearest-neighbour distances of different digits, so that the reviewer sees both kinds.
REVIEW_TARGETS = {"l2": 5.0e6, "dssim": 0.06, FEATURISER: 60.0}
# The simulated reviewer calls a pair near-duplicates when it is closer than nearly all pairs of different training digits.
REVIEWER_QUANTILE = 0.005
SETS = (("threshold", "a"), ("matched-frequency", "b"), ("top-images", "c"))


@dataclass(frozen=True, slots=True)
class DemoParameters:
    """Size of the demo, whose defaults use all 1,797 digits, and the address of its database."""

    digits: DigitsParameters = field(default_factory=DigitsParameters)
    per_class: int = 20
    images_to_label: int = 42
    database: str = "sqlite:///study.db"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo ends with."""

    study: Path
    report: Path
    rows: tuple[AccuracyRow, ...]
    labels: dict[str, str]
    notices: tuple[str, ...]
    planted: PlantedCheck


def demo_config(digits: DigitsBenchmark, parameters: DemoParameters) -> StudyConfig:
    """Settings of the demo's study: the published rules, with sizes that fit 8x8 scans."""
    return StudyConfig(
        study=StudySettings(name="digits-retest", database=parameters.database),
        benchmark=BenchmarkSettings(name="Handwritten digits (scikit-learn)", **digits.settings),
        source=SourceSettings(kind="folder", location=str(digits.pool)),
        search=SearchParameters(),
        images=ImageParameters(display_side=160, compare_side=64),
        labeling=HitParameters(images_to_label=parameters.images_to_label),
        crowd=CrowdParameters(backend="simulated"),
        neighbors=NeighborParameters(metrics=("l2", "dssim", FEATURISER), ssim_window=9),
        review=ReviewParameters(targets=REVIEW_TARGETS),
        sampling=SamplingParameters(per_class=parameters.per_class, allow_upward_sampling=True),
    )


def run_demo(
    out: Path, *, parameters: DemoParameters | None = None, progress: Progress = silent, say: Callable[[str], None] = lambda _line: None
) -> DemoResult:
    """Run the demo below ``out``; ``say`` gets a line per stage."""
    parameters = parameters or DemoParameters()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    say("Benchmark and pool: the digits of scikit-learn, with planted copies, wrong classes, ambiguous and broken images")
    digits = write_digits(out / "digits", parameters.digits)
    study = create_study(out / "study", demo_config(digits, parameters))
    with closing(study):
        _collect(study, progress, say)
        _label(study, progress, say)
        _find_duplicates(study, progress, say)
        names = _sample(study, out, parameters, progress, say)
        _evaluate(study, names, progress, say)
        predictions = evaluate.stored_predictions(study)
        rows = accuracy_rows(predictions)
        planted = planted_check(study, digits.planted)
        with progress("Write report", total=1) as advance:
            written = report.write_report(study, predictions, out / "report.html", planted=planted)
            advance(1)
        labels = {facts.name: facts.label or facts.name for facts in written.datasets}
        notices = tuple(notice.text for notice in written.notices)
    return DemoResult(out / "study", out / "report.html", tuple(rows), labels, notices, planted)


def _collect(study: Study, progress: Progress, say: Callable[[str], None]) -> None:
    counts = benchmark.register_benchmark(study)
    say(f"Original: {counts.train} training and {counts.val} validation images of {counts.classes} classes")
    with closing(FolderSource(study.path(study.config.source.location), parameters=study.config.search)) as source:
        found = collect.search(study, source, stamp=STAMP, progress=progress)
        say(f"Candidates: {found.new_candidates} new")
        _store(study, source, progress, say)
    named = publish.publish_images(study, key=OPAQUE_KEY, progress=progress)
    say(f"Published: {named.named} new opaque names, {named.written} copies written")
    checked = check.check_images(study, progress=progress)
    say(f"Consistency check: {checked.images} images, {len(checked.findings)} findings")


def _store(study: Study, source: FetchingSource, progress: Progress, say: Callable[[str], None]) -> None:
    stored = images.store_images(study, source.fetch, stamp=STAMP, progress=progress)
    say(f"Images: {stored.stored} stored in three variants, {stored.failed} cannot be used, {stored.present} were there")


def _label(study: Study, progress: Progress, say: Callable[[str], None]) -> None:
    planned = [label.plan(study, stamp=STAMP, originals=originals) for originals in (False, True)]
    say(f"HITs: {sum(plan.added for plan in planned)} planned (candidates and original validation images)")
    skills = SimulatedCrowdParameters(seed=1, sharpness=0.8)
    crowd = simulate.simulated_crowd(study, parameters=skills, start_time=STAMP.time, progress=progress)
    with closing(crowd):
        done = label.submit(study, crowd, stamp=STAMP, progress=progress)
        answers = label.collect(study, crowd, stamp=STAMP, progress=progress)
    label.compute_frequencies(study)
    say(f"Labels: {done.published} HITs published on the SIMULATED crowd, {answers.new_answers} new answers")


def _find_duplicates(study: Study, progress: Progress, say: Callable[[str], None]) -> None:
    with study.database.read() as tables:
        inputs = tables.generations.of("candidates", "originals", "variants")
        key = completion_key("demo-neighbors", __version__, study.config.neighbors, inputs)
        done = tables.completions.key("demo", "neighbors") == key
    if not done:
        featuriser = train_featuriser(study, progress=progress)
        for counts in neighbors.find_neighbors(study, featurisers={FEATURISER: featuriser}, progress=progress):
            say(f"Neighbours by {counts.metric}: {counts.candidates} candidates among {counts.references} references")
        decide_at = _calibrate(study, featuriser, progress)
        with study.database.write() as tables:
            tables.completions.put("demo", "neighbors", key, decide_at=decide_at)
    with study.database.read() as tables:
        info = tables.completions.info("demo", "neighbors") or {}
    reviews = simulate.simulated_reviews(duplicates.queue(study).items, info["decide_at"], stamp=STAMP)
    duplicates.record_reviews(study, reviews, stamp=STAMP)
    resolutions = duplicates.resolve_duplicates(study)
    marked = sum(resolution.near_duplicate for resolution in resolutions)
    say(f"Near-duplicates: {len(reviews)} reviews by the SIMULATED reviewer, {marked} candidates marked")


def _calibrate(study: Study, featuriser: MlpFeaturiser, progress: Progress) -> dict[str, float]:
    """The simulated reviewer's decision distances, from the training images, which are all different."""
    with study.database.read() as tables:
        train = {image.id for image in tables.originals.all(split=Split.TRAIN)}
        variants = [v for v in tables.variants.all(compare_variant(study.config.images)) if v.image_id in train]
    pixels = np.asarray(pixel_matrix(study, variants, progress=progress).open())
    return simulate.calibrate_reviewer(
        pixels,
        parameters=study.config.neighbors,
        featurisers={FEATURISER: featuriser},
        quantile=REVIEWER_QUANTILE,
        progress=progress,
    )


def _sample(study: Study, out: Path, parameters: DemoParameters, progress: Progress, say: Callable[[str], None]) -> list[str]:
    names = []
    for number, (strategy, letter) in enumerate(SETS):
        name = f"digits-{letter}-1"
        settings = replace(study.config.sampling, per_class=parameters.per_class, seed=100 + number)
        sampled = sample.sample(study, strategy, name=name, parameters=settings, stamp=STAMP, allow_invalid=True)
        say(f"Sampled {name} ({strategy}): {len(sampled.result.images)} images{'' if sampled.result.is_valid else ', incomplete'}")
        for shortfall in sampled.result.shortfalls:
            say(f"  {shortfall}")
        export.export_imagefolder(study, name, out / "sets" / name, progress=progress)
        names.append(name)
    return names


def _evaluate(study: Study, names: list[str], progress: Progress, say: Callable[[str], None]) -> None:
    with study.database.read() as tables:
        inputs = tables.generations.of("originals", "variants", "revisions", "revision_images")
        key = completion_key("demo-evaluate", __version__, inputs)
        done = tables.completions.key("demo", "evaluate") == key
    if done:
        return
    classifiers = train_classifiers(study, progress=progress)
    say(f"Classifiers: {len(classifiers)}, trained on the original's training images")
    evaluate.evaluate_models(study, [evaluate.ORIGINAL, *names], classifiers, progress=progress)
    with study.database.write() as tables:
        tables.completions.put("demo", "evaluate", key)
