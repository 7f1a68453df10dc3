"""Work items, their keys, and joining their results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.errors import UsageError
from retest.neighbors import Knn, Part, merge, nearest_features, nearest_l2, pair_distance, plan_blocks, plan_items
from retest.records import Neighbor


def random_search(seed, queries, references, values):
    """Small integer features, so that there are many ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, values, (queries, 3)).astype(np.float32), rng.integers(0, values, (references, 3)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 40), st.integers(1, 6), st.integers(1, 8), st.integers(1, 9), st.data()
)
def test_any_cut_gives_the_result_of_one_search(seed, n_queries, n_references, k, query_block, reference_block, data):
    queries, references = random_search(seed, n_queries, n_references, 4)
    whole = nearest_features(queries, references, k=k)
    query_order, reference_order = (data.draw(st.permutations(range(n))) for n in (n_queries, n_references))
    parts = []
    for at in range(0, n_queries, query_block):
        rows = np.sort(np.array(query_order[at : at + query_block]))
        for other in range(0, n_references, reference_block):
            columns = np.sort(np.array(reference_order[other : other + reference_block]))
            parts.append(Part(nearest_features(queries[rows], references[columns], k=k), rows, columns))
    for order in (parts, parts[::-1]):
        joined = merge(order, queries=n_queries, k=k)
        assert joined.indices.tobytes() == whole.indices.tobytes()
        assert joined.distances.tobytes() == whole.distances.tobytes()


def test_mirror_images_count_once_with_the_smaller_distance():
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (20, 16, 16, 3), np.uint8)
    images[7], images[9] = images[3][:, ::-1], images[3] ^ 1
    everything = np.arange(20)
    direct, mirrored = nearest_l2(images, images, k=4), nearest_l2(np.ascontiguousarray(images[:, :, ::-1]), images, k=4)
    both = merge([Part(direct, everything, everything), Part(mirrored, everything, everything)], queries=20, k=4)
    assert both.indices[3, :3].tolist() == [3, 7, 9]
    assert both.distances[3, :3].tolist() == [0, 0, 16 * 16 * 3]
    assert all(len(set(row)) == 4 for row in both.indices.tolist())


def test_queries_without_a_part_have_no_neighbours():
    part = Part(Knn(np.array([[1, -1]]), np.array([[2.0, np.inf]])), np.array([2]), np.array([5, 8]))
    joined = merge([part], queries=4, k=1)
    assert joined.indices.tolist() == [[-1], [-1], [8], [-1]]
    assert joined.neighbors(2, [f"r{i}" for i in range(9)]) == (Neighbor("r8", 2.0),)
    assert joined.neighbors(0, []) == ()
    assert (len(joined), joined.k) == (4, 1)


def test_parts_that_cannot_be_joined_are_refused():
    good = Knn(np.array([[0, 1]]), np.array([[1.0, 2.0]]))
    part = Part(good, np.array([3]), np.arange(9))
    with pytest.raises(UsageError, match=r"outside 0\.\.1"):
        merge([part], queries=2, k=2)
    with pytest.raises(UsageError, match="holds 2 neighbours per query, 3 are asked for"):
        merge([part], queries=9, k=3)
    with pytest.raises(UsageError, match="k: is 0, not a whole number of at least 1"):
        merge([], queries=1, k=0)
    with pytest.raises(UsageError, match="queries: is -1"):
        merge([], queries=-1, k=1)
    with pytest.raises(UsageError, match="query places"):
        Part(good, np.array([1, 2]), np.arange(9))
    with pytest.raises(UsageError, match="outside the 1 references"):
        Part(good, np.array([0]), np.arange(1))
    with pytest.raises(UsageError, match="Use int64 and float64"):
        Knn(good.indices.astype(np.int32), good.distances)
    with pytest.raises(UsageError, match="two equal"):
        Knn(good.indices, good.distances[:, :1])


ids = st.lists(st.text("abc123", min_size=1, max_size=4), unique=True, max_size=30)


@given(ids, ids, st.integers(1, 7))
def test_blocks_cover_every_image_once_and_keep_old_blocks(first, later, size):
    blocks = plan_blocks(first, block_size=size)
    assert sorted(first) == [image for block in blocks for image in block.ids]
    assert all(1 <= len(block) <= size for block in blocks)
    grown = sorted({*first, *later})
    again = plan_blocks(grown, block_size=size, existing=blocks)
    assert again[: len(blocks)] == blocks
    assert sorted(image for block in again for image in block.ids) == grown
    assert plan_blocks(list(reversed(first)), block_size=size) == blocks


def test_a_changed_or_lost_image_ends_its_block_only():
    contents = dict.fromkeys("abcdef", "1")
    blocks = plan_blocks("abcdef", block_size=2, contents=contents)
    changed = plan_blocks("abcdef", block_size=2, contents=contents | {"c": "2"}, existing=blocks)
    assert [block.ids for block in changed] == [("a", "b"), ("e", "f"), ("c", "d")]
    assert changed[2].digest != blocks[1].digest
    assert [block.ids for block in plan_blocks("abcef", block_size=2, contents=contents, existing=blocks)] == [
        ("a", "b"),
        ("e", "f"),
        ("c",),
    ]


def test_keys_name_everything_a_result_depends_on():
    blocks = plan_blocks("abcd", block_size=2)
    items = plan_items(blocks, blocks, metric="l2", parameters={"k": 30})
    assert [item.pairs for item in items] == [4] * 4
    keys = {item.key for item in items}
    assert len(keys) == 4
    assert keys == {item.key for item in plan_items(blocks, blocks, metric="l2", parameters={"k": 30})}
    for other in (
        plan_items(blocks, blocks, metric="dssim", parameters={"k": 30}),
        plan_items(blocks, blocks, metric="l2", parameters={"k": 31}),
        plan_items(blocks, blocks, metric="l2", parameters={"k": 30, "mirrored": True}),
        plan_items(plan_blocks("abce", block_size=2)[1:], blocks, metric="l2", parameters={"k": 30}),
        plan_items(plan_blocks("abcd", block_size=2, contents={"a": "x", "c": "y"}), blocks, metric="l2", parameters={"k": 30}),
    ):
        assert not keys & {item.key for item in other}


def test_keys_depend_on_the_code_version(monkeypatch):
    from retest.neighbors import blocks as module

    block = plan_blocks("ab", block_size=2)
    before = plan_items(block, block, metric="l2", parameters={})[0].key
    monkeypatch.setattr(module, "CODE_VERSION", "other")
    assert plan_items(block, block, metric="l2", parameters={})[0].key != before


def test_plans_refuse_nonsense():
    with pytest.raises(UsageError, match="1 ids are given more than once"):
        plan_blocks(["a", "a"], block_size=1)
    with pytest.raises(UsageError, match="block_size: is 0, not a whole number"):
        plan_blocks(["a"], block_size=0)


def test_distance_of_one_pair():
    a = np.zeros((40, 40, 3), np.uint8)
    b = a.copy()
    b[0, 0] = 2, 3, 6
    assert pair_distance("l2", a, b) == 49.0
    assert pair_distance("dssim", a, a) == 0.0
    assert pair_distance("fc7", np.array([1, 2], np.float32), np.array([4, 6], np.float32)) == 25.0
    with pytest.raises(UsageError, match="a: list is not an array"):
        pair_distance("l2", [1], b)
