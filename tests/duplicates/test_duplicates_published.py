"""The published decisions (the part of the ImageNetV2 repository beside the checkout, when it is there)."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from retest.duplicates import (
    DuplicateCandidate,
    ReviewParameters,
    duplicate_stats,
    find_components,
    resolve,
    review_queue,
    review_threshold,
)
from retest.records import Neighbor

DATA = Path(__file__).resolve().parents[3] / "shared" / "imagenetv2" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not beside the checkout")

IMAGENET_NAME = re.compile(r"(ILSVRC2012_(val|test)_\d{8}|n\d{8}_\d+)\.JPEG")


def is_original(image: str) -> bool:
    return IMAGENET_NAME.fullmatch(image) is not None


def read(name: str):
    return json.loads((DATA / name).read_text())


@pytest.fixture(scope="module")
def study():
    excluded = read("metadata/candidate_blacklist.json")
    found = {}
    for path in sorted((DATA / "search_results").glob("*.json")):
        for record in json.loads(path.read_text()):
            found.setdefault(record["id_ours"], record)
    candidates = [
        DuplicateCandidate(i, r["wnid"], r["search_engine"], str(r["id_search_engine"]), None, i in excluded) for i, r in found.items()
    ]
    candidates += [DuplicateCandidate(i, excluded=True) for i in excluded if i not in found]
    pairs = [(a, b) for a, others in read("metadata/near_duplicates.json").items() for b in others]
    overrides = set(read("metadata/near_duplicate_resolution_override.json"))
    return candidates, pairs, overrides


def scipy_groups(candidates, pairs) -> list[tuple[str, ...]]:
    """Connected components of the same graph by SciPy: photos become nodes of their own."""
    edges = pairs + [(c.id, f"photo {c.source} {c.photo_id}") for c in candidates if c.photo_id]
    number = {node: k for k, node in enumerate(sorted({node for edge in edges for node in edge}))}
    rows, columns = (np.array([number[edge[i]] for edge in edges]) for i in (0, 1))
    count, labels = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(number),) * 2), directed=False)
    groups: list[list[str]] = [[] for _ in range(count)]
    for node in sorted(number):
        if not node.startswith("photo "):
            groups[labels[number[node]]].append(node)
    return sorted(tuple(group) for group in groups if len(group) > 1)


def test_published_decisions_give_the_components_and_counts_that_scipy_gives(study):
    candidates, pairs, overrides = study
    groups = scipy_groups(candidates, pairs)
    found = find_components(candidates, pairs, is_original=is_original)
    assert [c.members for c in found] == groups
    result = resolve(candidates, pairs, is_original=is_original, overrides=overrides)
    stats = duplicate_stats(found, result, is_original=is_original)
    with_original = [group for group in groups if any(map(is_original, group))]
    in_groups = sum(not is_original(member) for group in groups for member in group)
    assert stats.components == len(groups) > 1000
    assert stats.components_with_original == len(with_original) > 0
    assert stats.candidates == in_groups
    # one image stays in each component without an original
    assert stats.marked == in_groups - (len(groups) - len(with_original))
    assert stats.sizes == Counter(map(len, groups))
    kept = {r.candidate_id for r in result if not r.near_duplicate}
    assert overrides <= kept


def test_published_decisions_give_the_known_figures(study):
    """Of the part of the repository that is here, at commit b14e00d; SciPy gives the same components (the test above)."""
    candidates, pairs, overrides = study
    found = find_components(candidates, pairs, is_original=is_original)
    result = resolve(candidates, pairs, is_original=is_original, overrides=overrides)
    stats = duplicate_stats(found, result, is_original=is_original)
    assert (stats.components, stats.components_with_original, stats.candidates, stats.marked) == (4634, 106, 18220, 13692)


def test_published_decisions_resolve_the_same_in_any_order(study):
    candidates, pairs, overrides = study
    expected = resolve(candidates, pairs, is_original=is_original, overrides=overrides)
    rng = random.Random(1)
    shuffled, turned = list(candidates), [pair[::-1] if rng.random() < 0.5 else pair for pair in pairs]
    rng.shuffle(shuffled)
    rng.shuffle(turned)
    assert resolve(shuffled, turned, is_original=is_original, overrides=overrides) == expected


def test_published_neighbours_queue_until_their_reviews_are_done():
    results = {
        candidate: {metric: [Neighbor(*pair) for pair in pairs] for metric, pairs in metrics.items()}
        for candidate, metrics in read("metadata/nearest_neighbor_results_test.json").items()
    }
    parameters = ReviewParameters()
    queue = list(review_queue(results, parameters=parameters))
    expected = {
        (candidate, metric): [n.reference for n in neighbors if n.reference != candidate and n.distance <= parameters.targets[metric]]
        for candidate, metrics in results.items()
        for metric, neighbors in metrics.items()
    }
    shown = {(item.candidate_id, item.metric): [n.reference for n in item.neighbors] for item in queue}
    assert shown == {key: value for key, value in expected.items() if value}
    assert shown, "the published sample has near neighbours in at least one metric"
    for item in queue:
        neighbors = results[item.candidate_id][item.metric]
        assert review_threshold(item.candidate_id, neighbors) == item.neighbors[0].distance
        reviewed = {n.reference for n in item.neighbors}
        assert review_threshold(item.candidate_id, neighbors, reviewed=reviewed) > parameters.targets[item.metric]
