"""Where answers come from: the seam (:class:`Crowd`), its settings and the back ends."""

from retest.crowd.base import Crowd, HitProgress, HitTask, PublishedHit, RawAnswer, check_hit, progress_histogram
from retest.crowd.parameters import BACKENDS, CrowdParameters
from retest.crowd.simulated import Affinity, SimulatedAnnotator, SimulatedCrowd, SimulatedCrowdParameters, selection_probability

__all__ = [
    "BACKENDS",
    "Affinity",
    "Crowd",
    "CrowdParameters",
    "HitProgress",
    "HitTask",
    "PublishedHit",
    "RawAnswer",
    "SimulatedAnnotator",
    "SimulatedCrowd",
    "SimulatedCrowdParameters",
    "check_hit",
    "progress_histogram",
    "selection_probability",
]
