"""Where answers come from: the seam (:class:`Crowd`), its settings, the back ends, the task page and HIT files.

The labelling server's core is :mod:`retest.crowd.taskserver`.
"""

from retest.crowd.base import Crowd, HitProgress, HitTask, PublishedHit, RawAnswer, check_hit, progress_histogram
from retest.crowd.hitfile import hit_from_json, hit_to_json, hits_from_json, hits_to_json, read_hit_file, write_hit_file
from retest.crowd.mturk import MTurkCrowd, mturk_fee_cents
from retest.crowd.page import content_security_policy, html_of_question, image_origins, render_page
from retest.crowd.parameters import BACKENDS, CrowdParameters
from retest.crowd.simulated import Affinity, SimulatedAnnotator, SimulatedCrowd, SimulatedCrowdParameters, selection_probability
from retest.crowd.workers import hash_worker, protocol_worker_id

__all__ = [
    "BACKENDS",
    "Affinity",
    "Crowd",
    "CrowdParameters",
    "HitProgress",
    "HitTask",
    "MTurkCrowd",
    "PublishedHit",
    "RawAnswer",
    "SimulatedAnnotator",
    "SimulatedCrowd",
    "SimulatedCrowdParameters",
    "check_hit",
    "content_security_policy",
    "hash_worker",
    "hit_from_json",
    "hit_to_json",
    "hits_from_json",
    "hits_to_json",
    "html_of_question",
    "image_origins",
    "mturk_fee_cents",
    "progress_histogram",
    "protocol_worker_id",
    "read_hit_file",
    "render_page",
    "selection_probability",
    "write_hit_file",
]
