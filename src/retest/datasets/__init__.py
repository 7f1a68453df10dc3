"""Data as small classes: what one asks of a study in a notebook, and the released test sets.

::

    from retest.datasets import CandidateData, open_study

    candidates = CandidateData(open_study("my-study"))
    candidates.counts()

The classes bear the published ImageNetV2 project's names. Each is a view of an open study: making one reads nothing, single
look-ups go through an index, and every answer is that of the study as it is when it is asked. None of them changes the study.

The released sets (``ImageNetV2``, ``CIFAR101``), CIFAR-10 and image folders are the loaders of :mod:`retest.benchmarks`.
"""

from retest.benchmarks import CIFAR10, CIFAR101, ImageFolder, ImageNetV2, LabelledImages, as_torch_dataset
from retest.datasets._base import open_study
from retest.datasets.candidates import CandidateData
from retest.datasets.imagenet import ImageNetData
from retest.datasets.images import ImageLoader
from retest.datasets.mturk import MTurkData
from retest.datasets.near_duplicates import NearDuplicateData
from retest.datasets.predictions import ImagePrediction, PredictionData
from retest.datasets.revisions import DatasetCache, RevisionPlace

__all__ = [
    "CIFAR10",
    "CIFAR101",
    "CandidateData",
    "DatasetCache",
    "ImageFolder",
    "ImageLoader",
    "ImageNetData",
    "ImageNetV2",
    "ImagePrediction",
    "LabelledImages",
    "MTurkData",
    "NearDuplicateData",
    "PredictionData",
    "RevisionPlace",
    "as_torch_dataset",
    "open_study",
]
