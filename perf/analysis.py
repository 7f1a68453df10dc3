"""Time of the whole analysis of 67 models x 4 test sets x 50,000 images, run by hand: python perf/analysis.py

The predictions are made up, with the shape of the published ones: five classes per image, models of accuracy 55 to 83 %
on the original set, selection frequencies of ten annotators.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from retest.analysis import (
    AnnotationCounts,
    MatchingScenario,
    TwoSampleParameters,
    accuracy_by_frequency,
    accuracy_rows,
    class_accuracies,
    compare_all_pairs,
    compare_test_sets,
    consensus,
    correctness_table,
    decompose_gap,
    effective_robustness,
    fit_accuracies,
    frequency_histogram,
    matching_bias,
    model_agreement,
    pair_models,
    reweighted_accuracy,
    top_correct,
    two_sample_test,
)
from retest.records import Predictions

SETS = ("original", "threshold", "matched", "top")


def make_predictions(models: int, images: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    skill = np.linspace(-0.6, 0.9, models)
    sets = {}
    for position, name in enumerate(SETS):
        ids = tuple(f"{name}-{i}" for i in range(images))
        labels = rng.integers(0, classes, images)
        ease = rng.normal(1.0 - 0.25 * position, 1.0, images)
        records = []
        for m in range(models):
            top = rng.integers(0, classes, (images, 5))
            right = ease + skill[m] + rng.normal(0, 1.0, images) > 0
            place = np.where(right, 0, rng.integers(1, 9, images))
            inside = place < 5
            top[inside, place[inside]] = labels[inside]
            records.append(Predictions(name, f"model{m:02}", ids, labels, top))
        sets[name] = records
    return sets


def make_frequencies(images: int, seed: int):
    rng = np.random.default_rng(seed)
    scenario, ten = MatchingScenario(), np.full(images, 10)
    draw = {name: scenario.original if name == "original" else scenario.pool for name in SETS}
    return {name: AnnotationCounts(ten, rng.binomial(10, mixture.sample(images, rng))) for name, mixture in draw.items()}


class Clock:
    def __init__(self) -> None:
        self.total = self.cpu = 0.0

    def __call__(self, what, work):
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        took, used = time.perf_counter() - start, time.process_time() - cpu
        self.total, self.cpu = self.total + took, self.cpu + used
        print(f"{what:<62}{took:8.2f} s {used:8.2f} s", flush=True)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=67)
    parser.add_argument("--images", type=int, default=50_000)
    args = parser.parse_args()
    sets, counts = make_predictions(args.models, args.images, 1000, 0), make_frequencies(args.images, 1)
    clock, news = Clock(), SETS[1:]
    print(f"{'':<62}{'elapsed':>10} {'processor':>10}")
    rows = clock("accuracy table", lambda: accuracy_rows(record for records in sets.values() for record in records))
    clock("accuracy per class", lambda: [class_accuracies(record) for records in sets.values() for record in records])
    clock("drops and rank changes, 3 pairs", lambda: [compare_test_sets(rows, original="original", new=new) for new in news])
    pairs = {new: pair_models(rows, original="original", new=new).points for new in news}
    pairs5 = {new: pair_models(rows, original="original", new=new, metric="top5").points for new in news}
    clock(
        "fits: 3 pairs x 3 scales x top-1/5, 100,000 draws",
        lambda: [fit_accuracies(p[new], scale=scale) for p in (pairs, pairs5) for new in news for scale in ("linear", "probit", "logit")],
    )
    baseline = [f"model{m:02}" for m in range(0, args.models, 2)]
    clock("effective robustness, 3 pairs", lambda: [effective_robustness(pairs[new], baseline=baseline) for new in news])
    tables = clock("correctness tables, 4 sets", lambda: {name: correctness_table(records) for name, records in sets.items()})
    clock("agreement matrices, 4 sets", lambda: [model_agreement(table) for table in tables.values()])
    clock("no / all models, 4 sets", lambda: [consensus(table) for table in tables.values()])
    clock("all pairs of models, 4 sets", lambda: [compare_all_pairs(table) for table in tables.values()])
    target = frequency_histogram(counts["original"].frequencies)

    def frequencies():
        for name, records in sets.items():
            for record in records:
                correct = top_correct(record)
                accuracy_by_frequency(correct, counts[name].frequencies)
                reweighted_accuracy(correct, counts[name].frequencies, target=target)

    clock("accuracy by frequency, re-weighted", frequencies)
    biases = clock(
        "matching bias with corrections, 3 sets, 500 draws",
        lambda: {new: matching_bias(counts["original"], counts[new], tables[new].correct) for new in news},
    )
    clock(
        "gap decomposition",
        lambda: [decompose_gap(point, matched=row) for new in news for point, row in zip(pairs[new], biases[new].rows, strict=True)],
    )
    print(f"{'whole analysis':<62}{clock.total:8.2f} s {clock.cpu:8.2f} s\n")
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20_000, 512)).astype(np.float32)
    clock(
        "two-sample test, 2 x 10,000 images x 512, 999 relabellings",
        lambda: two_sample_test(features[:10_000], features[10_000:], parameters=TwoSampleParameters()),
    )


if __name__ == "__main__":
    main()
