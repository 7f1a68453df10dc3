"""Exact nearest neighbours of images, in three kinds of distance, from a laptop to a cluster.

``nearest_l2`` (squared Euclidean distance of pixels), ``nearest_dssim`` (structural dissimilarity) and
``nearest_features`` (squared Euclidean distance of any featuriser's vectors) give the exact k nearest references of every
query, ties by index. ``plan_blocks`` and ``plan_items`` cut a search into pieces that can be stored and resumed;
``merge`` joins their results. The compiled kernels are loaded on the first search, not on import.
"""

from retest.neighbors.blocks import CODE_VERSION, Block, WorkItem, plan_blocks, plan_items
from retest.neighbors.dssim import nearest_dssim
from retest.neighbors.features import nearest_features
from retest.neighbors.knn import Knn, Part, empty, merge
from retest.neighbors.l2 import nearest_l2
from retest.neighbors.pairs import pair_distance
from retest.neighbors.parameters import PIXEL_METRICS, NeighborParameters

__all__ = [
    "CODE_VERSION",
    "PIXEL_METRICS",
    "Block",
    "Knn",
    "NeighborParameters",
    "Part",
    "WorkItem",
    "empty",
    "merge",
    "nearest_dssim",
    "nearest_features",
    "nearest_l2",
    "pair_distance",
    "plan_blocks",
    "plan_items",
]
