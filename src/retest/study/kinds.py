"""Kinds of study: the settings of a published study as a beginning."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from retest.duplicates import ReviewParameters
from retest.errors import UsageError
from retest.images import ImageParameters
from retest.labeling.two_pass import ACCEPTED_ANSWERS, ACCEPTED_FREQUENCY
from retest.neighbors import NeighborParameters
from retest.sampling import SamplingParameters
from retest.study.config import StudyConfig

KINDS: Final = ("imagenetv2", "cifar10.1")


def settings_like(kind: str, config: StudyConfig) -> StudyConfig:
    """``config`` with the settings of a published study where these differ from the defaults, which are ImageNetV2's.

    ``cifar10.1``: images are compared at 32 x 32 pixels and shown to people at 160; nearest neighbours by l2 alone, looked at up to
    a distance of 1000 (1e6 squared); two judgements suffice, and they must agree or be reconciled; 200 images per class.

    Raises:
        UsageError: no such kind.
    """
    if kind == "imagenetv2":
        return config
    if kind != "cifar10.1":
        raise UsageError("no such kind of study", item=kind, remedy=f"Use one of: {', '.join(KINDS)}")
    return replace(
        config,
        images=ImageParameters(display_side=160, compare_side=32),
        neighbors=NeighborParameters(metrics=("l2",)),
        review=ReviewParameters(targets={"l2": 1e6}),
        sampling=SamplingParameters(per_class=200, threshold=ACCEPTED_FREQUENCY, min_num_annotations=ACCEPTED_ANSWERS),
    )
