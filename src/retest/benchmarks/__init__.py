"""Benchmarks as data: ImageNet and other folders, the released ImageNetV2 and CIFAR-10.1 test sets, and published metadata.

Importing this package imports no torch; :func:`as_torch_dataset` does when it is called. The published repository of
ImageNetV2 (candidates, HITs, revisions, predictions ...) is read and written by :mod:`retest.benchmarks.imagenetv2`.
"""

from __future__ import annotations

from retest.benchmarks.archives import ArchiveLimits, unpack
from retest.benchmarks.base import ArrayImages, FileImages, LabelledImages, as_torch_dataset
from retest.benchmarks.cifar import CIFAR10, CIFAR101, CIFAR_CLASSES, read_cifar_predictions
from retest.benchmarks.folder import ImageFolder, class_order
from retest.benchmarks.labelfiles import read_label_file
from retest.benchmarks.released import RELEASES, ImageNetV2, Release, Variant
from retest.benchmarks.transfer import DownloadParameters, RemoteFile, download, file_digest

__all__ = [
    "CIFAR10",
    "CIFAR101",
    "CIFAR_CLASSES",
    "RELEASES",
    "ArchiveLimits",
    "ArrayImages",
    "DownloadParameters",
    "FileImages",
    "ImageFolder",
    "ImageNetV2",
    "LabelledImages",
    "Release",
    "RemoteFile",
    "Variant",
    "as_torch_dataset",
    "class_order",
    "download",
    "file_digest",
    "read_cifar_predictions",
    "read_label_file",
    "unpack",
]
