"""Speed and memory of ``retest.neighbors`` beside other software, in one process and one run.

    python perf/neighbors.py images --more-references 50000      # once; takes a quarter of an hour
    python perf/neighbors.py l2 dssim features threads memory compile --references 10000
    python perf/neighbors.py growth --references 10000 --more-references 50000
    python perf/neighbors.py gpu                                 # where torch sees a CUDA device

Peers are used if they are installed (``pip install faiss-cpu scikit-image scikit-learn`` into an environment of your
own that also holds retest); a missing one is left out. Everything runs on one thread unless a row says otherwise. The
methods take turns, round after round, and the table shows medians, of elapsed and of processor time: on a machine that
others use as well, compare the latter.

Images are 256 x 256 pixels, cut out of photos with random scale, shape, mirroring, contrast and tint from a fixed
seed, and kept as one memory-mapped file in the scratch folder (2 GB per 10,000). Queries are among the references, as
candidates are in a study.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from retest.neighbors import nearest_dssim, nearest_features, nearest_l2  # noqa: E402
from retest.neighbors.features import search_features  # noqa: E402
from retest.neighbors.l2 import search_l2  # noqa: E402

SIDE = 256
K = 30


def image_file(scratch: Path, photos: Path, count: int, seed: int = 1) -> np.ndarray:
    """The first ``count`` images, memory-mapped; made on first use."""
    path = scratch / f"images-{count}-{seed}.npy"
    larger = [file for file in scratch.glob(f"images-*-{seed}.npy") if int(file.name.split("-")[1]) > count]
    if not path.exists() and larger:
        part = path.with_suffix(".part.npy")
        np.save(part, np.load(larger[0], mmap_mode="r")[:count])
        part.rename(path)
    if not path.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        sources = [Image.open(file).convert("RGB") for file in sorted(photos.rglob("*.JPEG")) + sorted(photos.rglob("*.jpg"))]
        if not sources:
            sys.exit(f"{photos}: no .JPEG or .jpg files. Name a folder of photos with --photos.")
        print(f"making {count} images in {path}", flush=True)
        part = path.with_suffix(".part.npy")
        images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))
        rng = np.random.default_rng(seed)
        for i in range(count):
            images[i] = cut_out(sources[rng.integers(len(sources))], rng)
        images.flush()
        part.rename(path)
    return np.load(path, mmap_mode="r")


def cut_out(photo: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """A quarter to all of a photo's area, 3:4 to 4:3, maybe mirrored, with other contrast, brightness and tint."""
    while True:
        area = photo.width * photo.height * rng.uniform(0.25, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if width <= photo.width and height <= photo.height:
            break
    x, y = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    pixels = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(x, y, x + width, y + height))).astype(np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    gain, offset = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3), rng.uniform(-20, 20)
    return np.clip(np.rint(pixels * gain + offset), 0, 255).astype(np.uint8)


def fc7_like(count: int, dimensions: int = 4096, seed: int = 1) -> np.ndarray:
    """Rectified mixtures of 64 directions with noise: about half zeros, like activations after a ReLU."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((64, dimensions), dtype=np.float32)
    out = np.empty((count, dimensions), np.float32)
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        mixture = rng.standard_normal((size, 64), dtype=np.float32) @ directions / 8
        out[start : start + size] = np.maximum(mixture + 0.3 * rng.standard_normal((size, dimensions), dtype=np.float32), 0)
    return out


class Race:
    """Methods that take turns; each is a function and the number of pairs that one call compares."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.entries: dict[str, tuple[Callable[[], object], int]] = {}
        self.elapsed: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def add(self, name: str, function: Callable[[], object], pairs: int) -> None:
        self.entries[name] = (function, pairs)

    def run(self) -> None:
        for _ in range(self.rounds):
            for name, (function, pairs) in self.entries.items():
                start, processor = time.perf_counter(), time.process_time()
                function()
                self.elapsed.setdefault(name, []).append((time.perf_counter() - start) / pairs)
                self.processor.setdefault(name, []).append((time.process_time() - processor) / pairs)

    def table(self, ours: str) -> None:
        print("\n| method | elapsed µs per pair | processor µs per pair | times ours (elapsed, processor) |")
        print("| --- | --- | --- | --- |")
        for name in self.entries:
            figures = [(statistics.median(times[name]), statistics.median(times[ours])) for times in (self.elapsed, self.processor)]
            shown = [f"{value * 1e6:.4g}" for value, _ in figures]
            print(f"| {name} | {' | '.join(shown)} | {', '.join(f'{value / base:.3g}x' for value, base in figures)} |")
        print(flush=True)


def published_l2(queries: np.ndarray, references: np.ndarray) -> dict[int, list[tuple[int, float]]]:
    """The published way: all squared distances by the float64 expansion with BLAS, then a sorted list per query in a dict."""
    a = queries.reshape(len(queries), -1).astype(np.float64)
    norms = np.einsum("ij,ij->i", a, a)
    distances = np.empty((len(queries), len(references)))
    for start in range(0, len(references), 500):
        b = references[start : start + 500].reshape(-1, a.shape[1]).astype(np.float64)
        distances[:, start : start + 500] = norms[:, None] + np.einsum("ij,ij->i", b, b) - 2 * (a @ b.T)
    found = {}
    for row in range(len(queries)):
        nearest = np.argpartition(distances[row], K)[:K]
        found[row] = sorted(((int(j), float(distances[row, j])) for j in nearest), key=lambda pair: pair[1])
    return found


def installed(module: str) -> bool:
    """Whether a peer can be imported."""
    try:
        __import__(module)
    except ImportError:
        print(f"{module} is not installed: left out")
        return False
    return True


def l2(options: argparse.Namespace) -> None:
    """Pixel search beside faiss and the published method; ours encodes all images anew in every call."""
    references = image_file(options.scratch, options.photos, options.references)
    queries, few = np.array(references[: options.queries]), np.array(references[: options.peer_queries])
    _, work = search_l2(queries[:64], references, k=K)
    print(
        f"of {work.pairs / 64:.0f} references per query, {work.middle / 64:.0f} reach the second, {work.fine / 64:.0f} the third, "
        f"{work.exact / 64:.0f} the exact stage"
    )
    race = Race(options.rounds)
    race.add("retest nearest_l2", lambda: nearest_l2(queries, references, k=K), len(queries) * len(references))
    if installed("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(SIDE * SIDE * 3)
        for start in range(0, len(references), 500):
            index.add(references[start : start + 500].reshape(-1, SIDE * SIDE * 3).astype(np.float32))
        floats = few.reshape(len(few), -1).astype(np.float32)
        race.add("faiss IndexFlatL2 (index built before)", lambda: index.search(floats, K), len(few) * len(references))
    race.add("published method", lambda: published_l2(few[:64], references), min(64, len(few)) * len(references))
    race.run()
    race.table("retest nearest_l2")


def dssim(options: argparse.Namespace) -> None:
    """SSIM beside scikit-image, and its two shortcuts."""
    references = image_file(options.scratch, options.photos, options.references)[: options.dssim_references]
    queries = np.array(references[:64])
    pairs = len(queries) * len(references)
    exact = nearest_dssim(queries, references, k=K)
    for count in (60, 100, 200):
        found = nearest_dssim(queries, references, k=K, prerank=count)
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.indices.tolist(), exact.indices.tolist(), strict=True)])
        print(f"pre-ranked {count} of {len(references)}: recall {recall:.4f}, worst place used {found.worst_prerank.max()}")
    race = Race(options.rounds)
    race.add("retest nearest_dssim", lambda: nearest_dssim(queries, references, k=K), pairs)
    for threshold in (0.05, 0.15, 0.2205):
        race.add(f"retest, threshold {threshold}", lambda t=threshold: nearest_dssim(queries, references, k=K, threshold=t), pairs)
    race.add("retest, prerank 100", lambda: nearest_dssim(queries, references, k=K, prerank=100), pairs)
    if installed("skimage"):
        from skimage.metrics import structural_similarity

        def peer() -> list[float]:
            return [structural_similarity(queries[0], reference, channel_axis=-1, win_size=35) for reference in references[1:17]]

        race.add("scikit-image structural_similarity", peer, 16)
    race.run()
    race.table("retest nearest_dssim")


def features(options: argparse.Namespace) -> None:
    """Feature search beside faiss (float32 order) and scikit-learn (float64)."""
    references = fc7_like(options.references)
    queries = references[:: max(1, options.references // 1000)][:1000].copy()
    pairs = len(queries) * len(references)
    print(f"{search_features(queries, references, k=K)[1] / len(queries):.1f} float64 distances per query")
    race = Race(options.rounds)
    race.add("retest nearest_features", lambda: nearest_features(queries, references, k=K), pairs)
    if installed("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(references.shape[1])
        index.add(references)
        race.add("faiss IndexFlatL2 (index built before)", lambda: index.search(queries, K), pairs)
    if installed("sklearn"):
        from sklearn.neighbors import NearestNeighbors

        brute = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(references.astype(np.float64))
        double = queries[:200].astype(np.float64)
        race.add("scikit-learn brute, float64", lambda: brute.kneighbors(double), 200 * len(references))
    race.run()
    race.table("retest nearest_features")


def threads(options: argparse.Namespace) -> None:
    """Two threads beside one."""
    references = image_file(options.scratch, options.photos, options.references)
    queries, table = np.array(references[: options.queries]), fc7_like(options.references)
    few = references[: options.dssim_references]
    for name, search, pairs in (
        ("nearest_l2", lambda count: nearest_l2(queries, references, k=K, threads=count), len(queries) * len(references)),
        ("nearest_dssim", lambda count: nearest_dssim(queries[:64], few, k=K, threads=count), 64 * len(few)),
        ("nearest_features", lambda count: nearest_features(table[:2048], table, k=K, threads=count), 2048 * len(table)),
    ):
        search(2)  # the first to touch a memory-mapped page pays for it
        race = Race(options.rounds)
        for count in (2, 1):
            race.add(f"{name}, {count} thread{'s' * (count > 1)}", lambda count=count, search=search: search(count), pairs)
        race.run()
        race.table(f"{name}, 2 threads")


def growth(options: argparse.Namespace) -> None:
    """How the time per query grows from ``--references`` to ``--more-references``; encoding the references is part of it."""
    images = image_file(options.scratch, options.photos, options.more_references)
    queries = np.array(images[: options.queries])
    few, many = options.references, options.more_references
    race = Race(options.rounds)
    for count in (few, many):
        race.add(f"{count} references", lambda count=count: nearest_l2(queries, images[:count], k=K), len(queries))
    race.run()
    race.table(f"{few} references")
    for kind, times in (("elapsed", race.elapsed), ("processor", race.processor)):
        less, more = (statistics.median(times[f"{count} references"]) for count in (few, many))
        print(f"exponent of growth, {kind}: {math.log(more / less) / math.log(many / few):.3f}")


def memory(options: argparse.Namespace) -> None:
    """Largest resident memory of a search in a process of its own, memory-mapped pixels included."""
    image_file(options.scratch, options.photos, options.references)
    code = (
        "import sys, resource, numpy as np\n"
        "from retest.neighbors import nearest_l2\n"
        "images = np.load(sys.argv[1], mmap_mode='r')\n"
        "nearest_l2(images[:256], images, k=30)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / images.nbytes)"
    )
    path = options.scratch / f"images-{options.references}-1.npy"
    answer = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    print(f"largest resident memory / raw pixels at {options.references} references: {float(answer.stdout):.3f}")


def images(options: argparse.Namespace) -> None:
    """Make the images of the other benchmarks, so that these can be run by themselves; smaller sets are the first of the largest."""
    image_file(options.scratch, options.photos, options.more_references)
    image_file(options.scratch, options.photos, options.references)


def gpu(options: argparse.Namespace) -> None:
    """The search on a CUDA device, which gives the same bytes, beside one thread of the processor."""
    if not installed("torch"):
        return
    import torch

    from retest.neighbors import NeighborParameters
    from retest.stages._torch_search import nearest

    device = "cuda" if torch.cuda.is_available() else "cpu"
    print("device:", torch.cuda.get_device_name() if device == "cuda" else "cpu: no CUDA device, figures mean nothing")
    references = image_file(options.scratch, options.photos, options.references)
    queries, table = np.array(references[: options.queries]), fc7_like(options.references)
    few = references[: options.dssim_references]
    sets = {
        "l2": (queries, references, lambda a, b: nearest_l2(a, b, k=K)),
        "dssim": (queries[:64], few, lambda a, b: nearest_dssim(a, b, k=K)),
        "features": (table[:2048], table, lambda a, b: nearest_features(a, b, k=K)),
    }
    for metric, (a, b, plain) in sets.items():
        options_of = {"parameters": NeighborParameters(k=K), "subset": None, "threads": 1, "progress": None}
        race = Race(options.rounds)
        race.add(f"{metric} on {device}", lambda a=a, b=b, m=metric, o=options_of: nearest(m, a, b, device=device, **o), len(a) * len(b))
        race.add(f"{metric}, one thread", lambda a=a, b=b, plain=plain: plain(a, b), len(a) * len(b))
        race.run()
        race.table(f"{metric} on {device}")
        one, other = nearest(metric, a, b, device=device, **options_of), plain(a, b)
        print("same result:", bool((one.indices == other.indices).all() and (one.distances == other.distances).all()))


def compile_time(options: argparse.Namespace) -> None:
    """Processor and elapsed time of the first small search with an empty and with a filled cache of compiled kernels."""
    code = (
        "import time, numpy as np\n"
        "from retest.neighbors import nearest_dssim, nearest_features, nearest_l2\n"
        "images, table = np.zeros((9, 64, 64, 3), np.uint8), np.zeros((9, 40), np.float32)\n"
        "searches = {'l2': lambda: nearest_l2(images, images, k=2), 'dssim': lambda: nearest_dssim(images, images, k=2),\n"
        "            'features': lambda: nearest_features(table, table, k=2)}\n"
        "for name, search in searches.items():\n"
        "    start, processor = time.perf_counter(), time.process_time()\n"
        "    search()\n"
        "    print(f'{name} {time.perf_counter() - start:.2f} s elapsed, {time.process_time() - processor:.2f} s processor', end='; ')"
    )
    cache = options.scratch / f"cache-{os.getpid()}"
    for state in ("empty", "filled"):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
        print(f"{state} cache: {answer.stdout}")


BENCHMARKS = {
    "images": images,
    "l2": l2,
    "dssim": dssim,
    "features": features,
    "threads": threads,
    "growth": growth,
    "memory": memory,
    "compile": compile_time,
    "gpu": gpu,
}


def versions() -> Iterator[str]:
    """Name and version of everything that takes part."""
    yield f"Python {platform.python_version()}"
    for package in ("retest", "numpy", "numba", "llvmlite", "faiss-cpu", "scikit-image", "scikit-learn", "torch"):
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", choices=[*BENCHMARKS, []], help="which to run; by default all but images and gpu")
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"), help="folder of photos (JPEG)")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/neighbors"), help="folder for generated images")
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--more-references", type=int, default=50_000, help="for growth")
    parser.add_argument("--queries", type=int, default=2_000, help="queries of our pixel search; the more, the less encoding counts")
    parser.add_argument(
        "--peer-queries", type=int, default=256, help="queries of faiss on pixels, whose time per pair does not depend on it"
    )
    parser.add_argument("--dssim-references", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("; ".join(versions()), "·", platform.machine(), "·", os.cpu_count(), "processors · load", os.getloadavg()[0])
    for name in options.benchmarks or [name for name in BENCHMARKS if name not in {"images", "gpu"}]:
        print(f"\n## {name}", flush=True)
        BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
