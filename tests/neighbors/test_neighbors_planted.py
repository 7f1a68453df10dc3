"""Planted copies: each metric finds what it must, on photos where they are there and on made-up pictures otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT.parent / "shared" / "photos"
WEIGHTS = ROOT.parent / "shared" / "classifier" / "squeezenet1_1_folded_fp16.safetensors"

EASY = {"exact copy", "one pixel", "JPEG quality 75", "JPEG quality 30", "half size", "20 % brighter", "noise, deviation 10"}
MUST_FIND = {
    "l2": EASY | {"cropped to 95 %"},
    "dssim": EASY | {"less contrast"},
    "phash": EASY | {"less contrast"},
    "squeezenet": {"exact copy", "JPEG quality 30", "cropped to 95 %", "mirrored"},
}


def benchmark():
    """The benchmark whose tables are in docs/near-duplicates.md."""
    spec = importlib.util.spec_from_file_location("perf_neighbors_recall", ROOT / "perf" / "neighbors_recall.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(seed: int) -> Image.Image:
    """Soft shapes of several sizes: more like a photo than noise is."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n + 2, 3), dtype=np.uint8)).resize((300, 260), Image.Resampling.BICUBIC), float)
        for n in (3, 6, 14)
    ]
    return Image.fromarray(np.clip(0.5 * layers[0] + 0.35 * layers[1] + 0.15 * layers[2], 0, 255).astype(np.uint8))


@pytest.fixture(scope="module", params=["made up", "photos"])
def pictures(request) -> list[Image.Image]:
    if request.param == "made up":
        return [made_up(seed) for seed in range(16)]
    files = sorted(PHOTOS.glob("*.JPEG"))[:240:15] if PHOTOS.is_dir() else []
    if not files:
        pytest.skip("the photos are not beside the checkout")
    return [small(Image.open(file)) for file in files]


def small(photo: Image.Image) -> Image.Image:
    """Small enough for a quick test."""
    photo.draft("RGB", (300, 300))
    photo.thumbnail((300, 300))
    return photo.convert("RGB")


@pytest.mark.parametrize("metric", list(MUST_FIND))
def test_planted_copies_are_the_nearest(metric, pictures, request):
    if metric == "squeezenet" and "made up" in request.node.name:
        pytest.skip("the network was trained on photos")
    perf = benchmark()
    references = np.stack([perf.stored(picture) for picture in pictures])
    featurisers = []
    if metric == "squeezenet":
        pytest.importorskip("torchvision", reason="needs the extra 'models'")
        if not WEIGHTS.exists():
            pytest.skip("the classifier's weights are not beside the checkout")
        featurisers = [f"squeezenet=torchvision:squeezenet1_1@{WEIGHTS}"]
    search = perf.searches(references, featurisers)[metric]
    for alteration in sorted(MUST_FIND[metric]):
        queries = np.stack([perf.stored(perf.ALTERATIONS[alteration](picture)) for picture in pictures[:6]])
        _, first, _ = perf.outcome(search(queries))
        assert first >= (1.0 if alteration in {"exact copy", "one pixel", "JPEG quality 75"} else 0.9), alteration


@pytest.mark.parametrize("metric", ["l2", "dssim", "phash"])
def test_mirrored_copies_need_mirrored_queries(metric, pictures):
    perf = benchmark()
    references = np.stack([perf.stored(picture) for picture in pictures])
    queries = np.stack([perf.stored(perf.ALTERATIONS["mirrored"](picture)) for picture in pictures[:6]])
    search = perf.searches(references, [])[metric]
    _, _, plain = perf.outcome(search(queries))
    _, first, mirrored = perf.outcome(perf.with_mirror(search, queries, len(references)))
    assert first == 1.0
    assert (mirrored < plain / 2).all()
