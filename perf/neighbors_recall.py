"""Which metric finds which altered copy: recall among the 30 nearest, and the distances behind it.

    python perf/neighbors_recall.py --photos ../shared/photos \
        --featuriser squeezenet=torchvision:squeezenet1_1@../shared/classifier/squeezenet1_1_folded_fp16.safetensors

Every photo is a reference, stored as a study stores it. Every photo, altered in one of twelve ways and stored as JPEG of
quality 90, is a query whose original has to be found. The numbers in docs/near-duplicates.md come from this script.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from retest.images import compare_array, make_variants, variant_names
from retest.models.featurisers import FeaturiserSpec, load_featuriser
from retest.neighbors import Knn, Part, merge, nearest_dssim, nearest_features, nearest_hashes, nearest_l2, perceptual_hashes

K = 30


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image: Image.Image, share: float) -> Image.Image:
    """The central part with ``share`` of each side."""
    width, height = image.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return image.crop((left, top, width - left, height - top))


def one_pixel(image: Image.Image) -> Image.Image:
    changed = image.copy()
    red, green, blue = changed.getpixel((0, 0))
    changed.putpixel((0, 0), (255 - red, 255 - green, 255 - blue))
    return changed


def noise(image: Image.Image, seed: int) -> Image.Image:
    pixels = np.asarray(image, np.float64) + np.random.default_rng(seed).normal(0, 10, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact copy": lambda image: image,
    "one pixel": one_pixel,
    "JPEG quality 75": lambda image: jpeg(image, 75),
    "JPEG quality 30": lambda image: jpeg(image, 30),
    "half size": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS),
    "cropped to 95 %": lambda image: crop(image, 0.95),
    "cropped to 80 %": lambda image: crop(image, 0.80),
    "mirrored": ImageOps.mirror,
    "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "noise, deviation 10": lambda image: noise(image, 1),
}


def stored(image: Image.Image) -> np.ndarray:
    """The pixels that a study compares: 256 x 256, through the stored JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "BMP")  # nothing is lost, and nothing is compressed
    made = make_variants(buffer.getvalue(), item="photo")
    return compare_array(made[variant_names()[2]].data)


def searches(references: np.ndarray, featurisers: list[str]) -> dict[str, Callable[[np.ndarray], Knn]]:
    """The metrics, each as a search among the references."""
    hashes = perceptual_hashes(references)
    found: dict[str, Callable[[np.ndarray], Knn]] = {
        "l2": lambda images: nearest_l2(images, references, k=K),
        "dssim": lambda images: nearest_dssim(images, references, k=K),
        "phash": lambda images: nearest_hashes(perceptual_hashes(images), hashes, k=K),
    }
    for text in featurisers:
        spec = FeaturiserSpec.parse(text)
        featuriser = load_featuriser(spec, threads=1)
        table = featuriser.features(references)
        found[spec.label] = lambda images, f=featuriser, table=table: nearest_features(f.features(images), table, k=K)
    return found


def with_mirror(search: Callable[[np.ndarray], Knn], images: np.ndarray, references: int) -> Knn:
    """The nearest of each image or its mirror image."""
    rows, columns = np.arange(len(images)), np.arange(references)
    pair = (search(images), search(np.ascontiguousarray(images[:, :, ::-1])))
    return merge([Part(knn, rows, columns) for knn in pair], queries=len(images), k=K)


def outcome(knn: Knn) -> tuple[float, float, np.ndarray]:
    """Share of queries whose original is among the neighbours, and in first place, and its distance (inf if not found)."""
    hits = knn.indices == np.arange(len(knn))[:, None]
    distances = np.where(hits.any(axis=1), np.where(hits, knn.distances, 0).sum(axis=1), np.inf)
    return hits.any(axis=1).mean(), hits[:, 0].mean(), distances


def threshold_table(copies: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    """What each threshold finds, and how many unrelated pairs of photos lie within it as well."""
    print("\n| metric | threshold | copies found | cropped to 80 % or mirrored | photos with an unrelated one |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, rows in copies.items():
        hard = [i for i, alteration in enumerate(ALTERATIONS) if alteration in {"cropped to 80 %", "mirrored"}]
        easy = [i for i in range(len(rows)) if i not in hard]
        for share in (0.0, 0.02, 0.1, 0.5):
            threshold = float(np.quantile(others[name], share, method="higher"))
            found = [(rows[places] <= threshold).mean() for places in (easy, hard)]
            print(f"| {name} | {threshold:,.5g} | {found[0]:.3f} | {found[1]:.3f} | {(others[name] <= threshold).mean():.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
    parser.add_argument("--featuriser", action="append", default=[])
    options = parser.parse_args()
    photos = [Image.open(file).convert("RGB") for file in sorted(options.photos.glob("*.JPEG"))]
    references = np.stack([stored(photo) for photo in photos])
    metrics = searches(references, options.featuriser)
    others = {name: search(references).distances[:, 1] for name, search in metrics.items()}
    print(f"{len(photos)} photos; recall among {K} (in first place)\n")
    print("| alteration |", " | ".join(metrics), "|")
    print("| --- |", " | ".join("---:" for _ in metrics), "|")
    curves: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for alteration, change in ALTERATIONS.items():
        queries = np.stack([stored(change(photo)) for photo in photos])
        cells = []
        for name, search in metrics.items():
            recall, first, distances = outcome(search(queries))
            curves[name].append(distances)
            cells.append(f"{recall:.3f} ({first:.3f})")
        print(f"| {alteration} |", " | ".join(cells), "|", flush=True)
        if alteration == "mirrored":
            found = [outcome(with_mirror(search, queries, len(references))) for search in metrics.values()]
            cells = [f"{recall:.3f} ({first:.3f})" for recall, first, _ in found]
            print("| mirrored, with mirrored queries |", " | ".join(cells), "|", flush=True)
    threshold_table({name: np.stack(rows) for name, rows in curves.items()}, others)


if __name__ == "__main__":
    main()
