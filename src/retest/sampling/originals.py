"""Test sets made of original validation images (method, section 7)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from retest.errors import SamplingError
from retest.sampling.facts import ByClass, OriginalFacts, group_by_class
from retest.sampling.parameters import SamplingParameters
from retest.sampling.result import ClassReport, SampleResult


def sample_val_annotated(
    originals: Iterable[OriginalFacts] | ByClass[OriginalFacts], classes: Iterable[str], *, parameters: SamplingParameters
) -> SampleResult:
    """``per_class`` random original validation images with at least ``min_num_annotations`` assignments for their class.

    Per class ``rng.sample`` of the sorted images, emitted sorted; the whole list is shuffled at the end.

    Args:
        originals: original validation images, in any order; those of other classes are ignored.
        classes: wnids to sample.
        parameters: uses per_class, seed and min_num_annotations.

    Raises:
        SamplingError: a class has fewer than ``per_class`` such images.
        InputError: an image is given twice or has an impossible frequency, or there are no classes.
    """
    least = parameters.min_num_annotations
    labelled = {
        wnid: sorted(image.id for image in images if image.num_assignments >= least) for wnid, images in group_by_class(originals, classes)
    }
    what = f"original validation images with {least} or more assignments"
    return _sample("sample_val_annotated", labelled, what, parameters, {"min_num_annotations": least}, shuffle=True)


def sample_val_dummy(
    originals: Iterable[OriginalFacts] | ByClass[OriginalFacts], classes: Iterable[str], *, parameters: SamplingParameters
) -> SampleResult:
    """``per_class`` random original validation images, labelled or not.

    Per class ``rng.sample`` of the images sorted by name, emitted sorted; the list is not shuffled, so classes stay
    together in sorted order. Arguments and errors as in :func:`sample_val_annotated`.
    """
    images = {wnid: sorted(image.id for image in group) for wnid, group in group_by_class(originals, classes)}
    return _sample("sample_val_dummy", images, "original validation images", parameters, {}, shuffle=False)


def _sample(
    sampling_function: str,
    groups: Mapping[str, list[str]],
    what: str,
    parameters: SamplingParameters,
    published: Mapping[str, Any],
    *,
    shuffle: bool,
) -> SampleResult:
    wanted = parameters.per_class
    for wnid, group in groups.items():
        if len(group) < wanted:
            raise SamplingError(
                f"has {len(group)} {what}, {wanted} are asked for",
                item=wnid,
                remedy="Ask for fewer images per class or leave the class out",
            )
    rng = random.Random(parameters.seed)
    images = [(image, wnid) for wnid, group in groups.items() for image in sorted(rng.sample(group, wanted))]
    if shuffle:
        rng.shuffle(images)
    return SampleResult(
        sampling_function=sampling_function,
        images=tuple(images),
        is_valid=True,
        seed=parameters.seed,
        parameters={"per_class": wanted, **published},
        classes=tuple(ClassReport(wnid, wanted, wanted, 0, wanted, 0, len(group), len(group)) for wnid, group in groups.items()),
    )
