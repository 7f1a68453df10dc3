"""Which metric finds which altered copy: recall among the 30 nearest, and the distances behind it.

    python perf/neighbors_recall.py --photos ../shared/photos [--classifier model.onnx] [--markdown FILE]

Every photo is a reference. Every photo, altered in one of twelve ways, is a query whose original has to be found. With
``--classifier`` (and onnxruntime) the outputs of an ONNX model that takes float32 (n, 3, 128, 128), as ``(x - 128) / 128``
of the central 87.5 % of the image, serve as features. The numbers in docs/near-duplicates.md come from this script.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from retest.images import compare_array
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
    """The pixels that a study compares: 256 x 256."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return compare_array(buffer.getvalue())


def classifier_features(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def compute(images: np.ndarray) -> np.ndarray:
        rows = []
        for pixels in images:
            off = int((256 - 0.875 * 256) / 2)
            small = Image.fromarray(pixels[off : 256 - off, off : 256 - off]).resize((128, 128), Image.Resampling.BILINEAR)
            rows.append((np.asarray(small, np.float32).transpose(2, 0, 1) - 128) / 128)
        return np.concatenate([session.run(None, {name: row[None]})[0] for row in rows]).astype(np.float32)

    return compute


def searches(references: np.ndarray, classifier: Path | None) -> dict[str, Callable[[np.ndarray], Knn]]:
    """The metrics, each as a search among the references."""
    hashes = perceptual_hashes(references)
    found = {
        "l2": lambda images: nearest_l2(images, references, k=K, threads=2),
        "dssim": lambda images: nearest_dssim(images, references, k=K, threads=2),
        "phash": lambda images: nearest_hashes(perceptual_hashes(images), hashes, k=K),
    }
    if classifier is not None:
        compute = classifier_features(classifier)
        features = compute(references)
        found[classifier.stem] = lambda images: nearest_features(compute(images), features, k=K)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
    parser.add_argument("--classifier", type=Path)
    options = parser.parse_args()
    photos = [Image.open(file).convert("RGB") for file in sorted(options.photos.glob("*.JPEG"))]
    references = np.stack([stored(photo) for photo in photos])
    metrics = searches(references, options.classifier)
    everything = {name: search(references) for name, search in metrics.items()}
    others = {name: knn.distances[:, 1] for name, knn in everything.items()}
    print(f"{len(photos)} photos; recall among {K} (recall in first place, median distance of the copy)\n")
    print("| alteration |", " | ".join(metrics), "| l2 with mirror |\n| --- |", " | ".join("---" for _ in metrics), "| --- |")
    curves: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for alteration, change in ALTERATIONS.items():
        queries = np.stack([stored(change(photo)) for photo in photos])
        cells = []
        for name, search in metrics.items():
            recall, first, distances = outcome(search(queries))
            curves[name].append(distances)
            cells.append(f"{recall:.3f} ({first:.3f}, {np.median(distances):.4g})")
        recall, first, distances = outcome(with_mirror(metrics["l2"], queries, len(references)))
        cells.append(f"{recall:.3f} ({first:.3f}, {np.median(distances):.4g})")
        print(f"| {alteration} |", " | ".join(cells), "|", flush=True)
    print("\nThreshold curves: share of copies within a threshold, and of other photos' nearest neighbours within it\n")
    print("| metric | threshold | copies found | photos with another photo within it |\n| --- | --- | --- | --- |")
    for name, distances in curves.items():
        copies = np.concatenate(distances)
        for share in (0.001, 0.01, 0.05, 0.2, 0.5):
            threshold = float(np.quantile(others[name], share))
            print(f"| {name} | {threshold:.5g} | {(copies <= threshold).mean():.3f} | {(others[name] <= threshold).mean():.3f} |")


if __name__ == "__main__":
    main()
