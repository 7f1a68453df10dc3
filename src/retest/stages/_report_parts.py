"""Parts of a study's report that come straight from the store: frequencies, sample images, near-duplicate examples."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby

from retest.records import Revision, SelectionFrequency, Split
from retest.report import DuplicateExample, FrequencyHistogram, MetricDistance, ReportImage, SampleImage, TargetComparison
from retest.sampling import largest_remainder
from retest.stages._common import display_variant
from retest.store import Tables
from retest.store.rows import chunks
from retest.study import Study

_METRIC_EXAMPLES = 8
_CLOSEST_EXAMPLES = 2
_LISTS_AT_ONCE = 1000
_SAMPLES_PER_CLASS = 3
_CLASSES_SHOWN = 10


def _frequencies_of(tables: Tables, revision: Revision) -> dict[tuple[str, str], float]:
    found = tables.bulk.frequencies_of(image for image, _ in revision.images)
    return {key: f.value for key, f in found.items() if f.num_assignments}


def histograms(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> tuple[FrequencyHistogram, ...] | None:
    """Selection frequencies of the original validation images, of all candidates and of each revision; None without answers."""
    if not tables.bulk.answered_images():
        return None
    inner = study.config.sampling.histogram_edges
    edges = (0.0, *inner, 1.0)
    counts = {original: _summed(tables, str(Split.VAL), inner), "candidates": _summed(tables, "candidates", inner)}
    for revision in revisions:
        counts[revision.name] = _count(_frequencies_of(tables, revision), revision.images, inner)
    return tuple(FrequencyHistogram(name, edges, found) for name, found in counts.items())


def _summed(tables: Tables, which: str, inner: Sequence[float]) -> tuple[int, ...]:
    counts = [0] * (len(inner) + 1)
    for selected, assignments, number in tables.bulk.frequencies_in(which):
        counts[bisect_right(inner, selected / assignments)] += number
    return tuple(counts)


def _count(frequencies: Mapping[tuple[str, str], float], pairs: Iterable[tuple[str, str]], inner: Sequence[float]) -> tuple[int, ...]:
    counts = [0] * (len(inner) + 1)
    for pair in pairs:
        if pair in frequencies:
            counts[bisect_right(inner, frequencies[pair])] += 1
    return tuple(counts)


def target_comparison(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> TargetComparison | None:
    """Target and achieved histogram of the newest matched revision, summed over classes."""
    matched = [revision for revision in revisions if revision.sampling_function == "sample_wnid_histogram"]
    if not matched:
        return None
    revision, settings = matched[-1], study.config.sampling
    # What the revision was made with; the settings may have changed since. Published revisions do not say all of it.
    largest = max(Counter(wnid for _, wnid in revision.images).values(), default=0)
    per_class = int(revision.parameters.get("per_class") or largest)
    enough = int(revision.parameters.get("min_num_annotations_val") or settings.min_num_annotations_val)
    inner = _inner_edges(revision.parameters.get("histogram_bins"), settings.histogram_edges)
    target = [0] * (len(inner) + 1)
    for wnid in tables.originals.classes(Split.VAL):
        counts = [0] * len(target)
        for image in tables.facts.originals_of(wnid, Split.VAL):
            if image.num_assignments >= max(enough, 1):
                counts[bisect_right(inner, image.frequency)] += 1
        if any(counts):
            target = [total + share for total, share in zip(target, largest_remainder(counts, per_class), strict=True)]
    achieved = _count(_frequencies_of(tables, revision), revision.images, inner)
    return TargetComparison(revision.name, original, (0.0, *inner, 1.0), tuple(target), achieved)


def _inner_edges(recorded: object, otherwise: Sequence[float]) -> Sequence[float]:
    if isinstance(recorded, (list, tuple)) and recorded and all(isinstance(edge, (int, float)) for edge in recorded):
        return tuple(edge for edge in recorded if 0 < edge < 1)
    return otherwise


def sample_images(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> tuple[SampleImage, ...] | None:
    """A few images per class of the original and of each revision, with credit where there is one."""
    names = {info.wnid: info.name for info in tables.classes.all()[:_CLASSES_SHOWN]}
    chosen: list[tuple[str, str, str]] = []
    for wnid in names:
        first = tables.originals.ids(split=Split.VAL, wnid=wnid, limit=_SAMPLES_PER_CLASS)
        chosen += [(original, image, wnid) for image in first]
        for revision in revisions:
            chosen += [(revision.name, image, wnid) for image, of in revision.images if of == wnid][:_SAMPLES_PER_CLASS]
    frequencies = tables.bulk.frequencies_of({image for _, image, _ in chosen})
    pictures = _pictures(study, tables, {image for _, image, _ in chosen})
    candidates = tables.candidates.get({image for _, image, _ in chosen})
    found = []
    for dataset, image, wnid in chosen:
        if image in pictures:
            source = candidates.get(image)
            credit = " ".join(part for part in (source.owner, source.license) if part) if source else ""
            link = (source.source_page or "") if source else ""
            found.append(SampleImage(dataset, names[wnid], pictures[image], _share(frequencies.get((image, wnid))), credit, link))
    return tuple(found) or None


def _share(frequency: SelectionFrequency | None) -> float | None:
    return frequency.value if frequency is not None and frequency.num_assignments else None


def _pictures(study: Study, tables: Tables, images: Iterable[str]) -> dict[str, ReportImage]:
    stored = tables.variants.get(sorted(images), display_variant(study.config.images))
    return {image: ReportImage(image, study.blobs.get(variant.blob_key)) for image, variant in stored.items()}


def duplicate_examples(study: Study, tables: Tables) -> tuple[DuplicateExample, ...] | None:
    """A few pairs on either side of the decision, with their distances."""
    marked = set(tables.pairs.all())
    distances: dict[tuple[str, str], dict[str, float]] = {}
    kept: list[tuple[str, str]] = []
    for metric in sorted(tables.neighbors.metrics()):
        nearest: list[tuple[float, tuple[str, str]]] = []  # reviewed and not marked: what nearly was a near-duplicate
        for pair, distance in _judged_neighbors(tables, metric, {first for first, _ in marked}, marked):
            if pair in marked:
                distances.setdefault(pair, {})[metric] = distance
            elif pair[::-1] not in marked:
                nearest = sorted([*nearest, (distance, pair)])[:_CLOSEST_EXAMPLES]
        kept += [pair for _, pair in nearest]
    chosen = _spread(sorted(distances)) + list(dict.fromkeys(kept))
    for metric in tables.neighbors.metrics():
        for pair, distance in _judged_neighbors(tables, metric, set(), marked, among={first for first, _ in kept}):
            if pair in kept:
                distances.setdefault(pair, {})[metric] = distance
    pictures = _pictures(study, tables, {image for pair in chosen for image in pair})
    resolutions = tables.pairs.resolutions_of({first for first, _ in chosen})
    targets = study.config.review.targets
    return tuple(
        DuplicateExample(
            pictures[first],
            pictures[second],
            tuple(MetricDistance(metric, value, targets.get(metric)) for metric, value in sorted(distances[first, second].items())),
            (first, second) in marked,
            reason=resolutions[first].reason if first in resolutions and (first, second) in marked else "",
        )
        for first, second in chosen
        if first in pictures and second in pictures
    )


def _spread(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    step = max(1, len(pairs) // _METRIC_EXAMPLES)
    return pairs[::step][:_METRIC_EXAMPLES]


def _judged_neighbors(
    tables: Tables, metric: str, further: set[str], marked: set[tuple[str, str]], *, among: set[str] | None = None
) -> Iterator[tuple[tuple[str, str], float]]:
    """(candidate, neighbour) with their distance where they were reviewed in this metric or are marked.

    Candidates without any review in the metric are looked at if they are among the ``further`` ones; ``among`` limits them all.
    """
    images = merge(tables.reviews.candidates(metric), sorted(further)) if among is None else sorted(among)
    for block in chunks((image for image, _ in groupby(images)), _LISTS_AT_ONCE):
        seen = tables.reviews.reviewed_of(block, metric)
        for image, neighbors in tables.neighbors.get(block, metric).items():
            for neighbor in neighbors:
                pair = (image, neighbor.reference)
                if pair in marked or neighbor.reference in seen.get(image, ()):
                    yield pair, neighbor.distance
