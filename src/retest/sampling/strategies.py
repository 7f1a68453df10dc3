"""The published strategies for candidates: threshold (a), matched frequency (b) and top images (c) (method, section 7)."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from retest.errors import SamplingError
from retest.records import Revision
from retest.sampling.apportion import largest_remainder
from retest.sampling.driver import ClassChoice, ClassInput, images_by_class, sample_classes
from retest.sampling.facts import ByClass, CandidateFacts, OriginalFacts, group_by_class, sorted_classes
from retest.sampling.parameters import SamplingParameters
from retest.sampling.result import SampleResult, StratumReport
from retest.sampling.strata import StratumDraw, draw_up_to, fill_strata, sort_into


def sample_above_threshold(
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts],
    classes: Iterable[str],
    *,
    parameters: SamplingParameters,
    starting_from: Revision | None = None,
) -> SampleResult:
    """Threshold0.7 (revisions ``a``): ``per_class`` random images of selection frequency >= the threshold (method, 7 a).

    Per class: the usable images of ``starting_from`` in its order, then as many as are lacking drawn from the other usable
    candidates sorted by id; all of those in id order, undrawn, when they are too few.

    Args:
        candidates: the study's candidates, in any order, or class by class; those of other classes are ignored.
        classes: wnids to sample.
        parameters: uses per_class, seed, threshold, class_thresholds, min_num_annotations, near_duplicate_review_targets.
        starting_from: previous revision.

    Returns:
        The images in their final, shuffled order; not valid when a class has fewer than ``per_class``.

    Raises:
        SamplingError: ``starting_from`` has more than ``per_class`` images, or an image twice, in a class.
        InputError: a candidate is given twice or has an impossible frequency, or there are no classes.
    """
    _refuse_crowded(starting_from, parameters.per_class)

    def choose(group: ClassInput, rng: random.Random) -> ClassChoice:
        carried = group.carried
        taken = set(carried)
        pool = [image for image in group.usable if image not in taken]
        drawn = draw_up_to(rng, pool, parameters.per_class - len(carried))
        return ClassChoice([*carried, *drawn], parameters.per_class)

    published = {
        "selection_frequency_threshold": parameters.threshold,
        **_published_eligibility(parameters),
        "wnid_thresholds": dict(parameters.class_thresholds),
    }
    return sample_classes(
        "sample_above_threshold",
        choose,
        candidates,
        classes,
        parameters=parameters,
        published=published,
        starting_from=starting_from,
        threshold_of=lambda wnid: parameters.class_thresholds.get(wnid, parameters.threshold),
    )


def sample_best(
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts],
    classes: Iterable[str],
    *,
    parameters: SamplingParameters,
    starting_from: Revision | None = None,
) -> SampleResult:
    """TopImages (revisions ``c``): the usable images of highest selection frequency in every class (method, 7 c).

    Ordered by (frequency, number of assignments, was in ``starting_from``, id), all descending; nothing is drawn but the
    final shuffle. Arguments, result and errors as in :func:`sample_above_threshold`, without thresholds.
    """

    def choose(group: ClassInput, rng: random.Random) -> ClassChoice:
        before = set(group.previous)
        ranked = sorted(
            group.usable.values(), key=lambda image: (image.frequency, image.num_assignments, image.id in before, image.id), reverse=True
        )
        return ClassChoice([image.id for image in ranked[: parameters.per_class]], parameters.per_class)

    return sample_classes(
        "sample_best",
        choose,
        candidates,
        classes,
        parameters=parameters,
        published=_published_eligibility(parameters),
        starting_from=starting_from,
    )


def sample_wnid_histogram(
    candidates: Iterable[CandidateFacts] | ByClass[CandidateFacts],
    originals: Iterable[OriginalFacts] | ByClass[OriginalFacts],
    classes: Iterable[str],
    *,
    parameters: SamplingParameters,
    starting_from: Revision | None = None,
) -> SampleResult:
    """MatchedFrequency (revisions ``b``): the selection-frequency histogram of the original images, per class (method, 7 b).

    The places of a class are shared over the bins by :func:`largest_remainder` of the labelled original images, the higher
    bin first among equal remainders, and filled by :func:`~retest.sampling.strata.fill_strata`.

    Args:
        candidates: the study's candidates, in any order, or class by class; those of other classes are ignored.
        originals: original validation images with their selection frequencies; those with few assignments are ignored.
        classes: wnids to sample.
        parameters: all fields but threshold and class_thresholds.
        starting_from: previous revision.

    Returns:
        The images in their final, shuffled order. Not valid when a class has fewer than ``per_class`` images or fewer than
        ``min_num_val_images_per_wnid`` labelled original images; its report says so and shows the bins.

    Raises:
        SamplingError: ``starting_from`` has an image twice in a class.
        InputError: an image is given twice or has an impossible frequency, or there are no classes.
    """
    edges = parameters.histogram_edges
    wnids = sorted_classes(classes)
    labelled = {
        wnid: [image.frequency for image in images if image.num_assignments >= parameters.min_num_annotations_val]
        for wnid, images in group_by_class(originals, wnids)
    }
    names = bin_names(edges)

    def choose(group: ClassInput, rng: random.Random) -> ClassChoice:
        frequencies = labelled[group.wnid]
        counts = Counter(bisect_right(edges, frequency) for frequency in frequencies)
        targets = largest_remainder([counts[number] for number in range(len(names))], parameters.per_class)
        bin_of = {image: bisect_right(edges, facts.frequency) for image, facts in group.usable.items()}
        usable = sort_into(bin_of, bin_of, len(names))
        draws = fill_strata(
            rng,
            targets=targets,
            usable=usable,
            previous=sort_into(group.carried, bin_of, len(names)),
            previous_ids=set(group.previous),
            upward=parameters.allow_upward_sampling,
        )
        return choice_of(names, draws, targets, usable, parameters.per_class, _few_originals(len(frequencies), parameters))

    return sample_classes(
        "sample_wnid_histogram",
        choose,
        candidates,
        wnids,
        parameters=parameters,
        published=_published_histogram(parameters),
        starting_from=starting_from,
    )


def bin_names(edges: Sequence[float]) -> list[str]:
    """Readable names of the bins: lower edge in, upper edge out, the last one closed."""
    bounds = [0.0, *edges, 1.0]
    last = len(bounds) - 2
    return [f"[{low:g}, {high:g}{']' if index == last else ')'}" for index, (low, high) in enumerate(pairwise(bounds))]


def choice_of(
    names: Sequence[str],
    draws: Sequence[StratumDraw],
    targets: Sequence[int],
    usable: Sequence[Sequence[str]],
    places: int,
    problems: tuple[str, ...] = (),
) -> ClassChoice:
    """The choice of a class from its filled strata, emitted in ascending order."""
    return ClassChoice(
        images=[image for draw in draws for image in draw.ids],
        target=places,
        upward=sum(len(draw.upward) for draw in draws),
        problems=problems,
        strata=tuple(
            StratumReport(name, target, len(draw.ids), len(draw.upward), len(ids))
            for name, draw, target, ids in zip(names, draws, targets, usable, strict=True)
        ),
    )


def _few_originals(count: int, parameters: SamplingParameters) -> tuple[str, ...]:
    least = parameters.min_num_annotations_val
    if count == 0:
        return (f"no original image has {least} or more assignments, so there is no histogram to match",)
    if count < parameters.min_num_val_images_per_wnid:
        needed = parameters.min_num_val_images_per_wnid
        return (f"only {count} original images have {least} or more assignments, {needed} are needed",)
    return ()


def _refuse_crowded(revision: Revision | None, per_class: int) -> None:
    for wnid, images in images_by_class(revision).items():
        if len(images) > per_class and revision:
            raise SamplingError(
                f"class {wnid} has {len(images)} images, more than the {per_class} per class that are asked for",
                item=revision.name,
                remedy="Ask for more images per class or start from another revision",
            )


def _published_histogram(parameters: SamplingParameters) -> dict[str, Any]:
    return {
        "histogram_bins": list(parameters.histogram_edges),
        "min_num_annotations_candidates": parameters.min_num_annotations,
        "min_num_annotations_val": parameters.min_num_annotations_val,
        "min_num_val_images_per_wnid": parameters.min_num_val_images_per_wnid,
        "near_duplicate_review_targets": dict(parameters.near_duplicate_review_targets),
        "allow_upward_sampling": True if parameters.allow_upward_sampling else None,
    }


def _published_eligibility(parameters: SamplingParameters) -> dict[str, Any]:
    return {
        "min_num_annotations": parameters.min_num_annotations,
        "near_duplicate_review_targets": dict(parameters.near_duplicate_review_targets),
    }
