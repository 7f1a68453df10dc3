"""How the neighbour search of a study is cut into groups, blocks and work items."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from retest.neighbors import Block, WorkItem, plan_blocks, plan_items
from retest.records import Split
from retest.stages._common import completion_key
from retest.study import Study

_BLOCKS = "neighbor-blocks"


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that share their references. ``name`` is stable: the class for dssim, ``all`` otherwise."""

    name: str
    queries: tuple[str, ...]
    references: tuple[str, ...]


def find_groups(study: Study, metric: str, stored: Collection[str]) -> Iterator[Group]:
    """The references by the rules: everything for l2 and features, for dssim only the train images of similar classes."""
    with study.database.read() as tables:
        classes = {info.wnid: info for info in tables.classes.all()}
        candidates = [(row[0], row[1]) for row in tables.candidates.identities() if row[0] in stored]
        originals = [(i.id, i.split, i.wnid) for i in tables.originals.all() if i.id in stored]
    everywhere = [image for image, split, _ in originals if split != Split.TRAIN] + [image for image, _ in candidates]
    if metric != "dssim":
        train = [image for image, split, _ in originals if split == Split.TRAIN]
        yield Group("all", tuple(sorted(image for image, _ in candidates)), tuple(sorted(everywhere + train)))
        return
    for wnid in sorted({wnid for _, wnid in candidates}):
        similar = classes[wnid].most_similar if wnid in classes else ()
        near = {wnid, *[other for other in similar if other != wnid][: study.config.neighbors.similar_classes]}
        train = [image for image, split, of in originals if split == Split.TRAIN and of in near]
        yield Group(wnid, tuple(sorted(image for image, of in candidates if of == wnid)), tuple(sorted(everywhere + train)))


def plan_group(
    study: Study, metric: str, group: Group, contents: Mapping[str, str], *, featuriser: str | None, store: bool = True
) -> tuple[WorkItem, ...]:
    """The work items of a group. Blocks are planned once and kept while their images are there with the same contents.

    Args:
        study: an open study.
        metric: the metric.
        group: queries and references.
        contents: content hash per image id.
        featuriser: full name of the metric's featuriser, if it has one.
        store: whether to note new blocks in the study.
    """
    p = study.config.neighbors
    sides = (("queries", group.queries, p.query_block), ("references", group.references, p.reference_block))
    blocks: dict[str, tuple[Block, ...]] = {}
    for side, ids, size in sides:
        item = f"{metric}/{group.name}/{side}"
        with study.database.read() as tables:
            known = tables.completions.info(_BLOCKS, item) or {"blocks": []}
        existing = [Block(tuple(members), digest) for members, digest in known["blocks"]]
        blocks[side] = made = plan_blocks(ids, block_size=size, contents=contents, existing=existing)
        if store and list(made) != existing:
            key = completion_key([block.digest for block in made])
            with study.database.write() as tables:
                tables.completions.put(_BLOCKS, item, key, blocks=[[list(b.ids), b.digest] for b in made])
    names = ["k", "mirrored"] + (["ssim_window", "dssim_threshold", "dssim_prerank"] if metric == "dssim" else [])
    depends_on: dict[str, object] = {name: getattr(p, name) for name in names}
    if featuriser is not None:
        depends_on["featuriser"] = featuriser
    return plan_items(blocks["queries"], blocks["references"], metric=metric, parameters=depends_on)


def group_key(items: Sequence[WorkItem]) -> str:
    """Completion key of a group."""
    return completion_key([item.key for item in items])


def part_key(item: WorkItem) -> str:
    """Where the result of an item lies."""
    return f"partial/neighbors/{item.key[:2]}/{item.key}.npy"
