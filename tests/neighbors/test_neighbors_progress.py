"""What long searches offer a caller who plans: codes made once, and pairs counted as they are done."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from retest.errors import InputError, UsageError
from retest.neighbors import encode_l2, nearest_dssim, nearest_features, nearest_l2
from retest.neighbors import l2 as l2_module

RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (70, 24, 20, 3), dtype=np.uint8)
TABLE = RNG.standard_normal((70, 40), dtype=np.float32)
SUBSET = np.arange(3, 63, 2)


class Counter:
    def __init__(self) -> None:
        self.calls: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, pairs: int) -> None:
        with self._lock:
            self.calls.append(pairs)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("subset", [None, SUBSET])
@pytest.mark.parametrize(
    ("search", "data"),
    [
        (nearest_l2, IMAGES),
        (nearest_features, TABLE),
        (lambda *a, **o: nearest_dssim(*a, window=7, **o), IMAGES),
        (lambda *a, **o: nearest_dssim(*a, window=7, prerank=9, **o), IMAGES),
    ],
    ids=["l2", "features", "dssim", "dssim preranked"],
)
def test_progress_adds_up_to_all_pairs_and_changes_nothing(search, data, subset, threads):
    counter = Counter()
    found = search(data[:50], data, k=4, subset=subset, threads=threads, progress=counter)
    plain = search(data[:50], data, k=4, subset=subset)
    assert sum(counter.calls) == 50 * (70 if subset is None else SUBSET.size)
    assert min(counter.calls) > 0
    assert (found.indices == plain.indices).all()
    assert (found.distances == plain.distances).all()


@pytest.mark.parametrize("subset", [None, SUBSET, np.array([], np.int64)])
def test_codes_made_once_give_what_every_search_would_find(subset, monkeypatch):
    monkeypatch.setattr(l2_module, "_REFERENCES_AT_ONCE", 16)  # several blocks
    codes = encode_l2(IMAGES, subset=subset, threads=2)
    made = []
    encode = l2_module.encode
    monkeypatch.setattr(l2_module, "encode", lambda images, *a, **o: made.append(len(images)) or encode(images, *a, **o))
    for queries in (IMAGES[:20], IMAGES[20:51]):
        made.clear()
        found = nearest_l2(queries, IMAGES, k=5, codes=codes)
        assert made == [len(queries)], "only the queries are encoded"
        plain = nearest_l2(queries, IMAGES, k=5, subset=subset)
        assert (found.indices == plain.indices).all()
        assert (found.distances == plain.distances).all()


def test_codes_of_other_references_are_refused():
    codes = encode_l2(IMAGES)
    with pytest.raises(UsageError, match="codes: were made of other references"):
        nearest_l2(IMAGES[:2], IMAGES[:50], k=1, codes=codes)
    with pytest.raises(UsageError, match="codes: were made of other references"):
        nearest_l2(IMAGES[:2, :20], IMAGES[:, :20], k=1, codes=codes)
    with pytest.raises(UsageError, match="subset: excludes codes"):
        nearest_l2(IMAGES[:2], IMAGES, k=1, codes=codes, subset=SUBSET)
    with pytest.raises(UsageError, match="not an array of RGB images"):
        encode_l2(TABLE)  # type: ignore[arg-type]


def test_only_the_features_that_are_searched_must_be_finite():
    spoilt = TABLE.copy()
    spoilt[4] = np.nan
    assert 4 not in SUBSET
    found = nearest_features(TABLE[:5], spoilt, k=3, subset=SUBSET)
    assert (found.indices == nearest_features(TABLE[:5], TABLE, k=3, subset=SUBSET).indices).all()
    spoilt[SUBSET[2]] = np.inf
    with pytest.raises(InputError, match=rf"references\[{SUBSET[2]}\]"):
        nearest_features(TABLE[:5], spoilt, k=3, subset=SUBSET)
