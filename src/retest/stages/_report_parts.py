"""Parts of a study's report that come straight from the store: frequencies, sample images, near-duplicate examples."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from retest.records import Revision, Split
from retest.report import DuplicateExample, FrequencyHistogram, MetricDistance, ReportImage, SampleImage, TargetComparison
from retest.sampling import largest_remainder
from retest.stages._common import display_variant
from retest.store import Tables
from retest.study import Study

_METRIC_EXAMPLES = 8
_SAMPLES_PER_CLASS = 3
_CLASSES_SHOWN = 10


def _frequency_table(tables: Tables) -> dict[tuple[str, str], float]:
    return {(f.image_id, f.wnid): f.value for f in tables.frequencies.all() if f.num_assignments}


def histograms(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> tuple[FrequencyHistogram, ...] | None:
    """Selection frequencies of the original validation images, of all candidates and of each revision; None without answers."""
    frequencies = _frequency_table(tables)
    if not frequencies:
        return None
    sets = {
        original: [(i.id, i.wnid) for i in tables.originals.all(split=Split.VAL) if i.wnid is not None],
        "candidates": [(row[0], row[1]) for row in tables.candidates.identities()],
        **{revision.name: list(revision.images) for revision in revisions},
    }
    inner = study.config.sampling.histogram_edges
    edges = (0.0, *inner, 1.0)
    return tuple(FrequencyHistogram(name, edges, _count(frequencies, pairs, inner)) for name, pairs in sets.items())


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
    answers = {(f.image_id, f.wnid): f for f in tables.frequencies.all()}
    target = [0] * (len(inner) + 1)
    for wnid, images in tables.originals.ids_by_class(Split.VAL).items():
        counts = [0] * len(target)
        for image in images:
            found = answers.get((image, wnid))
            if found is not None and found.num_assignments >= enough:
                counts[bisect_right(inner, found.value)] += 1
        if any(counts):
            target = [total + share for total, share in zip(target, largest_remainder(counts, per_class), strict=True)]
    achieved = _count(_frequency_table(tables), revision.images, inner)
    return TargetComparison(revision.name, original, (0.0, *inner, 1.0), tuple(target), achieved)


def _inner_edges(recorded: object, otherwise: Sequence[float]) -> Sequence[float]:
    if isinstance(recorded, (list, tuple)) and recorded and all(isinstance(edge, (int, float)) for edge in recorded):
        return tuple(edge for edge in recorded if 0 < edge < 1)
    return otherwise


def sample_images(study: Study, tables: Tables, revisions: Sequence[Revision], original: str) -> tuple[SampleImage, ...] | None:
    """A few images per class of the original and of each revision, with credit where there is one."""
    names = {info.wnid: info.name for info in tables.classes.all()[:_CLASSES_SHOWN]}
    frequencies = _frequency_table(tables)
    chosen: list[tuple[str, str, str]] = []
    originals = tables.originals.ids_by_class(Split.VAL)
    for wnid in names:
        chosen += [(original, image, wnid) for image in originals.get(wnid, [])[:_SAMPLES_PER_CLASS]]
        for revision in revisions:
            chosen += [(revision.name, image, wnid) for image, of in revision.images if of == wnid][:_SAMPLES_PER_CLASS]
    pictures = _pictures(study, tables, {image for _, image, _ in chosen})
    candidates = tables.candidates.get({image for _, image, _ in chosen})
    found = []
    for dataset, image, wnid in chosen:
        if image in pictures:
            source = candidates.get(image)
            credit = " ".join(part for part in (source.owner, source.license) if part) if source else ""
            link = (source.source_page or "") if source else ""
            found.append(SampleImage(dataset, names[wnid], pictures[image], frequencies.get((image, wnid)), credit, link))
    return tuple(found) or None


def _pictures(study: Study, tables: Tables, images: Iterable[str]) -> dict[str, ReportImage]:
    stored = tables.variants.get(sorted(images), display_variant(study.config.images))
    return {image: ReportImage(image, study.blobs.get(variant.blob_key)) for image, variant in stored.items()}


def duplicate_examples(study: Study, tables: Tables) -> tuple[DuplicateExample, ...] | None:
    """A few pairs on either side of the decision, with their distances."""
    marked = set(tables.pairs.all())
    distances: dict[tuple[str, str], dict[str, float]] = {}
    reviewed: dict[str, set[tuple[str, str]]] = {}
    for metric in tables.neighbors.metrics():
        seen = tables.reviews.reviewed(metric)
        for image, neighbors in tables.neighbors.all(metric):
            for neighbor in neighbors:
                if neighbor.reference in seen.get(image, ()):
                    reviewed.setdefault(metric, set()).add((image, neighbor.reference))
                    distances.setdefault((image, neighbor.reference), {})[metric] = neighbor.distance
                elif (image, neighbor.reference) in marked:
                    distances.setdefault((image, neighbor.reference), {})[metric] = neighbor.distance
    chosen = _spread(sorted(pair for pair in distances if pair in marked)) + _closest(distances, marked)
    pictures = _pictures(study, tables, {image for pair in chosen for image in pair})
    resolutions = tables.pairs.resolutions()
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


def _closest(distances: Mapping[tuple[str, str], Mapping[str, float]], marked: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Reviewed pairs that were not marked, the closest by each metric: what nearly was a near-duplicate."""
    kept = []
    for metric in sorted({metric for found in distances.values() for metric in found}):
        near = sorted(
            (found[metric], pair)
            for pair, found in distances.items()
            if metric in found and pair not in marked and pair[::-1] not in marked
        )
        kept += [pair for _, pair in near[:2]]
    return list(dict.fromkeys(kept))
