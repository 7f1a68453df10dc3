"""Features of images, as neighbour search has computed and stored them."""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retest.datasets._base import Fresh
from retest.errors import NotFoundError, UsageError
from retest.store import Tables
from retest.study import Study

_STAGE = "features"
_BLOCKS_KEPT = 8


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the features of one featuriser lie: image id -> (number of the block, row in it)."""

    digests: tuple[str, ...]
    places: dict[str, tuple[int, int]]


class FeatureStore:
    """Reads the blocks of features that lie in a study's blob store, a few of them kept in memory.

    Args:
        study: an open study.
    """

    def __init__(self, study: Study) -> None:
        self._blobs = study.blobs
        self._indexes: dict[str, Fresh[_Index]] = {}
        self._blocks: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def names(self, tables: Tables) -> list[str]:
        """The featurisers whose features are stored, sorted; their full names, which pin weights and preprocessing."""
        return sorted(tables.completions.keys(_STAGE))

    def load(self, tables: Tables, image_ids: Sequence[str], featuriser: str | None) -> NDArray[np.float32]:
        """float32 (n, d), row i for ``image_ids[i]``.

        Raises:
            NotFoundError: there are no features of this featuriser, or none of some image.
            UsageError: none is named and there are several.
        """
        name = self._chosen(tables, featuriser)
        index = self._indexes.setdefault(name, Fresh(("completions",), lambda tables: _read_index(tables, name))).get(tables)
        missing = [image for image in image_ids if image not in index.places]
        if missing:
            raise NotFoundError(
                f"{len(missing)} of {len(image_ids)} images have no features by {name}",
                item=missing[0],
                remedy="Run: retest neighbors --study STUDY, with this featuriser",
            )
        places = [index.places[image] for image in image_ids]
        rows = [self._block(feature_blob_key(name, index.digests[block]))[row] for block, row in places]
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def _chosen(self, tables: Tables, featuriser: str | None) -> str:
        names = self.names(tables)
        if featuriser in names:
            return str(featuriser)
        labels = {name: (tables.completions.info(_STAGE, name) or {}).get("label") for name in names}
        labelled = [name for name, label in labels.items() if label is not None and label == featuriser]
        if len(labelled) == 1:
            return labelled[0]
        if len(labelled) > 1:
            remedy = f"Name one: {', '.join(labelled)}"
            raise UsageError("has features of several versions", item=str(featuriser), remedy=remedy)
        if featuriser is not None or not names:
            known = f"Featurisers: {', '.join(names)}" if names else "Run: retest neighbors --study STUDY, with a featuriser"
            raise NotFoundError("the study has no features of it", item=featuriser or "features", remedy=known)
        if len(names) > 1:
            raise UsageError("there are features of several featurisers", item="featuriser", remedy=f"Name one: {', '.join(names)}")
        return names[0]

    def _block(self, key: str) -> NDArray[np.float32]:
        if key not in self._blocks:
            self._blocks[key] = np.load(io.BytesIO(self._blobs.get(key)), allow_pickle=False)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key]


def feature_blob_key(featuriser: str, digest: str, *, mirrored: bool = False) -> str:
    """Where a block of features lies: the featuriser's name, hashed as completion keys are, and the block's digest.

    Features of mirror images lie beside those of the images.
    """
    name = hashlib.sha256(json.dumps([featuriser], separators=(",", ":")).encode()).hexdigest()[:32]
    return f"features/{name}/{'mirrored-' if mirrored else ''}{digest}.npy"


def _read_index(tables: Tables, name: str) -> _Index:
    blocks = (tables.completions.info(_STAGE, name) or {"blocks": []})["blocks"]
    places = {image: (number, row) for number, (ids, _) in enumerate(blocks) for row, image in enumerate(ids)}
    return _Index(tuple(digest for _, digest in blocks), places)
