"""The graph of near-duplicate pairs: its connected components, with names that do not depend on the order of the input.

The components come from a union-find (disjoint sets) over the ids that occur in a pair or share a photo. It was chosen
over ``scipy.sparse.csgraph`` because few of a study's candidates are in any pair: ids need no numbering, nothing is
allocated for the many that are outside, and the module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Component:
    """Images that are near-duplicates of one another, directly or through others; at least two.

    ``name`` is the smallest member id, so a component keeps its name when others come and go. ``members`` are sorted and
    hold candidates and original images alike.
    """

    name: str
    members: tuple[str, ...]


def components(pairs: Iterable[tuple[str, str]], *, same_photo: Iterable[Iterable[str]] = ()) -> list[Component]:
    """The connected components of two or more images, sorted by name.

    Args:
        pairs: near-duplicate pairs; one direction is enough, a pair of an image with itself adds nothing.
        same_photo: groups of candidate ids that show the same photo and are therefore joined as well.
    """
    sets = _DisjointSets()
    for first, second in pairs:
        sets.join(first, second)
    for group in same_photo:
        ids = list(group)
        for other in ids[1:]:
            sets.join(ids[0], other)
    return sorted((Component(min(group), tuple(sorted(group))) for group in sets.groups()), key=lambda component: component.name)


class _DisjointSets:
    """Union by size with path halving (Tarjan and van Leeuwen 1984): almost constant time per operation."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._size: dict[str, int] = {}

    def _root(self, item: str) -> str:
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, first: str, second: str) -> None:
        large, small = self._root(first), self._root(second)
        if large == small:
            return
        if self._size.get(large, 1) < self._size.get(small, 1):
            large, small = small, large
        self._parent[small] = large
        self._size[large] = self._size.get(large, 1) + self._size.get(small, 1)

    def groups(self) -> list[list[str]]:
        members: dict[str, list[str]] = {}
        for item in self._parent:
            members.setdefault(self._root(item), []).append(item)
        return [group for group in members.values() if len(group) > 1]
