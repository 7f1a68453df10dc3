"""Random little studies for the sampling tests, as the plain dicts of the literal rules, and as retest's records."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from retest.records import Revision
from retest.sampling import CandidateFacts, OriginalFacts

REVIEWED = {"l2": float("inf"), "dssim": 1.0, "fc7": 1e100}
REVIEWS = [REVIEWED] * 6 + [{"l2": 1.2e8, "dssim": 1.0, "fc7": 1e100}, {"l2": 2e8, "dssim": 0.3}, {}]


def frequency(rng: random.Random) -> tuple[float, int]:
    """A selection frequency and its number of assignments; mostly enough of them, often exactly on a bin's edge."""
    n = rng.choice([10, 10, 10, 10, 11, 15, 20, 7, 9])
    return rng.randint(0, n) / n, n


def plain_candidates(rng: random.Random, classes: list[str], most: int) -> list[dict]:
    result = []
    for wnid in classes:
        for _ in range(rng.randint(0, most)):
            f, n = frequency(rng)
            result.append(
                {
                    "id": f"{rng.getrandbits(40):010x}",
                    "wnid": wnid,
                    "f": f,
                    "n": n,
                    "excluded": rng.random() < 0.05,
                    "duplicate": rng.random() < 0.05,
                    "thresholds": rng.choice(REVIEWS),
                }
            )
    rng.shuffle(result)
    return result


def plain_originals(rng: random.Random, classes: list[str], most: int) -> list[dict]:
    result = []
    for wnid in classes:
        for _ in range(rng.randint(0, most)):
            f, n = frequency(rng)
            result.append({"id": f"ILSVRC2012_val_{rng.getrandbits(40):013}.JPEG", "wnid": wnid, "f": f, "n": n})
    rng.shuffle(result)
    return result


def plain_previous(rng: random.Random, candidates: list[dict], per_class: int) -> list[tuple[str, str]]:
    """At most ``per_class`` images of a class, usable or not, some of them unknown; in any order."""
    result = []
    for wnid in sorted({c["wnid"] for c in candidates}):
        ids = [*sorted(c["id"] for c in candidates if c["wnid"] == wnid), f"unknown-{wnid}"]
        result += [(i, wnid) for i in rng.sample(ids, rng.randint(0, min(per_class, len(ids))))]
    rng.shuffle(result)
    return result


def facts(c: dict) -> CandidateFacts:
    return CandidateFacts(c["id"], c["wnid"], c["f"], c["n"], c["excluded"], c["duplicate"], c["thresholds"])


def original_facts(o: dict) -> OriginalFacts:
    return OriginalFacts(o["id"], o["wnid"], o["f"], o["n"])


def revision(images: list[tuple[str, str]], name: str = "imagenetv2-x-0") -> Revision:
    return Revision(name, "sample_above_threshold", tuple(images), True, 1)


@st.composite
def studies(draw):
    """(candidates, originals, classes, per_class, previous, seed): small numbers keep shortfalls and ties frequent."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    classes = [f"n{k:02}" for k in range(draw(st.integers(1, 4)))]
    per_class = draw(st.integers(1, 10))
    candidates = plain_candidates(rng, classes, most=draw(st.sampled_from([4, 15, 40])))
    originals = plain_originals(rng, classes, most=draw(st.sampled_from([3, 12, 50])))
    previous = plain_previous(rng, candidates, per_class) if draw(st.booleans()) else []
    return candidates, originals, classes, per_class, previous, draw(st.integers(0, 10**9))
