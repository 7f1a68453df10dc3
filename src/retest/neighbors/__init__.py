"""Exact nearest neighbours of images, in several kinds of distance, from a laptop to a cluster.

``nearest_l2`` (squared Euclidean distance of pixels), ``nearest_dssim`` (structural dissimilarity), ``nearest_features``
(squared Euclidean distance of any featuriser's vectors) and ``nearest_hashes`` (bits by which perceptual hashes differ) give
the exact k nearest references of every query, ties by index. ``plan_blocks`` and ``plan_items`` cut a search into pieces
that can be stored and resumed; ``merge`` joins their results. The compiled kernels are loaded on the first search, not on
import.
"""

from retest.neighbors.blocks import CODE_VERSION, Block, WorkItem, plan_blocks, plan_items
from retest.neighbors.dssim import nearest_dssim
from retest.neighbors.features import nearest_features
from retest.neighbors.hashes import nearest_hashes, perceptual_hashes
from retest.neighbors.knn import Knn, Part, empty, merge
from retest.neighbors.l2 import L2Codes, encode_l2, nearest_l2
from retest.neighbors.pairs import pair_distance
from retest.neighbors.parameters import PIXEL_METRICS, NeighborParameters

__all__ = [
    "CODE_VERSION",
    "PIXEL_METRICS",
    "Block",
    "Knn",
    "L2Codes",
    "NeighborParameters",
    "Part",
    "WorkItem",
    "empty",
    "encode_l2",
    "merge",
    "nearest_dssim",
    "nearest_features",
    "nearest_hashes",
    "nearest_l2",
    "pair_distance",
    "perceptual_hashes",
    "plan_blocks",
    "plan_items",
]
