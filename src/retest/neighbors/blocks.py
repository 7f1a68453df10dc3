"""Cut a search into work items that can be stored, resumed and extended (pure; stages do the storing)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retest.errors import UsageError
from retest.neighbors._checks import check_count

CODE_VERSION = "1"
"""Part of every key. Raise it when a change of this room can change a stored result."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some images that are searched together.

    Attributes:
        ids: image ids, ascending.
        digest: hexadecimal SHA-256 of the ids and of the contents they stood for when the block was planned.
    """

    ids: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """Search one block of queries in one block of references. ``key`` names the result by everything it depends on."""

    queries: Block
    references: Block
    key: str

    @property
    def pairs(self) -> int:
        """Number of image pairs, the measure of its work."""
        return len(self.queries) * len(self.references)


def plan_blocks(
    ids: Sequence[str], *, block_size: int, contents: Mapping[str, str] | None = None, existing: Sequence[Block] = ()
) -> tuple[Block, ...]:
    """Cut ``ids`` into blocks of at most ``block_size``; blocks planned earlier stay as they are.

    An earlier block of ``existing`` is kept when all its images are still there with the same contents, so a study
    that grows computes only new pairs; the remaining ids, ascending, fill new blocks.

    Args:
        ids: the images to cover, without repetition; their order does not matter.
        block_size: the most images per block.
        contents: content hash per id, where a changed image must not reuse the result of the old one.
        existing: blocks of an earlier plan, in their order.

    Raises:
        UsageError: an id is given twice, or the block size is less than 1.
    """
    check_count("block_size", block_size)
    left = set(ids)
    if len(left) < len(ids):
        raise UsageError(f"{len(ids) - len(left)} ids are given more than once", item="plan_blocks", remedy="Give every image once.")
    kept = []
    for block in existing:
        if left.issuperset(block.ids) and block.ids and block.digest == _digest(block.ids, contents):
            kept.append(block)
            left.difference_update(block.ids)
    rest = sorted(left)
    cuts = [tuple(rest[start : start + block_size]) for start in range(0, len(rest), block_size)]
    return (*kept, *(Block(cut, _digest(cut, contents)) for cut in cuts))


def plan_items(
    queries: Sequence[Block], references: Sequence[Block], *, metric: str, parameters: Mapping[str, object]
) -> tuple[WorkItem, ...]:
    """Every block of queries with every block of references, each with its content key.

    Args:
        queries: blocks of queries.
        references: blocks of references.
        metric: ``l2``, ``dssim``, ``phash`` or a featuriser's name.
        parameters: what else the result depends on (k, window, featuriser version, mirrored ...), plain JSON values.
    """
    settings = json.dumps([CODE_VERSION, metric, dict(parameters)], sort_keys=True, separators=(",", ":"))
    return tuple(
        WorkItem(query, reference, _hash([settings, query.digest, reference.digest])) for query in queries for reference in references
    )


def _digest(ids: Sequence[str], contents: Mapping[str, str] | None) -> str:
    return _hash([[image, contents.get(image, "") if contents else ""] for image in ids])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
