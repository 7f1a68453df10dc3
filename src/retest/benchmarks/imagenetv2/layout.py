"""The families of files in the published repository, and what of them is present.

Paths are relative to the repository's ``data`` folder, with forward slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

__all__ = ["FAMILIES", "Family", "Inventory", "family_of", "stray_files", "take_inventory"]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of file: ``pattern`` is a glob over the relative path, or that path itself where there is one file."""

    key: str
    pattern: str
    title: str

    @property
    def folder(self) -> str:
        """The folder under ``data`` that its files lie in."""
        return self.pattern.split("/", 1)[0]


FAMILIES: Final = (
    Family("class_info", "metadata/class_info.json", "classes with synonyms and gloss"),
    Family("similar_classes", "metadata/wnid_to_most_similar_wnids.json", "similar classes"),
    Family("wikipedia_pages", "metadata/wikipedia_pages.json", "Wikipedia pages"),
    Family("search_results", "search_results/*.json", "candidates as found by searches"),
    Family("exclusions", "metadata/candidate_blacklist.json", "excluded candidates"),
    Family("hit_candidates", "hit_candidates/*.json", "candidates planned for labelling"),
    Family("hits", "mturk/hit_data_live/*.json", "HITs"),
    Family("hit_exclusions", "mturk/hit_blacklist_live.json", "excluded HITs"),
    Family("assignments", "mturk/results/*.json", "annotators' answers (never published in the repository)"),
    Family("negative_classes", "metadata/negative_val_wnids_for_mturk.json", "classes of negative controls"),
    Family("additional_images", "metadata/additional_pos_val_images_for_20_per_wnid.json", "additional images to label"),
    Family("neighbors", "metadata/nearest_neighbor_results.json", "nearest neighbours (the published ones are not public)"),
    Family("neighbors_test", "metadata/nearest_neighbor_results_test.json", "nearest neighbours, a small test file"),
    Family("neighbor_reviews", "metadata/nearest_neighbor_reviews_v2.json", "reviewed nearest neighbours"),
    Family("near_duplicates", "metadata/near_duplicates.json", "near-duplicate pairs"),
    Family("resolution_overrides", "metadata/near_duplicate_resolution_override.json", "near-duplicate overrides"),
    Family("class_thresholds", "dataset_metadata/*.json", "per-class sampling thresholds"),
    Family("revisions", "datasets/*.json", "test-set revisions"),
    Family("class_reviews", "dataset_reviews/*_review.json", "class-by-class reviews of revisions"),
    Family("predictions", "predictions/*/*.npy", "predictions of models"),
)
"""Every family the reader understands, in the order in which an import reads them."""

_BY_KEY: Final = {family.key: family for family in FAMILIES}
FOLDERS: Final = frozenset(family.folder for family in FAMILIES)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a tree holds.

    ``files`` maps each family's key to its files (sorted by name, possibly none); ``sizes`` gives bytes per file;
    ``unrecognised`` are files of no family.
    """

    files: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    unrecognised: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of the families of which there is no file."""
        return tuple(key for key, paths in self.files.items() if not paths)

    @property
    def total_bytes(self) -> int:
        """Bytes of all recognised files."""
        return sum(self.sizes[path] for paths in self.files.values() for path in paths)

    def describe(self) -> list[tuple[str, str, int, int]]:
        """Rows (family key, title, number of files, bytes), missing families included."""
        return [(key, _BY_KEY[key].title, len(paths), sum(self.sizes[path] for path in paths)) for key, paths in self.files.items()]


def family_of(path: str) -> Family | None:
    """The family that a relative path belongs to; None when it belongs to no family."""
    parts = PurePosixPath(path).parts
    for family in FAMILIES:
        pattern = PurePosixPath(family.pattern).parts
        if len(pattern) == len(parts) and PurePosixPath(path).match(family.pattern) and not parts[-1].startswith("."):
            return family
    return None


def take_inventory(sizes: Mapping[str, int], *, also: Iterable[str] = ()) -> Inventory:
    """Sort files into families; ``also`` are names of further, unread files."""
    files: dict[str, list[str]] = {family.key: [] for family in FAMILIES}
    unrecognised = list(also)
    for path in sorted(sizes):
        family = family_of(path)
        if family is None:
            unrecognised.append(path)
        else:
            files[family.key].append(path)
    return Inventory({key: tuple(paths) for key, paths in files.items()}, dict(sizes), tuple(sorted(unrecognised)))


def stray_files(inventory: Inventory) -> tuple[str, ...]:
    """Files of no family in the layout's own folders, where somebody expects them to be read; hidden files are nobody's."""
    parts = ((path, PurePosixPath(path).parts) for path in inventory.unrecognised)
    return tuple(path for path, names in parts if names[0] in FOLDERS and not any(name.startswith(".") for name in names))
