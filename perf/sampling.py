"""How long sampling takes at the size of the published study: 250,000 candidates, 1,000 classes (run by hand).

    python perf/sampling.py [--candidates 250000] [--classes 1000] [--repeat 3]

Prints the median wall time in seconds of each strategy on one thread, for facts that are already in memory, then that of the
whole stage (`retest sample`) on a study in SQLite with HITs, answers, neighbours and near-duplicate pairs, made by
retest.testing.synthetic. The target is 5 seconds for the latter. The first sampling of a study derives selection frequencies,
review thresholds and near-duplicates; it is shown apart.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from retest.duplicates import DuplicateCandidate, find_components, resolve
from retest.sampling import (
    CandidateFacts,
    OriginalFacts,
    SamplingParameters,
    StratifiedParameters,
    sample_above_threshold,
    sample_best,
    sample_stratified,
    sample_wnid_histogram,
)
from retest.stages import sample as stage
from retest.stages._common import Stamp
from retest.study import StudyConfig, create_study
from retest.testing.synthetic import SyntheticParameters, fill_study, random_facts


def study(num_candidates: int, num_classes: int, seed: int):
    """Facts as a stage would build them: one mapping of review thresholds per candidate, 50 labelled originals per class."""
    rng = random.Random(seed)
    wnids = [f"n{k:08}" for k in range(num_classes)]
    candidates = []
    for k in range(num_candidates):
        thresholds = {"l2": rng.uniform(1.1e8, 1e9), "dssim": 0.4, "fc7": 1e100}
        frequency = round(rng.betavariate(2, 1) * 10) / 10
        wnid = wnids[k % num_classes]
        candidates.append(
            CandidateFacts(f"{rng.getrandbits(160):040x}", wnid, frequency, 10, rng.random() < 0.1, rng.random() < 0.05, thresholds)
        )
    originals = [
        OriginalFacts(f"ILSVRC2012_val_{k:08}.JPEG", wnids[k % num_classes], round(rng.betavariate(2, 1) * 10) / 10, 10)
        for k in range(50 * num_classes)
    ]
    strata = {candidate.id: [f"keyword {rng.randrange(25)}"] for candidate in candidates}
    reference = {wnid: {f"keyword {k}": rng.randint(0, 60) for k in range(25)} for wnid in wnids}
    return wnids, candidates, originals, strata, reference


def timed(run: Callable[[], object], repeat: int) -> tuple[float, object]:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def from_database(num_candidates: int, num_classes: int, repeat: int) -> None:
    """The whole stage, reading SQLite and deciding what to store included (nothing is stored, so that each run does the same)."""
    print("from the database (retest sample):")
    with tempfile.TemporaryDirectory() as folder, closing(create_study(Path(folder) / "study", StudyConfig())) as opened:
        start = time.perf_counter()
        fill_study(opened, random_facts(seed=1, parameters=SyntheticParameters(candidates=num_candidates, classes=num_classes)))
        print(f"{'  fill the study':<42}{time.perf_counter() - start:7.2f} s")
        parameters = SamplingParameters(seed=7, allow_upward_sampling=True)
        reference = {f"n{k:08}": {f"term {t}": 10 + t for t in range(7)} for k in range(num_classes)}
        stratification = stage.Stratification(reference, None, StratifiedParameters(shortfall="redistribute"))

        def run(strategy: str) -> object:
            given = stratification if strategy == "stratified" else None
            stamp = Stamp("perf", "2026-01-01T00:00:00+00:00")
            done = stage.sample(opened, strategy, name="x", parameters=parameters, stamp=stamp, stratification=given, store=False)
            return done.result

        seconds, _ = timed(lambda: run("threshold"), 1)
        print(f"{'  first time: derive everything, sample':<42}{seconds:7.2f} s")
        for strategy in ("threshold", "matched-frequency", "top-images", "stratified"):
            begun = time.process_time()
            seconds, result = timed(lambda: run(strategy), repeat)  # noqa: B023
            cpu = (time.process_time() - begun) / repeat
            print(f"{'  ' + strategy:<42}{seconds:7.2f} s   {cpu:.2f} s CPU, {len(result.images)} images, valid: {result.is_valid}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=250_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    start = time.perf_counter()
    wnids, candidates, originals, strata, reference = study(options.candidates, options.classes, seed=1)
    print(f"Python {platform.python_version()}, {options.candidates} candidates, {options.classes} classes")
    print(f"{'make the facts (random)':<42}{time.perf_counter() - start:7.2f} s")

    parameters = SamplingParameters(seed=7, allow_upward_sampling=True)
    first = sample_above_threshold(candidates, wnids, parameters=parameters).to_revision("imagenetv2-a-0")
    runs: dict[str, Callable[[], object]] = {
        "sample_above_threshold": lambda: sample_above_threshold(candidates, wnids, parameters=parameters),
        "sample_above_threshold, starting_from": lambda: sample_above_threshold(
            candidates, wnids, parameters=parameters, starting_from=first
        ),
        "sample_wnid_histogram, upward": lambda: sample_wnid_histogram(candidates, originals, wnids, parameters=parameters),
        "sample_best": lambda: sample_best(candidates, wnids, parameters=parameters),
        "sample_stratified, redistribute": lambda: sample_stratified(
            candidates,
            wnids,
            strata=strata,
            reference=reference,
            parameters=parameters,
            stratification=StratifiedParameters(shortfall="redistribute"),
        ),
    }
    for name, run in runs.items():
        seconds, result = timed(run, options.repeat)
        print(f"{name:<42}{seconds:7.2f} s   {len(result.images)} images, valid: {result.is_valid}")

    rng = random.Random(2)
    known = [DuplicateCandidate(c.id, c.wnid, "flickr", str(k), c.frequency, c.excluded) for k, c in enumerate(candidates)]
    pairs = [(rng.choice(known).id, rng.choice(known).id) for _ in range(options.candidates // 15)]
    seconds, result = timed(lambda: resolve(known, pairs, is_original=lambda image: image.endswith(".JPEG")), options.repeat)
    components = find_components(known, pairs, is_original=lambda image: image.endswith(".JPEG"))
    print(f"{'resolve near-duplicates':<42}{seconds:7.2f} s   {len(result)} candidates in {len(components)} components, {len(pairs)} pairs")
    from_database(options.candidates, options.classes, options.repeat)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
