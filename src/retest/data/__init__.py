"""A study's data as small classes: what one asks in a notebook, answered by the study's database.

::

    from retest.data import CandidateData, open_study

    candidates = CandidateData(open_study("my-study"))
    candidates.counts()

The classes bear the published ImageNetV2 project's names. Each is a view of an open study: making one reads nothing, single
look-ups go through an index, and every answer is that of the study as it is when it is asked. None of them changes the study.
"""

from retest.data._base import open_study
from retest.data.candidates import CandidateData
from retest.data.imagenet import ImageNetData
from retest.data.images import ImageLoader
from retest.data.mturk import MTurkData
from retest.data.near_duplicates import NearDuplicateData
from retest.data.predictions import ImagePrediction, PredictionData
from retest.data.revisions import DatasetCache, RevisionPlace

__all__ = [
    "CandidateData",
    "DatasetCache",
    "ImageLoader",
    "ImageNetData",
    "ImagePrediction",
    "MTurkData",
    "NearDuplicateData",
    "PredictionData",
    "RevisionPlace",
    "open_study",
]
